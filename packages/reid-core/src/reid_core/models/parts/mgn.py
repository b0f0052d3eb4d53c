"""MGN: three copies of a ResNet's last stages that see the whole person, halves, and thirds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from reid_core.models.backbones import CNNEncoder
from reid_core.models.backbones.cnn import set_last_stride
from reid_core.models.backbones.pooling import GeM
from reid_core.models.parts.branches import Branch

REDUCED = 256
"""Length of each feature (Wang et al. 2018, table 1)."""
STRIPES = (1, 2, 3)
"""Horizontal stripes of the global branch and of the two part branches (same place)."""


class MGNExtractor(nn.Module):
    """Eight features of an image, for `BranchedModel`: three global ones, two halves, three thirds.

    Wang et al., "Learning Discriminative Features with Multiple Granularities for Person Re-Identification",
    ACM MM 2018, figure 3 and table 1. The network is shared up to the first block of its third layer; the
    global branch halves the resolution once more, the part branches don't. Maps are max-pooled, whole and by
    stripe, and reduced to 256 numbers. All features are classified, the global ones have a triplet loss. A
    BNNeck (`BranchedModel`) comes before each classifier. Weights average the terms.

    fast-reid's form (He et al., arXiv:2006.02631), which CION fine-tunes with, keeps the resolution in the
    global branch too, pools each feature by a learned generalised mean of its own, and cuts stripes in chunks
    (16 rows in 6, 6 and 4); its losses are `CircleMGNObjective`'s.

    Args:
        encoder: a ResNet, with or without IBN-a; its modules are taken over.
        form: "paper" or "fastreid".

    Raises:
        ValueError: the encoder is no ResNet, or there is no such form.
    """

    def __init__(self, encoder: CNNEncoder, form: Literal["paper", "fastreid"] = "paper"):
        super().__init__()
        cnn = encoder.cnn
        if not hasattr(cnn, "layer4"):
            raise ValueError(f"MGN takes a ResNet, not {type(cnn).__name__}: choose a resnet* backbone")
        if form not in ("paper", "fastreid"):
            raise ValueError(f'form={form!r}: expected "paper" or "fastreid"')
        first, *rest = cnn.layer3
        self.shared = nn.Sequential(cnn.conv1, cnn.bn1, cnn.act1, cnn.maxpool, cnn.layer1, cnn.layer2, first)
        stages = nn.ModuleList()
        for stripes in STRIPES:
            set_last_stride(cnn, 2 if stripes == 1 and form == "paper" else 1)
            stages.append(copy.deepcopy(nn.Sequential(*rest, *cnn.layer4)))
        self.stages = stages
        number = sum(1 + stripes * (stripes > 1) for stripes in STRIPES)
        self.reduce = nn.ModuleList(nn.Linear(encoder.dim, REDUCED, bias=False) for _ in range(number))
        for linear in self.reduce.children():
            nn.init.kaiming_normal_(linear.weight, mode="fan_out")  # type: ignore[arg-type]
        self.pools = nn.ModuleList(GeM() for _ in range(number)) if form == "fastreid" else None
        whole = Branch(REDUCED, id=1 / number, triplet=1 / len(STRIPES))
        part = Branch(REDUCED, id=1 / number, triplet=0.0)
        self.branches: tuple[Branch, ...] = (*len(STRIPES) * [whole], *(number - len(STRIPES)) * [part])

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images [b 3 h w] -> each branch's feature map [b d h' w']."""
        shared = self.shared(images)
        return [stage(shared) for stage in self.stages]

    def reduce_maps(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Feature maps -> eight features [b 256]: the three global ones first."""
        parts = [(stripes, x) for stripes, x in zip(STRIPES, maps, strict=True) if stripes > 1]
        if self.pools is None:
            pooled = [functional.adaptive_max_pool2d(x, 1).flatten(1) for x in maps]
            for stripes, x in parts:
                pooled += functional.adaptive_max_pool2d(x, (stripes, 1)).squeeze(3).unbind(2)
        else:
            cut = [*maps, *(chunk for stripes, x in parts for chunk in x.chunk(stripes, dim=2))]
            if len(cut) < len(self.pools):
                raise ValueError(
                    f"maps of {maps[0].shape[2]} rows can't be cut in chunks for {max(STRIPES)} stripes: "
                    "give larger images"
                )
            pooled = [pool(x).flatten(1) for pool, x in zip(self.pools, cut, strict=True)]
        return tuple(reduce(x) for reduce, x in zip(self.reduce, pooled, strict=True))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [b 3 h w] -> eight features [b 256]: the three global ones first."""
        return self.reduce_maps(self.maps(images))
