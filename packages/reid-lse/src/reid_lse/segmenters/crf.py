"""Masks by a conditional random field of limbs and colours: without weights, or with a person mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from reid_lse.builder import Builder
from reid_lse.colour import Palette, count_colours, palette
from reid_lse.layout import Crop, crops_of
from reid_lse.prompts import Prompts
from reid_lse.quality import crop_quality, mean_confidence
from reid_lse.random_field import Edges, contrast_edges, mean_field
from reid_lse.segmentation import Masks
from reid_lse.threads import one_blas_thread

DISTANCE = (-0.04, -0.02, 0.0, 0.01, 0.02, 0.05, 0.1, 0.15)
SHAPE_ODDS = (2.8, 2.4, 0.1, -1.2, -1.9, -2.9, -4.2, -5.5)
"""Log odds of a pixel to show the person by its distance from the nearest limb, a share of the person's
height: counted on synthetic people (benchmarks/lse_masks.py --odds)."""

ROWS, COLUMNS = 16, 2
"""Cells of the crop that have colours of their own: walls and lawns, heads and feet are not everywhere."""

NEXT_ROW, NEXT_COLUMN = 0.7, 0.7
"""Standard deviations, in cells, over which cells count as one place."""

ANYWHERE = 0.2
"""Share of the whole crop's colours among a cell's."""

UNSEEN = 2e-5
"""Probability of a colour that a place never had, per colour of the crop."""

SMALLEST = 8
"""Crops with a side below this many pixels have no colours to learn from; geometry alone speaks."""


@dataclass(frozen=True)
class CRFOptions:
    """Weights of what speaks for a pixel; chosen on synthetic people that no benchmark reports.

    Args:
        shape: of the limbs' log odds.
        shape_beside_mask: the same where the keypoint predictor gave a person mask.
        mask: most log odds that a person mask gives a pixel.
        colour: of the colours' log odds.
        split_shape: log odds of an area by how much nearer its limbs are than others, per person's height.
        split_colour: of colours in sharing the person out among areas.
        coupling: of neighbouring pixels.
        rounds: of learning the person's and the background's colours from the mask of the round before.
    """

    shape: float = 0.4
    shape_beside_mask: float = 0.3
    mask: float = 3.0
    colour: float = 1.0
    split_shape: float = 40.0
    split_colour: float = 0.5
    coupling: float = 1.5
    rounds: int = 3


MOST = 4.0
"""Log odds that colours give at most."""

EDGE = 0.5
"""Log odds against parts of a mask that are dropped, so that an outline enlarged lies outside them."""

SPLIT_MOST = 6.0
"""Log odds that the limbs' distances give at most in sharing the person out."""

STEPS, SPLIT_ROUNDS = 3, 2
"""Mean-field updates in a round, and rounds of learning the areas' colours."""


