"""Parameter counts are the paper's (VSLA-CLIP Tables 3-4); on the meta device, so that no weight is made."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import VisionTransformer

from reid_adapters import PBPConfig, VSLAConfig, attach, count_parameters
from reid_adapters.encoder import ParameterCounts


def counts(config: VSLAConfig, pbp: PBPConfig | None = None) -> ParameterCounts:
    with torch.device("meta"):
        vit = VisionTransformer(224, 16, width=768, layers=12, heads=12, mlp_ratio=4.0, output_dim=512)
    return count_parameters(attach(vit, config, pbp, image_size=(256, 128)))


@pytest.mark.parametrize(
    "bottleneck, ifa, cfaa", [(64, 1.2, 1.4), (128, 2.4, 3.2), (256, 4.7, 7.9), (384, 7.1, 14.2)]
)
def test_table_4(bottleneck: int, ifa: float, cfaa: float) -> None:
    found = counts(VSLAConfig(bottleneck=bottleneck))
    assert round(found.parts["ifa"] / 1e6, 1) == ifa
    assert round(found.parts["cfaa"] / 1e6, 1) == cfaa
    assert found.trainable == found.parts["ifa"] + found.parts["cfaa"]


def test_table_3_and_the_text() -> None:
    found = counts(VSLAConfig(), PBPConfig())
    assert round(found.parts["base"] / 1e6, 1) == 86.1
    assert round(found.parts["ifa"] / found.parts["base"], 3) == 0.055
    assert round((found.parts["ifa"] + found.parts["cfaa"]) / 1e6, 1) == 12.6
    assert found.parts["prompts"] == 3 * 2 * 16 * 768


def test_counts_print_as_a_line() -> None:
    expected = "trainable 12.62 M of 98.76 M (12.8%): ifa 4.73 M, cfaa 7.89 M, base 86.14 M"
    assert str(counts(VSLAConfig())) == expected
