"""Anti-aliased rasteriser: textured tubes and sprites on a canvas that also keeps which part is on top."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

SUPERSAMPLE = 2  # canvas pixels a crop pixel, averaged by area at the end
STRETCH = 1.25  # detectors' boxes are slimmer than 1:2 and are stretched to it, as in the real sets


class Canvas:
    """A picture being painted back to front.

    Attributes:
        image: float32 [h w 3], 0-255.
        ids: uint8 [h w], number of the part painted last; 0 is the background.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.image = image
        self.ids: np.ndarray = np.zeros(image.shape[:2], np.uint8)

    def stamp(self, patch: np.ndarray, matrix: np.ndarray, ident: int) -> None:
        """Paint a patch through an affine map.

        Args:
            patch: float32 [n m 4], colours 0-255 multiplied by alpha, and alpha 0-1.
            matrix: [2 3], patch pixels to canvas pixels.
            ident: number written to `ids` where the patch covers more than half of a pixel.
        """
        n, m = patch.shape[:2]
        (a, b, c), (d, e, f) = matrix.tolist()
        xs = (c, c + a * m, c + b * n, c + a * m + b * n)
        ys = (f, f + d * m, f + e * n, f + d * m + e * n)
        height, width = self.ids.shape
        x0, x1 = max(0, math.floor(min(xs)) - 1), min(width, math.ceil(max(xs)) + 1)
        y0, y1 = max(0, math.floor(min(ys)) - 1), min(height, math.ceil(max(ys)) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        # warpAffine counts from pixel centres.
        shifted = np.array([[a, b, c - x0 + 0.5 * (a + b) - 0.5], [d, e, f - y0 + 0.5 * (d + e) - 0.5]])
        warped = cv2.warpAffine(patch, shifted, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        # Channels are split and spread by OpenCV: broadcasting over an axis of 3 is several times slower.
        alpha = cv2.extractChannel(warped, 3)
        region = self.image[y0:y1, x0:x1]
        region *= cv2.cvtColor(1 - alpha, cv2.COLOR_GRAY2RGB)
        region += cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
        np.putmask(self.ids[y0:y1, x0:x1], alpha > 0.5, ident)

    def tube(
        self,
        start: np.ndarray,
        end: np.ndarray,
        half_width: float,
        profile: np.ndarray,
        texture: np.ndarray,
        turn: float,
        light: tuple[float, float],
        ident: int,
        rows: np.ndarray | None = None,
    ) -> None:
        """Paint a round part of the body, wrapped in its texture and shaded.

        Args:
            start, end: [2] canvas pixels, the ends of its axis with the caps included.
            half_width: canvas pixels, where the profile is 1.
            profile: [v] relative half width along the axis.
            texture: float32 [v u 4], colours and a channel of ones, see `reid_core.synthetic.texture`.
            turn: radians by which the texture's front is turned away from the camera.
            light: weights of the light from the right of the picture and from the camera.
            ident: number of the part.
            rows: rows of the texture to show along the axis; all of them in order by default.
        """
        half_width = float(half_width)  # a NumPy scalar would turn the patch into float64
        columns = int(min(40, max(6, 1.2 * half_width)))
        s = (np.arange(columns, dtype=np.float32) + 0.5) * (2.0 / columns) - 1
        around = (np.arcsin(s) - turn) * (0.5 / math.pi) + 0.5
        picked = np.floor((around % 1.0) * texture.shape[1]).astype(np.intp) % texture.shape[1]
        n = len(profile)
        if rows is None and texture.shape[0] != n:
            rows = np.arange(n) * texture.shape[0] // n
        rgba = texture[:, picked] if rows is None else texture[rows[:, None], picked]
        shade = 0.5 + np.maximum(0, light[0] * s + light[1] * np.sqrt(1 - s * s))
        alpha = np.minimum(np.maximum((profile[:, None] - np.abs(s)) * half_width + 0.5, 0), 1)
        lit = alpha * shade
        patch = rgba * cv2.merge((lit, lit, lit, alpha))
        axis = end - start
        length = math.hypot(axis[0], axis[1]) or 1e-6
        dx, dy = axis[0] / length, axis[1] / length
        step = 2 * half_width / columns
        matrix = np.array(
            [
                [dy * step, dx * length / n, start[0] - dy * half_width],
                [-dx * step, dy * length / n, start[1] + dx * half_width],
            ]
        )
        self.stamp(patch, matrix, ident)


@lru_cache
def _unit(n: int) -> np.ndarray:
    return np.linspace(0, 1, n, dtype=np.float32)


def capsule(
    start: np.ndarray, end: np.ndarray, r0: float, r1: float, n: int
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """A tapered limb with round ends: ends with caps, largest radius, profile [n] for `Canvas.tube`.

    Example:
        >>> _, _, radius, profile = capsule(np.zeros(2), np.array([0.0, 9.0]), 3, 2, 16)
        >>> radius, profile.shape
        (3.0, (16,))
    """
    r0, r1 = float(r0), float(r1)
    axis = end - start
    length = math.hypot(axis[0], axis[1])
    unit = axis / length if length > 1e-6 else np.array([0.0, 1.0])
    along = _unit(n) * (length + r0 + r1) - r0
    body = r0 + (r1 - r0) * np.minimum(np.maximum(along * (1 / max(length, 1e-6)), 0), 1)
    past = np.maximum(np.maximum(-along, along - length), 0)
    radius = max(r0, r1)
    profile = np.sqrt(np.maximum(body**2 - past**2, 0)) / radius
    return start - unit * r0, end + unit * r1, radius, profile
