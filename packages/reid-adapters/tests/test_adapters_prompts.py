"""The ID prompt learner, against the text tower it borrows."""

from __future__ import annotations

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from torch import nn

from reid_adapters.prompts import CLIP_REID, SET_LEVEL, IDPromptLearner

VISION = {"layers": 1, "width": 64, "patch_size": 8, "image_size": 32}
TEXT = {"width": 64, "layers": 2, "heads": 2}


def clip(kind: type = CLIP) -> nn.Module:
    torch.manual_seed(0)
    return kind(16, VISION, TEXT).eval()


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
@pytest.mark.parametrize(
    "prompt, text",
    [
        (CLIP_REID, "a photo of a cat dog cow hen person."),
        (SET_LEVEL, "a " * 8 + "cat dog cow hen" + " b" * 8 + "."),
    ],
)
def test_prompts_that_are_words_give_the_tower_s_own_features(kind: type, prompt: dict, text: str) -> None:
    model = clip(kind)
    tokens = open_clip.tokenize([text])
    words = (model.text if kind is CustomTextCLIP else model).token_embedding(tokens)[0]
    learner = IDPromptLearner(model, 3, **prompt)
    start = len(learner.prefix) + len(learner.shared_prompts) // 2
    with torch.no_grad():
        learner.id_prompts[1] = words[start : start + 4]
        shared = len(learner.shared_prompts) // 2
        if shared:
            left, right = words[start - shared : start], words[start + 4 : start + 4 + shared]
            learner.shared_prompts.copy_(torch.cat([left, right]))
        features = learner(torch.tensor([1, 1]))
        torch.testing.assert_close(features, model.encode_text(tokens).expand(2, -1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(learner.features(batch=2)[1], features[0])


def test_only_the_prompts_learn_and_only_those_of_the_batch() -> None:
    learner = IDPromptLearner(clip(), 5)
    learner(torch.tensor([2, 4])).sum().backward()
    trained = {name for name, parameter in learner.named_parameters() if parameter.grad is not None}
    assert trained == {"id_prompts", "shared_prompts"}
    assert learner.id_prompts.grad is not None
    assert learner.id_prompts.grad.flatten(1).any(1).tolist() == [False, False, True, False, True]


def test_bad_input_is_named() -> None:
    with pytest.raises(TypeError, match="got Linear"):
        IDPromptLearner(nn.Linear(2, 2), 3)
    with pytest.raises(ValueError, match="must be even, half on either side, got 3"):
        IDPromptLearner(clip(), 3, shared_tokens=3)
    with pytest.raises(ValueError, match="the text has 87 tokens, but the tower takes 77"):
        IDPromptLearner(clip(), 3, shared_tokens=80)
