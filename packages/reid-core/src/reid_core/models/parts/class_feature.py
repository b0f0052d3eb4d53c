"""The plain extractor: a backbone's global feature, averaged over a clip's frames."""

from __future__ import annotations

from torch import Tensor, nn

from reid_core.models.backbones import Encoder


class ClassFeature(nn.Module):
    """A backbone's global feature, `Tokens.cls`, as the feature of `heads.ReIDModel`.

    With a ResNet of last stride 1, that is the strong baseline of Luo et al. (CVPRW 2019).

    Args:
        encoder: any backbone; `dim` is its `dim`.

    Example:
        >>> import torch
        >>> from reid_core.models.backbones import build_backbone
        >>> feature = ClassFeature(build_backbone("vit_nano_patch8", (32, 16), depth=1))
        >>> feature(torch.zeros(2, 3, 32, 16)).shape, feature(torch.zeros(2, 4, 3, 32, 16)).shape
        (torch.Size([2, 128]), torch.Size([2, 128]))
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.dim = encoder.dim

    def forward(self, x: Tensor) -> Tensor:
        """Images [b 3 h w] -> [b d]; clips [b t 3 h w] -> their frames' mean, [b d]."""
        if x.ndim == 4:
            return self.encoder(x).cls
        return self.encoder(x.flatten(0, 1)).cls.unflatten(0, x.shape[:2]).mean(1)