class CRFSegmenter:
    """Masks of limbs and colours: a conditional random field by mean-field inference.

    Each pixel has log odds of the person by its distance from the limbs between the keypoints, by the person
    mask where there is one, and by how much more its colour is seen on the person than beside them. The
    colours are learnt from the crop itself in a few rounds. Neighbours of like colour attract each other. The
    person is shared out among the areas the same way: by whose limbs are nearer, and by each area's colours.

    The same crop and prompts give the same masks, alone or in a batch.

    Args:
        options: weights of all these.

    Example:
        >>> from reid_lse import make_prompts, prior
        >>> images = torch.randint(256, (2, 3, 128, 64), dtype=torch.uint8)
        >>> keypoints = prior(images)
        >>> [tuple(masks.shape) for masks in CRFSegmenter()(images, keypoints, make_prompts(keypoints)).masks]
        [(3, 128, 64), (3, 128, 64)]
    """

    def __init__(self, options: CRFOptions | None = None) -> None:
        self.options = options or CRFOptions()

    def __call__(
        self,
        images: Sequence[Tensor],
        keypoints: Tensor,
        prompts: Prompts,
        person: Sequence[Tensor] | None = None,
    ) -> Masks:
        """Segment every area of every crop (Eq. 3 of VILLS); see `Segmenter`.

        Args:
            images: crops, uint8 [3 h w] each.
            keypoints: float [b k 3].
            prompts: bool [b a k] each.
            person: float [h w] for each crop, the probability of each pixel to show the person.

        Returns:
            Masks, bool [a h w] for each crop, with their quality.
        """
        masks = [
            torch.zeros(prompts.positive.shape[1], *image.shape[1:], dtype=torch.bool) for image in images
        ]
        quality = torch.zeros(prompts.positive.shape[:2])
        with one_blas_thread():
            for row, crop in enumerate(crops_of(images, keypoints, prompts)):
                if crop is None:
                    continue
                known = None if person is None else crop.shrink(person[row].detach().cpu().float().numpy())
                colours = palette(crop.pixels)
                odds, split = self._log_odds(crop, known, colours)
                small = (odds > 0) & (split > 0) & crop.asked[:, None, None]
                small = np.stack(
                    [_drop_loose_parts(*area) for area in zip(small, crop.layout.mine < 0, strict=True)]
                )
                sure = mean_confidence(keypoints, prompts, row)
                quality[row] = torch.from_numpy(crop_quality(crop, small, colours, sure))
                margins = np.where(small, np.minimum(odds, split), np.minimum(-EDGE, np.minimum(odds, split)))
                for area in np.flatnonzero(crop.asked):
                    masks[row][area] = torch.from_numpy(crop.enlarge(margins[area]) > 0)
        return Masks(masks, quality)

    def _log_odds(
        self, crop: Crop, known: np.ndarray | None, colours: Palette
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log odds of the person, float32 [h w], and of each area on the person, [a h w]."""
        weights, layout = self.options, crop.layout
        odds = np.interp(layout.away.min(axis=0), DISTANCE, SHAPE_ODDS).astype(np.float32)
        odds *= weights.shape if known is None else weights.shape_beside_mask
        if known is not None:
            least = 1 / (1 + np.exp(weights.mask))
            sure = np.clip(known, least, 1 - least)
            odds += np.log(sure / (1 - sure))
        split = np.clip((layout.theirs - layout.mine) * weights.split_shape, -SPLIT_MOST, SPLIT_MOST)
        if min(odds.shape) < SMALLEST:
            return odds, split
        edges = contrast_edges(crop.pixels)
        person = self._person(odds, colours, edges)
        return person, self._areas(split, person, colours, edges)

    def _person(self, odds: np.ndarray, colours: Palette, edges: list[Edges]) -> np.ndarray:
        height, width = odds.shape
        rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
        cells = (rows[:, None] * COLUMNS + columns).ravel()
        near = np.kron(_nearness(ROWS, NEXT_ROW), _nearness(COLUMNS, NEXT_COLUMN))
        posterior = odds
        for _ in range(self.options.rounds):
            seen = _colour_odds(colours, _sigmoid(posterior).ravel(), None, cells, near)
            unary = odds + self.options.colour * seen.reshape(odds.shape)
            posterior = mean_field(unary, edges, self.options.coupling, STEPS)
        return posterior

    def _areas(
        self, split: np.ndarray, person: np.ndarray, colours: Palette, edges: list[Edges]
    ) -> np.ndarray:
        weights = _sigmoid(person).ravel()
        everywhere, alone = np.zeros(person.size, np.int32), np.ones((1, 1), np.float32)
        posterior = split
        for _ in range(SPLIT_ROUNDS):
            seen = [
                _colour_odds(colours, _sigmoid(area).ravel(), weights, everywhere, alone)
                for area in posterior
            ]
            unary = split + self.options.split_colour * np.stack(seen).reshape(split.shape)
            posterior = mean_field(unary, edges, self.options.coupling, STEPS)
        return posterior


def _colour_odds(
    colours: Palette, share: np.ndarray, weights: np.ndarray | None, cells: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """Log odds by a pixel's colour and cell: how often pixels like it are inside over outside, float32 [p].

    Args:
        colours: of the crop.
        share: float [p], how much each pixel is inside.
        weights: float [p], how much each pixel counts; None for one each.
        cells: int [p], the cell that each lies in.
        near: float [c c], how much two cells count as one place.
    """
    inside, outside = share, 1 - share
    if weights is not None:
        inside, outside = inside * weights, outside * weights
    chances = []
    for side in (inside, outside):
        counts = count_colours(colours, side, cells, len(near))
        number = counts.sum(axis=1)
        there = (near @ counts) / (near @ number + 1)[:, None]
        anywhere = counts.sum(axis=0) / (number.sum() + 1)
        mixed = ((1 - ANYWHERE) * there + ANYWHERE * anywhere) @ colours.kinship
        chances.append(mixed + UNSEEN * len(colours.kinship))
    odds = np.clip(np.log(chances[0] / chances[1]), -MOST, MOST)
    return odds[cells, colours.pixels]


def _drop_loose_parts(mask: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that touch the area's limbs: bool [h w]."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    kept = np.zeros(labels.max() + 1, dtype=bool)
    kept[labels[limbs & mask]] = True
    return mask & kept[labels]


def _nearness(cells: int, spread: float) -> np.ndarray:
    steps = np.arange(cells)
    return np.exp(-((steps[:, None] - steps) ** 2) / (2 * spread**2)).astype(np.float32)


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


BUILDER = Builder(CRFOptions, lambda name, options, device: CRFSegmenter(options))
