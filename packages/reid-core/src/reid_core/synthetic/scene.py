"""Places: walls, grounds and street furniture behind and in front of people; none knows who walks there."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from reid_core.synthetic.person import generator
from reid_core.synthetic.texture import floats, smooth_noise

SCENE = (420, 2400)  # height and width of a camera's panorama, pixels
WALLS = (
    (150, 146, 138), (120, 112, 104), (176, 166, 148), (128, 84, 68), (96, 104, 108), (196, 194, 188),
    (70, 76, 82), (92, 110, 84), (108, 120, 134), (52, 54, 58),
)  # fmt: skip
GROUNDS = ((128, 126, 122), (104, 102, 100), (152, 144, 130), (86, 86, 90), (96, 108, 74), (170, 166, 160))
THINGS = ("car", "bin", "bush", "sign", "bike", "bench")
_THING_SIZES = {
    "car": (150, 340), "bin": (150, 90), "bush": (150, 190), "sign": (220, 110), "bike": (130, 200),
    "bench": (100, 220),
}  # fmt: skip
_THING_COLOURS = (
    (150, 40, 40),
    (40, 60, 110),
    (210, 210, 208),
    (40, 42, 46),
    (120, 124, 128),
    (60, 96, 70),
    (190, 150, 60),
)


def ints(values: object) -> np.ndarray:
    """Pixel positions as an int32 array."""
    return np.asarray(values, np.int32)


def _shade(height: int, width: int, base: np.ndarray, rng: np.random.Generator, grain: float) -> np.ndarray:
    noise = 9 * smooth_noise(rng, height, width, 3) + grain * rng.standard_normal(
        (height, width), dtype=np.float32
    )
    return base[None, None] + noise[..., None]


def _wall(image: np.ndarray, x0: int, x1: int, horizon: int, rng: np.random.Generator) -> None:
    base = floats(WALLS[rng.integers(len(WALLS))])
    part = _shade(horizon, x1 - x0, base, rng, 3)
    width = x1 - x0
    kind = rng.choice(["brick", "panels", "windows", "hedge", "shop", "fence"])
    dark, pale = (base * 0.6).tolist(), (base * 1.25).clip(0, 250).tolist()
    if kind == "brick":
        for row, y in enumerate(range(0, horizon, 9)):
            cv2.line(part, (0, y), (width, y), dark, 1, cv2.LINE_AA)
            for x in range(row % 2 * 10, width, 20):
                cv2.line(part, (x, y), (x, y + 9), dark, 1, cv2.LINE_AA)
    elif kind == "panels":
        step = int(rng.integers(30, 90))
        for x in range(0, width, step):
            cv2.line(part, (x, 0), (x, horizon), dark, 2, cv2.LINE_AA)
            cv2.line(part, (x + 2, 0), (x + 2, horizon), pale, 1, cv2.LINE_AA)
    elif kind in ("windows", "shop"):
        step, top, bottom = (70, 40, horizon - 70) if kind == "windows" else (120, 30, horizon - 15)
        for x in range(10, width - 20, step):
            glass = floats(rng.choice([[48, 56, 66], [92, 108, 118], [170, 168, 150]]))
            w = int(step * 0.75)
            pane = part[top:bottom, x : min(x + w, width)]
            pane[:] = _shade(pane.shape[0], pane.shape[1], glass, rng, 2)
            pane += np.linspace(30, -20, pane.shape[0], dtype=np.float32)[:, None, None]
            cv2.rectangle(part, (x, top), (min(x + w, width), bottom), pale, 3, cv2.LINE_AA)
    elif kind == "hedge":
        leaf = smooth_noise(rng, horizon, width, 60) + smooth_noise(rng, horizon, width, 25)
        part = floats([58, 78, 46]) + 14 * leaf[..., None] * floats([0.8, 1, 0.6])
    else:
        for x in range(0, width, 14):
            cv2.line(part, (x, horizon // 3), (x, horizon), dark, 3, cv2.LINE_AA)
        for y in (horizon // 3 + 6, horizon - 30):
            cv2.line(part, (0, y), (width, y), dark, 4, cv2.LINE_AA)
    image[:horizon, x0:x1] = part


def _ground(image: np.ndarray, x0: int, x1: int, horizon: int, rng: np.random.Generator) -> None:
    height, width = image.shape[0], x1 - x0
    base = floats(GROUNDS[rng.integers(len(GROUNDS))])
    part = _shade(height - horizon, width, base, rng, 5)
    part += np.linspace(-14, 12, height - horizon, dtype=np.float32)[:, None, None]
    line = (base * 0.75).tolist()
    if rng.random() < 0.65:
        for x in range(-width, 2 * width, 70):
            cv2.line(
                part, (width // 2 + (x - width // 2) // 3, 0), (x, height - horizon), line, 1, cv2.LINE_AA
            )
        y, step = 4.0, 8.0
        while y < height - horizon:
            cv2.line(part, (0, int(y)), (width, int(y)), line, 1, cv2.LINE_AA)
            y, step = y + step, step * 1.25
    if rng.random() < 0.4:
        y = int(rng.integers(30, height - horizon - 20))
        cv2.line(part, (0, y), (width, y + int(rng.integers(-30, 30))), (206, 204, 196), 6, cv2.LINE_AA)
    image[horizon:, x0:x1] = part
    image[horizon : horizon + 4, x0:x1] *= 0.6  # contact shadow of the wall


@lru_cache(maxsize=64)
def thing(kind: str, seed: int) -> np.ndarray:
    """Sprite of street furniture: float32 [h w 4], colours multiplied by alpha, alpha 0-1.

    Example:
        >>> thing("bin", 0).shape[2]
        4
    """
    rng = generator(seed, 301, THINGS.index(kind))
    height, width = _THING_SIZES[kind]
    rgb = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)
    base = tuple(float(c) for c in _THING_COLOURS[rng.integers(len(_THING_COLOURS))])
    dark = tuple(0.45 * c for c in base)

    def fill(points: list[tuple[float, float]], tone: tuple[float, ...]) -> None:
        polygon = ints(np.array(points) * [width, height])
        cv2.fillPoly(rgb, [polygon], tone, cv2.LINE_AA)
        cv2.fillPoly(alpha, [polygon], 1.0, cv2.LINE_AA)

    def ring(x: float, y: float, r: float, tone: tuple[float, ...], thick: int) -> None:
        centre = (int(x * width), int(y * height))
        cv2.circle(rgb, centre, int(r * height), tone, thick, cv2.LINE_AA)
        cv2.circle(alpha, centre, int(r * height), 1.0, thick, cv2.LINE_AA)

    if kind == "car":
        fill(
            [
                (0.02, 0.5),
                (0.2, 0.42),
                (0.33, 0.08),
                (0.7, 0.08),
                (0.84, 0.42),
                (0.98, 0.5),
                (0.98, 0.84),
                (0.02, 0.84),
            ],
            base,
        )
        fill([(0.24, 0.42), (0.35, 0.14), (0.5, 0.14), (0.5, 0.42)], (54, 62, 70))
        fill([(0.53, 0.42), (0.53, 0.14), (0.68, 0.14), (0.79, 0.42)], (54, 62, 70))
        for x in (0.2, 0.8):
            ring(x, 0.82, 0.16, (24, 24, 26), -1)
            ring(x, 0.82, 0.08, (150, 150, 152), -1)
    elif kind == "bin":
        fill([(0.06, 0.12), (0.94, 0.12), (0.88, 0.99), (0.12, 0.99)], base)
        fill([(0.02, 0.04), (0.98, 0.04), (0.98, 0.15), (0.02, 0.15)], dark)
        fill([(0.3, 0.4), (0.7, 0.4), (0.7, 0.6), (0.3, 0.6)], tuple(min(250, 1.4 * c + 20) for c in base))
    elif kind == "bush":
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        outline = 1 - ((x / width - 0.5) / 0.46) ** 2 - ((y / height - 0.6) / 0.56) ** 2
        alpha[:] = np.clip((outline + 0.18 * smooth_noise(rng, height, width, 9)) * 9, 0, 1)
        leaves = smooth_noise(rng, height, width, 30) + smooth_noise(rng, height, width, 12)
        rgb[:] = floats([62, 82, 48]) + 15 * leaves[..., None]
    elif kind == "sign":
        fill([(0.46, 0.3), (0.54, 0.3), (0.54, 1), (0.46, 1)], (104, 106, 108))
        fill([(0.06, 0.02), (0.94, 0.02), (0.94, 0.4), (0.06, 0.4)], base)
        fill([(0.16, 0.1), (0.84, 0.1), (0.84, 0.18), (0.16, 0.18)], (214, 214, 208))
        fill([(0.16, 0.24), (0.6, 0.24), (0.6, 0.31), (0.16, 0.31)], (214, 214, 208))
    elif kind == "bike":
        for x in (0.22, 0.78):
            ring(x, 0.66, 0.30, (30, 30, 32), 5)
        corners = ((0.22, 0.66), (0.42, 0.3), (0.7, 0.3), (0.5, 0.68), (0.42, 0.3), (0.7, 0.3), (0.78, 0.66))
        for a, b in pairwise(corners):
            start, end = ((int(p * width), int(q * height)) for p, q in (a, b))
            cv2.line(rgb, start, end, base, 6, cv2.LINE_AA)
            cv2.line(alpha, start, end, 1.0, 6, cv2.LINE_AA)
    else:
        for y in (0.1, 0.28, 0.52):
            fill([(0.02, y), (0.98, y), (0.98, y + 0.12), (0.02, y + 0.12)], base)
        for x in (0.1, 0.84):
            fill([(x, 0.1), (x + 0.05, 0.1), (x + 0.05, 1), (x, 1)], dark)
    rgb *= np.linspace(1.1, 0.75, height, dtype=np.float32)[:, None, None]
    rgb += 4 * smooth_noise(rng, height, width, 14)[..., None]
    return np.concatenate([rgb.clip(0, 250) * alpha[..., None], alpha[..., None]], 2).astype(np.float32)


def _paste(image: np.ndarray, sprite: np.ndarray, x: int, bottom: int, height: int) -> None:
    width = max(1, round(sprite.shape[1] * height / sprite.shape[0]))
    small = cv2.resize(sprite, (width, height), interpolation=cv2.INTER_AREA)
    x0, y0 = max(0, x), max(0, bottom - height)
    x1, y1 = min(image.shape[1], x + width), min(image.shape[0], bottom)
    if x0 < x1 and y0 < y1:
        cut = small[y0 - bottom + height : y1 - bottom + height, x0 - x : x1 - x]
        image[y0:y1, x0:x1] = image[y0:y1, x0:x1] * (1 - cut[..., 3:]) + cut[..., :3]


def _from_above(rng: np.random.Generator, clutter: float) -> np.ndarray:
    height, width = SCENE
    image = _shade(height, width, floats(GROUNDS[rng.integers(len(GROUNDS))]), rng, 5)
    x = 0
    while x < width:
        step = int(rng.integers(90, 380))
        base = floats(GROUNDS[rng.integers(len(GROUNDS))])
        piece = image[:, x : x + step]
        piece[:] = _shade(height, piece.shape[1], base, rng, 5)
        if rng.random() < 0.5:
            gap = int(rng.integers(16, 44))
            for k in range(0, max(height, step), gap):
                cv2.line(image, (x, k), (min(x + step, width), k), (base * 0.8).tolist(), 1, cv2.LINE_AA)
                if k < step:
                    cv2.line(image, (x + k, 0), (x + k, height), (base * 0.8).tolist(), 1, cv2.LINE_AA)
        cv2.line(image, (x, 0), (x, height), (196, 194, 188), 4, cv2.LINE_AA)
        x += step
    for _ in range(int(44 * clutter)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        if rng.random() < 0.5:
            tone = _THING_COLOURS[rng.integers(len(_THING_COLOURS))]
            box = (
                centre,
                (float(rng.uniform(40, 60)), float(rng.uniform(90, 120))),
                float(rng.uniform(0, 180)),
            )
            cv2.fillPoly(image, [ints(cv2.boxPoints(box))], tone, cv2.LINE_AA)
            inner = (centre, (box[1][0] * 0.8, box[1][1] * 0.45), box[2])
            cv2.fillPoly(image, [ints(cv2.boxPoints(inner))], tuple(0.5 * c for c in tone), cv2.LINE_AA)
        else:
            _paste(
                image, thing("bush", int(rng.integers(4))), centre[0], centre[1], int(rng.integers(40, 90))
            )
    return image


@lru_cache(maxsize=64)
def panorama(seed: int, camera: int, clutter: float, aerial: bool) -> tuple[np.ndarray, int]:
    """What a camera sees when nobody is there.

    Returns:
        float32 [h w 3] 0-255 (read-only by convention) and the row of the horizon.
    """
    rng = generator(seed, 302, camera)
    height, width = SCENE
    if aerial:
        return cv2.GaussianBlur(_from_above(rng, clutter), (0, 0), 0.8).clip(0, 255), 0
    horizon = int(height * rng.uniform(0.42, 0.62))
    image = np.zeros((height, width, 3), np.float32)
    x = 0
    while x < width:
        step = int(rng.integers(200, 460))
        _ground(image, x, min(width, x + step), horizon, rng)
        x += step
    x = 0
    while x < width:
        step = int(rng.integers(120, 320))
        _wall(image, x, min(width, x + step), horizon, rng)
        x += step
    for _ in range(int(50 * clutter)):
        kind = str(rng.choice(THINGS))
        near = float(rng.random())
        size = (0.28 + 0.3 * near) * height * {"car": 0.75, "sign": 1.0, "bush": 0.7}.get(kind, 0.55)
        bottom = horizon + int((0.06 + 0.45 * near) * (height - horizon))
        _paste(image, thing(kind, int(rng.integers(8))), int(rng.integers(-60, width)), bottom, int(size))
    for _ in range(int(8 * clutter)):  # shadows across the ground
        x = int(rng.integers(width))
        lean, wide = int(rng.integers(-200, 200)), int(rng.integers(40, 160))
        shadow = np.ones((height - horizon, width), np.float32)
        corners = [(x, 0), (x + wide, 0), (x + wide + lean, height - horizon), (x + lean, height - horizon)]
        cv2.fillPoly(shadow, [ints(corners)], 0.7, cv2.LINE_AA)
        image[horizon:] *= cv2.GaussianBlur(shadow, (0, 0), 5)[..., None]
    return cv2.GaussianBlur(image, (0, 0), 0.8).clip(0, 255), horizon


def window(scene: np.ndarray, x: float, bottom: float, height: float, size: tuple[int, int]) -> np.ndarray:
    """Cut a window (bottom centre at x, bottom; aspect of `size`) out of a panorama; scale it to size."""
    rows, columns = size
    step = height / rows
    matrix = floats([[step, 0, x - step * columns / 2], [0, step, bottom - height]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(scene, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def cast_shadow(
    image: np.ndarray, x: float, y: float, half_width: float, half_height: float, strength: float
) -> None:
    """Darken an ellipse of the ground around (x, y) softly, in place."""
    y0, y1 = max(0, math.floor(y - 2 * half_height)), min(image.shape[0], math.ceil(y + 2 * half_height))
    if y0 >= y1:
        return
    dy = (np.arange(y0, y1, dtype=np.float32) - y) / half_height
    dx = (np.arange(image.shape[1], dtype=np.float32) - x) / half_width
    image[y0:y1] *= (1 - strength * np.exp(-dy * dy)[:, None] * np.exp(-dx * dx)[None])[..., None]
