"""What a device asks of the objectives: no step waits for it, each is one graph, the host makes indices."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from reid_pretrain import (
    CION,
    VILLS,
    CIONConfig,
    PerceiverResampler,
    VideoImageEncoder,
    VILLSConfig,
    index_people,
    index_views,
)

DIM, K = 8, 12
IMAGES, VIDEOS, VIEWS, AREAS, FRAMES, PATCHES = 4, 3, 2, 3, 2, 8


class Patches(nn.Module):
    """2x2 patches by one layer: the smallest encoder with masks, and a backbone for CION."""

    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, DIM)
        self.mask_token = nn.Parameter(torch.randn(DIM))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> SimpleNamespace:
        patches = self.linear(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2))
        if mask is not None:
            patches = torch.where(mask[..., None], self.mask_token, patches)
        return SimpleNamespace(
            cls=patches.tanh().mean(1), patches=patches, grid=(x.shape[2] // 2, x.shape[3] // 2)
        )


def vills(**settings: int) -> VILLS:
    torch.manual_seed(0)
    model = VideoImageEncoder(Patches(), PerceiverResampler(DIM, 2, heads=2, max_frames=FRAMES))
    sizes = {"prototypes": K, "head_hidden": 16, "head_bottleneck": 6, "embedding": 5}
    return VILLS(model, VILLSConfig(**{**sizes, **settings}), steps=10)


def vills_batch(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "images": torch.randn(IMAGES, VIEWS, 3, 8, 4),
        "image_masks": torch.rand(IMAGES, VIEWS, PATCHES) < 0.4,
        "image_regions": torch.randn(IMAGES, AREAS, 3, 4, 4),
        "image_regions_valid": torch.rand(IMAGES, AREAS) < 0.7,
        "videos": torch.randn(VIDEOS, VIEWS, FRAMES, 3, 8, 4),
        "video_masks": torch.rand(VIDEOS, VIEWS, FRAMES, PATCHES) < 0.4,
        "video_regions": torch.randn(VIDEOS, AREAS, FRAMES, 3, 4, 4),
        "video_regions_valid": torch.rand(VIDEOS, AREAS) < 0.7,
        "frames": torch.randn(VIDEOS, 3, 8, 4),
    }


def cion(**settings: object) -> CION:
    torch.manual_seed(0)
    sizes = {"prototypes": K, "head_hidden": 16, "head_bottleneck": 5}
    return CION(Patches(), CIONConfig(**{**sizes, **settings}), steps=10)


def cion_batch() -> dict[str, Tensor]:
    torch.manual_seed(1)
    views = {"global": torch.randn(IMAGES, 2, 3, 8, 4), "local": torch.randn(IMAGES, 3, 3, 4, 2)}
    return {**views, "pid": torch.tensor([8, 3, 8, 3])}


def numbered(batch: dict) -> dict:
    person, people = index_people(batch["pid"])
    return {**batch, "person": person, "people": people}


CASES = {
    "vills": (vills, vills_batch, index_views),
    "cion": (cion, cion_batch, numbered),
    "cion, released": (lambda: cion(weighting="released"), cion_batch, numbered),
}


def gradients(objective: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]


def test_settings_are_read_without_torch():
    code = "import sys; from reid_pretrain import CIONConfig, VILLSConfig; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("case", CASES)
def test_indices_made_before_the_step_change_no_bit_of_it(case):
    build, batch, index = CASES[case]
    one, other = build(), build()
    ours, theirs = one(index(batch())), other(batch())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours["loss"].backward()
    theirs["loss"].backward()
    assert all(torch.equal(a, b) for a, b in zip(gradients(one), gradients(other), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_the_device(case, host_reads):
    build, batch, index = CASES[case]
    objective, given = build(), index(batch())
    with host_reads() as reads:
        objective(given)["loss"].backward()
        objective.after_step(0)
    assert reads == []


def test_what_waits_for_the_device_is_heard(host_reads):
    x = torch.tensor([1.0, -1.0])
    with host_reads() as reads:
        bool(x.sum() > 0), x[x > 0], x.nonzero(), x.tolist(), x.unique(), x.new_tensor([1.0])
    assert len(reads) == 6


def test_vills_is_one_graph_whichever_patches_are_hidden_and_regions_valid():
    plain, compiled = vills(), torch.compile(vills(), backend="eager", fullgraph=True)
    for seed in (1, 2):
        # Images take the same way as videos and leave out the alignment: tracing both takes twice as long.
        batch = {name: x for name, x in vills_batch(seed).items() if not name.startswith("image")}
        given = index_views(batch)
        assert torch.equal(compiled(given)["loss"], plain(given)["loss"])


@pytest.mark.parametrize("weighting", ["paper", "released"])
def test_cion_is_one_graph(weighting):
    plain, given = cion(weighting=weighting), numbered(cion_batch())
    compiled = torch.compile(cion(weighting=weighting), backend="eager", fullgraph=True)
    assert torch.equal(compiled(given)["loss"], plain(given)["loss"])


def test_a_single_hidden_patch_is_shown():
    batch = vills_batch()
    batch["image_masks"] = torch.zeros_like(batch["image_masks"])
    batch["image_masks"][2, 1, 3] = True
    indexed = index_views(batch)
    assert not indexed["image_masks"].any()
    assert len(indexed["image_hidden"]) == 0
    assert batch["image_masks"].any()  # the batch that was given stays as it was


@pytest.mark.parametrize("build", [vills, cion])
def test_a_loaded_state_says_whether_prototypes_learn(build):
    trained, resumed = build(freeze_prototypes_steps=3), build(freeze_prototypes_steps=3)
    trained.after_step(1)
    resumed.load_state_dict(trained.state_dict())
    assert resumed.freeze_prototypes
    trained.after_step(2)
    resumed.load_state_dict(trained.state_dict())
    assert not resumed.freeze_prototypes
