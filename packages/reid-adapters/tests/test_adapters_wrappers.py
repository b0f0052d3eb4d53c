"""Encoders under what training wraps around them: compilation, checkpointing, autocast, DDP, FSDP."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from open_clip.transformer import VisionTransformer
from torch import Tensor

from reid_adapters import PBPConfig, SetEncoder, VSLAConfig, attach, load_pretrained, save_pretrained

CLIPS = torch.randn(2, 3, 3, 32, 16, generator=torch.Generator().manual_seed(0))
PLATFORM = torch.tensor([0, 1])


def encoder() -> SetEncoder:
    torch.manual_seed(0)
    vit = VisionTransformer(32, 8, width=32, layers=2, heads=2, mlp_ratio=2.0, output_dim=16)
    made = attach(
        vit, VSLAConfig(bottleneck=64, init="torch"), PBPConfig(depth=1, length=2), image_size=(32, 16)
    )
    return made.train()


def gradients(made: torch.nn.Module) -> list[Tensor]:
    made(CLIPS, PLATFORM).pow(2).sum().backward()
    return [parameter.grad for parameter in made.parameters() if parameter.requires_grad]


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_gradient_checkpointing_changes_no_gradient() -> None:
    made = encoder()
    made.set_grad_checkpointing()
    torch.testing.assert_close(gradients(made), gradients(encoder()))


def test_autocast_gives_nearly_the_same_and_all_gradients() -> None:
    made = encoder()
    with torch.autocast("cpu", torch.bfloat16):
        features = made(CLIPS, PLATFORM)
        assert all(grad is not None for grad in gradients(made))
    torch.testing.assert_close(features.float(), encoder()(CLIPS, PLATFORM), atol=0.1, rtol=0.1)


def test_a_copy_and_another_dtype_work_alone() -> None:
    made = encoder()
    other = copy.deepcopy(made).double()
    torch.testing.assert_close(other(CLIPS.double(), PLATFORM).float(), made(CLIPS, PLATFORM))
    assert other.attachment is not made.attachment


def test_ddp_gives_the_same_gradients(process_group: None) -> None:
    wrapped = torch.nn.parallel.DistributedDataParallel(encoder())
    torch.testing.assert_close(gradients(wrapped), gradients(encoder()))


def test_fsdp_of_each_layer_gives_the_same_gradients(process_group: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    made = encoder()
    mesh = init_device_mesh("cpu", (1,))
    for block in made.attachment.backbone.blocks(made.base):
        fully_shard(block, mesh=mesh)
    fully_shard(made, mesh=mesh)
    found = [grad.full_tensor() for grad in gradients(made)]  # type: ignore[attr-defined]
    torch.testing.assert_close(found, gradients(encoder()))


@pytest.mark.slow
def test_compiled_without_a_graph_break_and_saved(tmp_path: Path) -> None:
    torch.compiler.reset()
    made = encoder()
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(gradients(compiled), gradients(encoder()))
    save_pretrained(compiled, tmp_path)
    again = load_pretrained(made.base, tmp_path)
    torch.testing.assert_close(again(CLIPS, PLATFORM), encoder()(CLIPS, PLATFORM))
