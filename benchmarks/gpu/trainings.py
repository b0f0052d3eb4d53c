"""The objectives that are stepped and timed, at the papers' sizes or tiny, on batches of random pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reid_core.models.backbones import build_backbone
from reid_core.training.config import TrainConfig
from reid_core.training.loop import convolutions_overlap
from reid_core.training.optimisers import build_optimizer

SIZE = (256, 128)
"""Height and width of an image in all three papers."""

DROP_PATH = 0.1
"""DINO's and iBOT's, for vision transformers."""

TINY_VIT = {"depth": 1}


class Sizes(NamedTuple):
    """Of a batch.

    Attributes:
        images: images of a batch.
        clips: clips of a batch.
        frames: frames of a clip.
        size: height and width of an image.
    """

    images: int
    clips: int
    frames: int = 8
    size: tuple[int, int] = SIZE


class Training:
    """An objective, its batch on the device, and the optimiser that the training loop gives it.

    Args:
        objective: `forward(batch)` returns losses, "loss" among them.
        batch: on the CPU, as a loader's `collate` gives it.
        device: cuda or cpu.
        items: images, frames counted, that a step learns from.
        clip: largest norm of the whole gradient; None does not clip.
        optimizer: by its name in `TrainConfig`.
        waits: whether the objective waits for the device, in the miner of its triplets.
    """

    def __init__(
        self,
        objective: nn.Module,
        batch: dict[str, Any],
        device: str,
        items: int,
        clip: float | None = None,
        optimizer: Any = "adamw",
        waits: bool = False,
    ) -> None:
        self.objective = objective.to(device).train()
        if device == "cuda" and convolutions_overlap(objective):  # as `fit` does
            self.objective.to(memory_format=torch.channels_last)
        self.batch = {name: x.to(device) if torch.is_tensor(x) else x for name, x in batch.items()}
        self.device, self.items, self.clip, self.waits = device, items, clip, waits
        self.config = TrainConfig(optimizer=optimizer, lr=1e-4)
        self.trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.steps = 0
        self.restart()

    def restart(self) -> None:
        """An optimiser without moments: they lie in memory as the parameters do."""
        self.optimizer = build_optimizer(self.objective, self.config, fused=self.device == "cuda")

    def step(self, half: bool) -> Tensor:
        """One step, in bfloat16 by autocast or in float32; its loss."""
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            loss = self.objective(self.batch)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        after_step: Any = getattr(self.objective, "after_step", None)
        if after_step is not None:
            after_step(self.steps)
        self.steps += 1
        return loss.detach()


def vills(backbone: str, heads: int, batch: Sizes, device: str, tiny: bool) -> Training:
    """VILLS' pre-training (supplement, section 2): images, clips of 8 small frames, three regions of each."""
    from reid_pretrain import (
        VILLS,
        PerceiverResampler,
        VideoImageEncoder,
        VILLSConfig,
        block_mask,
        index_views,
    )

    torch.manual_seed(0)
    frame, region, frame_region = ((32, 16), (16, 8), (16, 8)) if tiny else ((64, 44), (128, 64), (32, 22))
    options = TINY_VIT if tiny else {"drop_path": DROP_PATH}
    encoder: Any = build_backbone("vit_nano_patch8" if tiny else backbone, batch.size, **options)
    resampler = PerceiverResampler(encoder.dim, heads=4 if tiny else heads, max_frames=batch.frames)
    config = VILLSConfig(prototypes=256, head_hidden=64) if tiny else VILLSConfig()
    objective = VILLS(VideoImageEncoder(encoder, resampler), config, steps=1000)
    grids = encoder.grid(batch.size), encoder.grid(frame)
    images, clips, frames = batch.images, batch.clips, batch.frames

    def masks(number: int, grid: tuple[int, int]) -> Tensor:
        return torch.stack([block_mask(grid) for _ in range(number)])

    views = {
        "images": torch.randn(images, 2, 3, *batch.size),
        "image_masks": masks(2 * images, grids[0]).unflatten(0, (images, 2)),
        "image_regions": torch.randn(images, 3, 3, *region),
        "image_regions_valid": torch.rand(images, 3) < 0.9,
        "videos": torch.randn(clips, 2, frames, 3, *frame),
        "video_masks": masks(2 * clips * frames, grids[1]).unflatten(0, (clips, 2, frames)),
        "video_regions": torch.randn(clips, 3, frames, 3, *frame_region),
        "video_regions_valid": torch.rand(clips, 3) < 0.9,
        "frames": torch.randn(clips, 3, *batch.size),
    }
    return Training(objective, index_views(views), device, images + clips * frames, clip=3.0)


