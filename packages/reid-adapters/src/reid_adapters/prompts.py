"""Descriptions of identities, learnt as tokens in front of a frozen text tower (VSLA-CLIP Eqs. 1, 5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TOKEN_STD = 0.02
"""Standard deviation of learnt tokens' initial normal, that of CLIP's token embedding."""

SET_LEVEL = {"shared_tokens": 16, "words": ("", ".")}
"""VSLA-CLIP's prompt: n/2 = 8 shared tokens on either side of the identity's, as released."""

CLIP_REID = {"shared_tokens": 0, "words": ("a photo of a", "person.")}
"""CLIP-ReID's prompt: "a photo of a X X X X person." (Li et al., AAAI 2023)."""


class IDPromptLearner(nn.Module):
    """Text features of identities from learnt tokens (VSLA-CLIP Eq. 5; Eq. 1 with CLIP_REID).

    The text is: start, words before, P_1..P_n/2, S_1..S_M of the identity, P_n/2+1..P_n, words after, end.
    The text tower is frozen. It is run up to the end token only, since it attends backwards alone.

    Args:
        text: an open_clip CLIP, its `.text`, or a TextTransformer: causal, pooled at the end token, of CLIP's
            vocabulary.
        identities: N, how many.
        id_tokens: M, tokens of each identity.
        shared_tokens: n, tokens shared by all, an even number.
        words: fixed words before and after the learnt tokens.

    Raises:
        TypeError: not such a text tower.
        ValueError: an odd number of shared tokens, or a text longer than the tower's context.

    Example:
        >>> import open_clip
        >>> clip = open_clip.model.CLIP(
        ...     16,
        ...     {"layers": 1, "width": 64, "patch_size": 8, "image_size": 32},
        ...     {"width": 64, "layers": 1, "heads": 2},
        ... )
        >>> IDPromptLearner(clip, 10)(torch.tensor([3, 3, 7])).shape
        torch.Size([3, 16])
        >>> IDPromptLearner(clip, 10, **CLIP_REID).features().shape
        torch.Size([10, 16])
    """

    prefix: Tensor
    suffix: Tensor
    mask: Tensor

    def __init__(
        self,
        text: Any,
        identities: int,
        id_tokens: int = 4,
        shared_tokens: int = 16,
        words: tuple[str, str] = ("", "."),
    ):
        super().__init__()
        text = getattr(text, "text", text)
        needed = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", None))
        causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
        if not all(hasattr(text, name) for name in needed) or pool not in ("argmax", "eos") or not causal:
            raise TypeError(
                f"text must be an open_clip CLIP or TextTransformer, causal and pooled at its end token, "
                f"got {type(text).__name__}"
            )
        if shared_tokens % 2:
            raise ValueError(f"shared_tokens must be even, half on either side, got {shared_tokens}")
        before, after = _token_ids(words)
        length = len(before) + id_tokens + shared_tokens + len(after)
        if length > len(text.positional_embedding):
            context = len(text.positional_embedding)
            raise ValueError(f"the text has {length} tokens, but the tower takes {context}: use fewer")

        self.transformer, self.ln_final = text.transformer, text.ln_final
        self.positional_embedding, self.text_projection = text.positional_embedding, text.text_projection
        self.requires_grad_(False)
        embedding = text.token_embedding.weight.detach()
        self.register_buffer("mask", text.attn_mask[:length, :length].clone(), persistent=False)
        self.register_buffer("prefix", embedding[before].clone())
        self.register_buffer("suffix", embedding[after].clone())
        width = embedding.shape[1]
        self.id_prompts = nn.Parameter(TOKEN_STD * torch.randn(identities, id_tokens, width).to(embedding))
        self.shared_prompts = nn.Parameter(TOKEN_STD * torch.randn(shared_tokens, width).to(embedding))

    @property
    def identities(self) -> int:
        """How many identities there are."""
        return len(self.id_prompts)

    def forward(self, labels: Tensor) -> Tensor:
        """Text features of identities.

        Args:
            labels: int64 [b], 0 to N - 1.

        Returns:
            [b e], not normalised.
        """
        count, half = len(labels), len(self.shared_prompts) // 2
        fixed = (self.prefix, self.shared_prompts[:half], self.shared_prompts[half:], self.suffix)
        start, left, right, end = (part.expand(count, -1, -1) for part in fixed)
        tokens = torch.cat([start, left, self.id_prompts[labels], right, end], dim=1)
        tokens = tokens + self.positional_embedding[: tokens.shape[1]]
        last = self.ln_final(self.transformer(tokens, attn_mask=self.mask.to(tokens.dtype)))[:, -1]
        if self.text_projection is None:
            return last
        projection = self.text_projection
        return projection(last) if isinstance(projection, nn.Module) else last @ projection

    @torch.no_grad()
    def features(self, batch: int = 256) -> Tensor:
        """Text features [N e] of all identities, without gradient: what stage two keeps of stage one."""
        labels = torch.arange(self.identities, device=self.id_prompts.device)
        return torch.cat([self(some) for some in labels.split(batch)])


def _token_ids(words: tuple[str, str]) -> tuple[list[int], list[int]]:
    """Token ids of start and words before, and of words after and end, in CLIP's vocabulary."""
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError as error:
        raise ImportError("IDPromptLearner needs CLIP's tokenizer: pip install open_clip_torch") from error
    tokenizer = SimpleTokenizer()
    before, after = (tokenizer.encode(text) for text in words)
    return [tokenizer.sot_token_id, *before], [*after, tokenizer.eot_token_id]
