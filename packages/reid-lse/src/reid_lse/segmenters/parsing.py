"""A human parsing model as the segmenter, to compare with prompts (VILLS, Table 2a)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lse.prompts import Prompts

LIP = {
    "head": (1, 2, 4, 13),
    "torso": (3, 5, 7, 11, 14, 15),
    "legs": (8, 9, 12, 16, 17, 18, 19),
    "left_arm": (14,),
    "right_arm": (15,),
    "left_leg": (16, 18),
    "right_leg": (17, 19),
    "upper": (1, 2, 3, 4, 5, 7, 11, 13, 14, 15),
    "lower": (8, 9, 12, 16, 17, 18, 19),
    "feet": (8, 18, 19),
}
"""Areas as labels of LIP (Gong et al., 2017; 20 with background). Dress (6) and jumpsuit (10) cover torso and
legs alike, so neither has them."""


@dataclass(frozen=True)
class Parsing:
    """Masks out of a label map, whatever the prompts.

    Args:
        model: from crops (uint8 [3 h w] each) to a label map for each: integers [h' w'], or logits [c h' w'],
            of any resolution; a tensor [b ...] or a list.
        areas: the labels that make up each area, by name, in the extractor's order of areas.

    Example:
        >>> halves = lambda images: [torch.arange(2)[:, None].expand(2, 1) for _ in images]
        >>> segment = Parsing(halves, {"upper": (0,), "lower": (1,)})
        >>> image = torch.zeros(3, 4, 2, dtype=torch.uint8)
        >>> segment([image], torch.zeros(1, 17, 3))[0].int().tolist()
        [[[1, 1], [1, 1], [0, 0], [0, 0]], [[0, 0], [0, 0], [1, 1], [1, 1]]]
    """

    model: Callable[[Sequence[Tensor]], Tensor | Sequence[Tensor]]
    areas: Mapping[str, Sequence[int]]

    def __call__(
        self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts | None = None
    ) -> list[Tensor]:
        """Segment every area of every crop; see `Segmenter`."""
        maps = self.model(images)
        if len(maps) != len(images):
            raise ValueError(f"the parsing model gave {len(maps)} label maps for {len(images)} images")
        if prompts is not None and prompts.positive.shape[1] != len(self.areas):
            raise ValueError(
                f"the parsing segmenter has areas {tuple(self.areas)}, but {prompts.positive.shape[1]} areas "
                "are asked for; name the same ones in the same order"
            )
        masks = []
        for image, labels in zip(images, maps, strict=True):
            labels = _label_map(labels, image.shape[-2:])
            masks.append(torch.stack([torch.isin(labels, torch.tensor(ids)) for ids in self.areas.values()]))
        return masks


def _label_map(found: Tensor, size: Sequence[int]) -> Tensor:
    """Integers [h w] at the crop's size; logits are enlarged before the highest is taken."""
    found = found.detach().cpu()
    if found.is_floating_point():
        if found.ndim != 3:
            raise ValueError(f"logits of a parsing model must be [c h w], got shape {tuple(found.shape)}")
        logits = F.interpolate(found[None].float(), tuple(size), mode="bilinear", align_corners=False)
        return logits[0].argmax(dim=0)
    if found.ndim != 2:
        raise ValueError(
            f"label maps must be integers [h w], got {found.dtype} of shape {tuple(found.shape)}"
        )
    return F.interpolate(found[None, None].double(), tuple(size), mode="nearest-exact")[0, 0].long()
