"""SAM as the interactive segmentation model (Kirillov et al., 2023), for batches of person crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from reid_lse.builder import Builder
from reid_lse.checkpoints import fetch_sam, load_sam
from reid_lse.hub import Precision
from reid_lse.prompts import Prompts, prompt_boxes

PERSON_ASPECT = 2.0
"""Height over width of the crops that a packed canvas is laid out for."""

TOKENS = {"cpu": 64**2, "cuda": 8 * 64**2}
"""Patches in one pass of the image encoder: one of SAM's canvases on a CPU, which gains nothing by more and
needs their memory, eight on a GPU."""

DECODED = 24 * 64**2
"""Patches in one pass of the decoder, over all pairs of crop and area."""


@dataclass(frozen=True)
class SAMOptions:
    """Options of SAM.

    Args:
        checkpoint: weights of SAM, a file or an https address; by default the official ones
        sha256: digest of the checkpoint to check; needed for an address that is not the official one
        pack: crops on one of SAM's canvases
        precision: of SAM's multiplications
        compile: compile SAM's image encoder
        box: prompt with the box around the positives too
    """

    checkpoint: str | None = None
    sha256: str | None = None
    pack: int = 1
    precision: Precision = "float32"
    compile: bool = False
    box: bool = False


class _Tile(NamedTuple):
    """Where a crop lies: its canvas, its corner there, and its size on it, in pixels."""

    canvas: int
    top: int
    left: int
    height: int
    width: int


class SamSegmenter:
    """Masks by SAM from point prompts: one image encoder pass a crop, one decoder pass for all prompts.

    With pack=1 every crop fills a canvas of its own and the masks are those of `SamPredictor`. With pack=n,
    up to n crops share a canvas and its one encoder pass: each is resized into its own tile, the decoder sees
    the tile alone, and points and masks are shifted to and fro. Masks then differ somewhat from unpacked
    ones, for a crop has fewer pixels (one of 32 on SAM's canvas has 256 x 128, where alone it would have 1024
    x 512), and the encoder's global attention lets neighbours see each other.

    Args:
        model: segment_anything's Sam, or any module with the same parts (image_encoder with img_size,
            prompt_encoder, mask_decoder, pixel_mean, pixel_std, mask_threshold), as MobileSAM's is. It is
            moved to the device and put into evaluation mode.
        device: where it runs.
        pack: crops on a canvas, at most.
        precision: of the multiplications; "bfloat16" and "float16" by autocast.
        compile: compile the image encoder with torch.compile.
        box: prompt with the box around the positives too.

    Raises:
        ValueError: a pack below 1 or too many for the canvas, an unknown precision.
        TypeError: a model that lacks a part.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device = "cpu",
        pack: int = 1,
        precision: Precision = "float32",
        compile: bool = False,
        box: bool = False,
    ) -> None:
        for part in ("image_encoder", "prompt_encoder", "mask_decoder", "pixel_mean", "pixel_std"):
            if not hasattr(model, part):
                raise TypeError(f"model has no {part}: expected a Sam as segment_anything builds it")
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {get_args(Precision)}, got {precision!r}")
        self.model = cast(Any, model.to(device).eval())
        self.device = torch.device(device)
        self.pack, self.box = pack, box
        self.dtype = getattr(torch, precision)
        self.encode = torch.compile(self.model.image_encoder) if compile else self.model.image_encoder
        self.cells = int(self.model.prompt_encoder.image_embedding_size[0])
        self.patch = int(self.model.image_encoder.img_size) // self.cells
        self.grid = _grid(pack, self.cells)
        self.tile = tuple(self.cells // count * self.patch for count in self.grid)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts) -> list[Tensor]:
        """Segment every area of every crop (Eq. 3 of VILLS); see `Segmenter`."""
        areas = prompts.positive.shape[1]
        masks = [torch.zeros(areas, *image.shape[1:], dtype=torch.bool) for image in images]
        for rows, which, logits in self.logits(images, keypoints, prompts):
            found = (logits > self.model.mask_threshold).cpu()
            for row, area, mask in zip(rows, which, found, strict=True):
                masks[row][area] = mask
        return masks

    def logits(
        self, images: Sequence[Tensor], keypoints: Tensor, prompts: Prompts
    ) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """The masks before they are cut at the model's threshold, with gradients, for fine-tuning.

        Args:
            images, keypoints, prompts: as for a call.

        Yields:
            Crops [m], areas [m] and logits, float32 [m h w], of crops of one size, until every area that has
            a positive had its turn.
        """
        keypoints = keypoints.cpu().float()
        prompts = prompts.cpu()
        rows = prompts.positive.any(dim=2).any(dim=1).nonzero().flatten().tolist()
        step = self.pack * max(1, TOKENS.get(self.device.type, TOKENS["cuda"]) // self.cells**2)
        for at in range(0, len(rows), step):
            part = rows[at : at + step]
            crops = [images[row] for row in part]
            tiles = [self._tile(place, crop) for place, crop in enumerate(crops)]
            chosen = prompts.of(part)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                windows = self._embed(crops, tiles)
                decoded = list(self._decode(*windows, crops, tiles, keypoints[part], chosen))
            for crop, area, logits in decoded:
                sources = [(tiles[place], crops[place]) for place in crop]
                for places, full in self._resize(logits, sources):
                    yield [part[crop[i]] for i in places], [area[i] for i in places], full

    def _tile(self, place: int, image: Tensor) -> _Tile:
        canvas, within = divmod(place, self.pack)
        tall, wide = self.tile
        height, width = image.shape[1:]
        scale = min(tall / height, wide / width)
        row, column = divmod(within, self.grid[1])
        return _Tile(
            canvas,
            row * tall,
            column * wide,
            max(1, int(height * scale + 0.5)),
            max(1, int(width * scale + 0.5)),
        )

    def _embed(self, crops: list[Tensor], tiles: list[_Tile]) -> tuple[Tensor, Tensor]:
        """Each crop's window of its canvas' embedding, and of the positional encoding: [n c h w] both."""
        side = self.cells * self.patch
        mean, std = self.model.pixel_mean, self.model.pixel_std
        canvases = torch.zeros(tiles[-1].canvas + 1, 3, side, side, device=self.device)
        for crop, (canvas, top, left, height, width) in zip(crops, tiles, strict=True):
            pixels = resize(crop.to(self.device), [height, width], antialias=True)
            canvases[canvas, :, top : top + height, left : left + width] = (pixels - mean) / std
        embedding = self.encode(canvases)
        position = self.model.prompt_encoder.get_dense_pe()[0]
        tall, wide = (length // self.patch for length in self.tile)
        corners = [(tile.canvas, tile.top // self.patch, tile.left // self.patch) for tile in tiles]
        return (
            torch.stack([embedding[c, :, y : y + tall, x : x + wide] for c, y, x in corners]),
            torch.stack([position[:, y : y + tall, x : x + wide] for _, y, x in corners]),
        )

    def _decode(
        self,
        embeddings: Tensor,
        positions: Tensor,
        crops: list[Tensor],
        tiles: list[_Tile],
        keypoints: Tensor,
        prompts: Prompts,
    ) -> Iterator[tuple[list[int], list[int], Tensor]]:
        """Yield crops [m], areas [m] and the decoder's logits [m h w], a quarter of the tile's size or so."""
        height, width = embeddings.shape[-2:]
        fit = torch.tensor(
            [(tile.width / crop.shape[2], tile.height / crop.shape[1], tile.left, tile.top)
             for tile, crop in zip(tiles, crops, strict=True)]
        )  # fmt: skip
        points = keypoints.clone()
        points[..., :2] = keypoints[..., :2] * fit[:, None, :2] + fit[:, None, 2:]
        boxes = prompt_boxes(points, prompts) if self.box else None
        said = prompts.positive | prompts.negative
        counts = said.sum(dim=2) * prompts.positive.any(dim=2)
        step = max(1, DECODED // (height * width))
        # Padding points would change SAM's answer, so pairs of as many points go together. Under one
        # threshold all areas of a crop have equally many, and go in one pass.
        for count in counts[counts > 0].unique().tolist():
            for crop, area in (part.unbind(dim=1) for part in (counts == count).nonzero().split(step)):
                which = said[crop, area].nonzero()[:, 1].reshape(-1, count)
                coordinates = points[crop[:, None], which, :2].to(self.device)
                labels = prompts.positive[crop, area].gather(1, which).int().to(self.device)
                corners = None if boxes is None else boxes[crop, area].to(self.device)
                sparse, dense = self.model.prompt_encoder((coordinates, labels), corners, None)
                at = crop.to(self.device)
                dense = dense[..., :height, :width]  # the same everywhere: no mask is given
                logits = self._pass(embeddings[at], positions[at], sparse, dense).float()
                yield crop.tolist(), area.tolist(), logits

    def _pass(self, embeddings: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor) -> Tensor:
        """The mask decoder on pairs that each have their own image: [n h w]."""

        def one(embedding: Tensor, position: Tensor, points: Tensor, no_mask: Tensor) -> Tensor:
            masks, _ = self.model.mask_decoder(
                image_embeddings=embedding[None],
                image_pe=position[None],
                sparse_prompt_embeddings=points[None],
                dense_prompt_embeddings=no_mask[None],
                multimask_output=False,
            )
            return masks[0, 0]

        # The decoder takes many prompts of one image; vmap gives every prompt its own.
        return torch.vmap(one)(embeddings, positions, sparse, dense)

    def _resize(
        self, logits: Tensor, sources: list[tuple[_Tile, Tensor]]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Logits [m h w] at their crops' sizes, as SAM's own code resizes them, by size: places, [n h w]."""
        sizes = [(tile.height, tile.width, *crop.shape[1:]) for tile, crop in sources]
        for size in dict.fromkeys(sizes):
            places = [place for place, other in enumerate(sizes) if other == size]
            full = F.interpolate(logits[places, None], self.tile, mode="bilinear", align_corners=False)
            full = full[..., : size[0], : size[1]]
            yield places, F.interpolate(full, size[2:], mode="bilinear", align_corners=False)[:, 0]


def _grid(pack: int, cells: int) -> tuple[int, int]:
    """Rows and columns of tiles for up to `pack` upright crops on a canvas of cells x cells patches."""
    if pack == 1:
        return 1, 1
    rows = max(1, round((max(1, pack) / PERSON_ASPECT) ** 0.5))
    columns = -(-pack // rows)
    if pack < 1 or columns > cells:
        raise ValueError(
            f"pack must be from 1 to what a canvas of {cells} x {cells} patches holds, got {pack}"
        )
    return rows, columns


def _build(name: str, options: SAMOptions, device: str) -> SamSegmenter:
    model = load_sam(name, options.checkpoint, options.sha256)
    return SamSegmenter(model, device, options.pack, options.precision, options.compile, options.box)


BUILDER = Builder(SAMOptions, _build, fetch_sam)
