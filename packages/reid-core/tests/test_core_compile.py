"""Backbones under torch.compile: one graph, whichever patches are hidden and however many images come."""

from __future__ import annotations

import torch

from reid_core.models.backbones import build_backbone


def test_a_vision_transformer_with_hidden_patches_is_one_graph_for_any_batch():
    torch.manual_seed(0)
    encoder = build_backbone("vit_nano_patch8", (32, 16), depth=2)
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    torch._dynamo.utils.counters.clear()
    for count in (2, 3, 5):
        images, mask = torch.randn(count, 3, 32, 16), torch.rand(count, 8) < 0.4
        assert torch.equal(compiled(images, mask).patches, encoder(images, mask).patches)
    assert (
        torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    )  # the second is for any number of images


def test_a_transformers_blocks_are_compiled_once_for_all_of_them():
    encoder = build_backbone("vit_nano_patch8", (32, 16), depth=3)
    torch._dynamo.utils.counters.clear()
    for block in encoder.vit.blocks:
        block.compile(backend="eager", dynamic=True)
    for size in ((32, 16), (16, 8)):
        encoder(torch.randn(2, 3, *size))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
