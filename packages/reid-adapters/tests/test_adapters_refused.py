"""Models that can't be adapted are refused by name, and other distributions add kinds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import open_clip
import pytest
import timm
import torchvision
from open_clip.timm_model import TimmModel
from torch import nn

from reid_adapters import Backbone, IA3Config, IFAConfig, VPTConfig, attach
from reid_adapters.backbones import table

SMALL = IFAConfig(bottleneck=8)
SIZES = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=0)


def timm_vit(**options: Any) -> nn.Module:
    return timm.models.VisionTransformer(**{**SIZES, **options})


def eva(**options: Any) -> nn.Module:
    return timm.models.Eva(**{**SIZES, **options})


def open_clip_vit(**options: Any) -> nn.Module:
    return open_clip.transformer.VisionTransformer(32, 8, 32, 2, 2, mlp_ratio=2.0, output_dim=16, **options)


def hugging_face(name: str, config: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    return getattr(transformers, name)(getattr(transformers, config)(**{**sizes, **options}))


class OtherBlock(nn.Module):
    """A block that is not timm's."""

    def __init__(self, **options: Any) -> None:
        super().__init__()


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "attention and MLP in one": (
        lambda: timm_vit(block_fn=timm.models.vision_transformer.ParallelScalingBlock),
        "ParallelScalingBlocks, whose attention and MLP run at once",
    ),
    "blocks of other code": (
        lambda: timm_vit(block_fn=OtherBlock),
        "OtherBlocks, which are not timm's own",
    ),
    "windows": (
        lambda: timm.models.SwinTransformer(embed_dim=8, depths=(1,), num_heads=(1,)),
        "SwinTransformer can't be adapted: it attends within windows",
    ),
    "convolutions": (
        lambda: timm.create_model("test_resnet"),
        "ResNet can't be adapted: it is a convolutional network",
    ),
    "a convolutional tower": (
        lambda: TimmModel("test_resnet", embed_dim=8, pool="avg", proj="linear"),
        "ResNet can't be adapted: it is a convolutional network",
    ),
    "a timm classifier": (lambda: timm_vit(num_classes=5), "still has a classifier of 5 classes"),
    "an Eva classifier": (lambda: eva(num_classes=5), "still has a classifier of 5 classes"),
    "a torchvision classifier": (
        lambda: torchvision.models.VisionTransformer(32, 8, 1, 2, 32, 64, num_classes=5),
        "still has a classifier of 5 classes",
    ),
    "timm without pooling": (lambda: timm_vit(global_pool=""), "pools nothing"),
    "CoCa's cascade": (lambda: open_clip_vit(attentional_pool="cascade"), "pools nothing"),
    "SigLIP without its head": (
        lambda: hugging_face("SiglipVisionModel", "SiglipVisionConfig", vision_use_head=False),
        "has no pooling head",
    ),
    "timm's patch dropout": (lambda: timm_vit(patch_drop_rate=0.5), "leaves out other patches of each frame"),
    "Eva's patch dropout": (lambda: eva(patch_drop_rate=0.5), "leaves out other patches of each frame"),
    "open_clip's patch dropout": (lambda: open_clip_vit(patch_dropout=0.5), "leaves out other patches"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_t_be_adapted_is_refused_by_name(case: str) -> None:
    make, message = REFUSED[case]
    model = make()
    before = list(model.state_dict())
    with pytest.raises((TypeError, ValueError), match=message):
        attach(model, SMALL)
    assert list(model.state_dict()) == before


def test_methods_that_a_kind_has_no_place_for_are_refused() -> None:
    parallel = timm_vit(block_fn=timm.models.vision_transformer.ParallelThingsBlock)
    with pytest.raises(ValueError, match="several attentions"):
        attach(parallel, IA3Config())
    with pytest.raises(ValueError, match="a norm of its own for each of its attentions"):
        attach(parallel, VPTConfig())
    stem = partial(timm.layers.HybridEmbed, backbone=nn.Conv2d(3, 8, 4, 4))
    with pytest.raises(ValueError, match="stem has strides of its own"):
        attach(timm_vit(embed_layer=stem, patch_size=2), SMALL, stride=2)
    with pytest.raises(ValueError, match="are of patches side by side"):
        attach(hugging_face("DINOv3ViTModel", "DINOv3ViTConfig"), SMALL, stride=4)


def test_another_distribution_adds_a_kind_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        @staticmethod
        def load() -> Callable[[nn.Module], Backbone | None]:
            return lambda model: "theirs" if isinstance(model, nn.Bilinear) else None  # type: ignore

    monkeypatch.setattr(table, "entry_points", lambda group: [Entry])
    assert table.backbone_of(nn.Bilinear(1, 1, 1)) == "theirs"
    assert type(table.backbone_of(timm_vit())).__name__ == "TimmViT"
