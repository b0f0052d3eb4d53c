"""A human parsing model as the segmenter, or its label maps, to compare with prompts (VILLS, Table 2a)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reid_lse.areas import DEFAULT_AREAS
from reid_lse.builder import Builder
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


@dataclass(frozen=True)
class LabelMapOptions:
    """Where label maps lie and what their labels mean.

    Args:
        folder: of PNGs of labels, x.png for the image x.jpg, as parsing models and `reid-lse export` write.
        labels: of each area, in the extraction's order of areas; by default LIP's.
    """

    folder: str = ""
    labels: Mapping[str, Sequence[int]] = field(
        default_factory=lambda: {area: LIP[area] for area in DEFAULT_AREAS}
    )


@dataclass(frozen=True)
class LabelMaps:
    """Masks out of the label maps that a parsing model has left in files.

    Args:
        options: where they are.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    options: LabelMapOptions

    def __post_init__(self) -> None:
        if not self.options.folder or not Path(self.options.folder).is_dir():
            raise FileNotFoundError(
                f"label_maps: there is no folder {self.options.folder!r}; give that of the label maps by "
                "--segmenter_options.folder"
            )

    def __call__(
        self,
        images: Sequence[Tensor],
        keypoints: Tensor,
        prompts: Prompts | None = None,
        paths: Sequence[str] | None = None,
    ) -> list[Tensor]:
        """Read every area of every crop; see `Segmenter`.

        Raises:
            FileNotFoundError: an image has no label map.
            ValueError: no paths, or a file that is no map of labels.
        """
        if paths is None:
            raise ValueError("label maps are found by the images' paths, which `reid-lse extract` gives")
        files = [Path(self.options.folder, path).with_suffix(".png") for path in paths]
        return Parsing(lambda _: [_read_labels(file) for file in files], self.options.labels)(
            images, keypoints, prompts
        )


def _read_labels(file: Path) -> Tensor:
    with Image.open(file) as image:
        labels = np.asarray(image)
    if labels.ndim != 2:
        raise ValueError(f"{file}: a label map has one channel of labels, this one is {image.mode}")
    return torch.from_numpy(labels.astype(np.int64))


BUILDER = Builder(LabelMapOptions, lambda name, options, device: LabelMaps(options))