def cion(backbone: str, batch: Sizes, device: str, tiny: bool) -> Training:
    """CION's pre-training (4.1): 2 global and 8 local views, 8 images a person, 120 images a GPU."""
    from reid_pretrain import CION, CIONConfig, index_people

    torch.manual_seed(0)
    tiny_name = "resnet18_ibn" if backbone.startswith("resnet") else "vit_nano_patch8"
    options: dict[str, Any] = {} if backbone.startswith("resnet") else TINY_VIT
    encoder = build_backbone(tiny_name if tiny else backbone, batch.size, **(options if tiny else {}))
    config = CIONConfig(prototypes=256, head_hidden=64) if tiny else CIONConfig()
    person, people = index_people(torch.arange(batch.images) // min(8, batch.images // 2))
    height, width = batch.size
    views = {
        "global": torch.randn(batch.images, 2, 3, height, width),
        "local": torch.randn(batch.images, 2 if tiny else 8, 3, height // 2, width // 2),
        "person": person,
        "people": people,
    }
    return Training(CION(encoder, config, steps=1000), views, device, batch.images, clip=3.0)


def vsla(method: str, batch: Sizes, device: str, tiny: bool, triplet: bool = True) -> Training:
    """VSLA-CLIP's stage two on a ViT-B/16 of CLIP's kind (5.2): 32 clips of 8 frames, 4 of each person."""
    from open_clip.transformer import VisionTransformer

    from reid_adapters import LoRAConfig, LossConfig, PBPConfig, VSLAConfig, VSLAObjective, attach

    torch.manual_seed(0)
    methods: dict[str, tuple[Any, Any]] = {
        "full": (None, None),
        "vsla": (VSLAConfig(), None),
        "vsla_pbp": (VSLAConfig(), PBPConfig(depth=1) if tiny else PBPConfig(depth=3, length=16)),
        "lora": (LoRAConfig(), None),
    }
    width, layers = (64, 1) if tiny else (768, 12)
    vit = VisionTransformer(batch.size, 16, width, layers, width // 64, mlp_ratio=4.0, output_dim=512)
    encoder = attach(vit, *methods[method])
    pid = torch.arange(batch.clips) // 2
    clips: dict[str, Any] = {"clip": torch.randn(batch.clips, batch.frames, 3, *batch.size), "pid": pid}
    if method == "vsla_pbp":
        clips["platform"] = torch.arange(batch.clips) % 2
    config = LossConfig() if triplet else LossConfig(triplet=0)
    objective = VSLAObjective(encoder, pid.tolist(), config=config)
    return Training(objective, clips, device, batch.clips * batch.frames, optimizer="adam", waits=triplet)


def fine_tuning(kind: str, batch: Sizes, device: str, tiny: bool) -> Training:
    """Supervised fine-tuning: the bag of tricks' head, TransReID's parts or MGN's."""
    from reid_core.models.heads import ReIDModel, ReIDObjective
    from reid_core.models.parts import (
        BranchedModel,
        BranchedObjective,
        ClassFeature,
        MGNExtractor,
        TransReIDExtractor,
    )

    torch.manual_seed(0)
    pid = torch.arange(batch.images) // 2
    people = batch.images // 2
    if kind == "mgn":
        encoder: Any = build_backbone("resnet18" if tiny else "resnet50_ibn", batch.size)
        objective: nn.Module = BranchedObjective(BranchedModel(MGNExtractor(encoder), people), pid.tolist())
    else:
        options = {"depth": 2} if tiny else {"drop_path": DROP_PATH}
        encoder = build_backbone("vit_nano_patch8" if tiny else "vit_small", batch.size, **options)
        if kind == "transreid":
            objective = BranchedObjective(BranchedModel(TransReIDExtractor(encoder), people), pid.tolist())
        else:
            objective = ReIDObjective(ReIDModel(ClassFeature(encoder), encoder.dim, people), pid.tolist())
    images = {"image": torch.randn(batch.images, 3, *batch.size), "pid": pid}
    return Training(objective, images, device, batch.images, waits=True)


BUILDERS: dict[str, tuple[Callable[..., Training], tuple[Any, ...], Sizes]] = {
    "vills_vit_small": (vills, ("vit_small_patch16_224", 6), Sizes(128, 32)),
    "vills_vit_base": (vills, ("vit_base_patch16_224", 12), Sizes(64, 16)),
    "cion_resnet50_ibn": (cion, ("resnet50_ibn",), Sizes(120, 0)),
    "cion_vit_small": (cion, ("vit_small",), Sizes(120, 0)),
    "vsla": (vsla, ("vsla",), Sizes(0, 32)),
    "vsla_pbp": (vsla, ("vsla_pbp",), Sizes(0, 32)),
    "lora": (vsla, ("lora",), Sizes(0, 32)),
    "full_fine_tuning": (vsla, ("full",), Sizes(0, 32)),
    "bag_of_tricks": (fine_tuning, ("bag_of_tricks",), Sizes(64, 0)),
    "transreid": (fine_tuning, ("transreid",), Sizes(64, 0)),
    "mgn": (fine_tuning, ("mgn",), Sizes(64, 0)),
}
"""Each training with its builder, what that is told, and the paper's batch on one device."""

STEPPED = tuple(BUILDERS)
"""Those of which `core` takes some steps: all."""


def build(name: str, device: str, tiny: bool, small_batch: bool = False) -> Training:
    """A training on the device.

    Args:
        name: a key of BUILDERS.
        device: cuda or cpu.
        tiny: small networks and images.
        small_batch: eight images and four clips, for a few steps.
    """
    make, told, sizes = BUILDERS[name]
    if tiny or small_batch:
        sizes = sizes._replace(images=min(sizes.images, 8), clips=min(sizes.clips, 4))
    if tiny:
        sizes = sizes._replace(frames=2, size=(64, 32))
    return make(*told, sizes, device, tiny)
