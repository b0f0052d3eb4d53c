"""Cloth, skin and bags as small images wrapped around the body.

A texture is float32 [v u 4], colours in 0-255 and a channel of ones for the rasteriser. v runs down the
part, u around it, with the front in the middle column, the person's left a quarter to the right of it and
the back at both ends. So a logo on the chest is seen from the front and not from behind, without any
further rule.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from reid_core.synthetic.person import PALETTE, Body, Outfit, generator

TRUNK = (48, 96)
LIMB = (32, 32)
HEAD = (40, 80)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Band-limited noise of about unit deviation: float32 [height width], `cells` bumps along the height.

    Example:
        >>> smooth_noise(np.random.default_rng(0), 8, 6, 3).shape
        (8, 6)
    """
    columns = max(2, round(cells * width / height))
    coarse = rng.standard_normal((cells, columns), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def floats(values: object) -> np.ndarray:
    """Numbers as a float32 array."""
    return np.asarray(values, np.float32)


def with_ones(texture: np.ndarray) -> np.ndarray:
    """Add the channel of ones to colours [v u 3]."""
    return np.concatenate([texture, np.ones((*texture.shape[:2], 1))], 2).astype(np.float32)


def colour(name: str) -> np.ndarray:
    """A palette colour as float32 [3]."""
    return np.asarray(PALETTE[name], np.float32)


def _mix(base: np.ndarray, over: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return base + np.clip(weight, 0, 1)[..., None] * (over - base)


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """v in 0..1 downwards and u in -1..1 around (0 front, +-0.5 sides, +-1 back)."""
    v = (np.arange(shape[0], dtype=np.float32)[:, None] + 0.5) / shape[0] + np.zeros(shape, np.float32)
    u = (np.arange(shape[1], dtype=np.float32)[None] + 0.5) / shape[1] * 2 - 1 + np.zeros(shape, np.float32)
    return v, u


def _logo(v: np.ndarray, u: np.ndarray, mark: int, place: float, centre: float) -> np.ndarray:
    y, x = (v - place) / 0.16, ((u - centre + 1) % 2 - 1) / 0.15
    shapes = (
        x**2 + y**2 < 1.1,
        (np.abs(x) < 1.1) & (np.abs(y) < 0.9),
        (y > -1) & (y < 0.9) & (np.abs(x) < (y + 1) * 0.65),
        (np.abs(x) < 1.4) & ((np.abs(y - 0.7) < 0.32) | (np.abs(y + 0.7) < 0.32)),
        ((np.abs(x) < 0.35) & (np.abs(y) < 1.3)) | ((np.abs(y) < 0.35) & (np.abs(x) < 1.3)),
        (x**2 + y**2 < 1.4) & (x**2 + y**2 > 0.45),
    )
    return shapes[mark % len(shapes)].astype(np.float32)


def _pattern(
    name: str,
    outfit: Outfit,
    base: np.ndarray,
    over: np.ndarray,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Cloth of one pattern on a grid of `shape`; the pattern's scale is the outfit's."""
    v, u = _grid(shape)
    n, plain = outfit.scale, np.broadcast_to(base, (*shape, 3)).astype(np.float32)
    front = -1.0 if outfit.mark_back else 0.0
    weight: np.ndarray
    match name:
        case "stripes":
            weight = (np.sin(2 * np.pi * n * v) > 0.1).astype(np.float32)
        case "columns" | "side_stripe":
            around = 2 * n if name == "columns" else 0
            weight = (np.sin(np.pi * around * u) > 0.2) if around else (np.abs(np.abs(u) - 0.5) < 0.09)
        case "plaid":
            weight = 0.45 * (np.sin(2 * np.pi * n * v) > 0.3) + 0.45 * (np.sin(2 * np.pi * n * u) > 0.3)
        case "two_tone":
            weight = v > outfit.place
        case "open":
            weight = np.abs(u) < 0.05 + 0.16 * outfit.place + 0.05 * v
        case "logo":
            weight = _logo(v, u, outfit.mark, 0.38, front)
        case "band":
            weight = np.abs(v - outfit.place) < 0.09
        case "diagonal":
            weight = np.abs(v - 0.5 - 0.8 * u * (1 if outfit.mark % 2 else -1)) < 0.13
        case "dots":
            weight = np.sin(2 * np.pi * n * v) * np.sin(2 * np.pi * n * u) > 0.45
        case "blotches":
            weight = smooth_noise(rng, shape[0], shape[1], n + 3) > 0.3
        case "faded":
            weight = 0.28 * np.exp(-((v - 0.5) ** 2) / 0.08) * np.cos(np.pi * u / 2) ** 2
            over = np.full(3, 215, np.float32)
        case "pockets":
            weight = 0.5 * ((np.abs(np.abs(u) - 0.45) < 0.16) & (np.abs(v - 0.55) < 0.2))
            over = base * 0.6
        case _:
            weight = np.zeros(shape, np.float32)
    return _mix(plain, over, np.asarray(weight, np.float32))


def _wrinkle(texture: np.ndarray, rng: np.random.Generator, strength: float = 0.07) -> np.ndarray:
    height, width = texture.shape[:2]
    folds = smooth_noise(rng, height, width, 7) + 0.7 * smooth_noise(rng, height, width, 16)
    return np.clip(texture * (1 + strength * folds[..., None]), 4, 250)


def _head(body: Body, outfit: Outfit, rng: np.random.Generator) -> np.ndarray:
    v, u = _grid(HEAD)
    skin, hair = np.asarray(body.skin, np.float32), np.asarray(body.hair, np.float32)
    texture = np.broadcast_to(skin, (*HEAD, 3)).astype(np.float32)
    for x in (-0.13, 0.13):  # eyes under brows
        texture = _mix(
            texture, hair * 0.7, 0.75 * np.exp(-(((u - x) / 0.06) ** 2) - ((v - 0.47) / 0.035) ** 2)
        )
    texture = _mix(texture, skin * 0.6, 0.6 * np.exp(-((u / 0.10) ** 2) - ((v - 0.76) / 0.03) ** 2))
    texture = _mix(texture, skin * 0.8, 0.5 * np.exp(-((u / 0.05) ** 2) - ((v - 0.62) / 0.04) ** 2))
    low = {"bald": 0.0, "short": 0.62, "bun": 0.66, "ponytail": 0.66, "bob": 0.95, "long": 1.1}[
        body.hair_style
    ]
    edge = 0.27 if body.hair_style in ("long", "bob") else 0.38
    if low:
        hairline = np.where(np.abs(u) < edge, 0.26 - 0.1 * np.abs(u), low)
        texture = _mix(texture, hair, (hairline - v) / 0.04 + 0.5)
    if outfit.hat != "none":
        cover = 0.4 if outfit.hat == "beanie" else 0.33
        texture = _mix(texture, colour(outfit.hat_colour), (cover - v) / 0.02 + 0.5)
    return np.clip(texture * (1 + 0.05 * smooth_noise(rng, *HEAD, 10)[..., None]), 4, 250)


def _trunk(
    outfit: Outfit, base: np.ndarray, over: np.ndarray, skin: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    v, u = _grid(TRUNK)
    top = _pattern(outfit.pattern, outfit, base, over, TRUNK, rng)
    top = _mix(top, base * 0.55, 0.5 * ((np.abs(u) < 0.012) & (outfit.pattern != "open")))  # placket
    top = _mix(top, skin, ((0.05 + 0.05 * (outfit.mark % 3) - v) / 0.02) * (np.abs(u) < 0.12))  # neckline
    strap = colour(outfit.bag_colour)
    if outfit.bag == "backpack":
        over_front = (np.abs(np.abs(u) - 0.24) < 0.045) & (np.abs(u) < 0.5) & (v < 0.62)
        top = _mix(top, strap, over_front)
    elif outfit.bag == "shoulder":
        # From the shoulder opposite to the bag, across chest and back.
        along = outfit.bag_side * np.where(np.abs(u) < 0.5, u, np.sign(u) * (1 - np.abs(u))) * 2
        top = _mix(top, strap, np.abs(v - 0.5 - 0.5 * along) < 0.06)
    return _wrinkle(top, rng)


def _limb(part: np.ndarray, skin: np.ndarray, until: float) -> np.ndarray:
    """Cloth down to `until` of the limb's length, skin below it."""
    v, _ = _grid(LIMB)
    return _mix(part, skin, (v - until) * LIMB[0])


@lru_cache(maxsize=512)
def textures(seed: int, identity: int, clothes: int, body: Body, outfit: Outfit) -> dict[str, np.ndarray]:
    """All textures of a person in an outfit: name of the part -> float32 [v u 4]."""
    rng = generator(seed, 103, identity, clothes)
    skin = np.asarray(body.skin, np.float32)
    # Cloth of one colour name differs a little in shade from one garment to the next.
    base, over, low, low_over = (
        np.clip(
            colour(name) * np.exp(0.15 * rng.standard_normal()) + 14 * rng.standard_normal(3), 12, 235
        ).astype(np.float32)
        for name in (outfit.top, outfit.accent, outfit.bottom, outfit.bottom_accent)
    )
    bare = _wrinkle(np.broadcast_to(skin, (*LIMB, 3)).astype(np.float32), rng, 0.03)

    sleeve_colour = over if outfit.pattern == "sleeves" else base
    sleeve_pattern = outfit.pattern if outfit.pattern in ("stripes", "plaid", "dots", "blotches") else "plain"
    sleeve = _wrinkle(_pattern(sleeve_pattern, outfit, sleeve_colour, over, LIMB, rng), rng)
    upper_until = {"long": 2.0, "short": 0.7, "none": 0.1}[outfit.sleeve]
    lower_until = 0.72 if outfit.sleeve == "long" else -1.0

    cloth = _wrinkle(_pattern(outfit.bottom_pattern, outfit, low, low_over, LIMB, rng), rng)
    thigh_until = {"shorts": 0.85, "skirt": -1.0}.get(outfit.legs, 2.0)
    shin_until = {"shorts": -1.0, "skirt": -1.0, "slim": 0.86}.get(outfit.legs, 2.0)
    bag = np.broadcast_to(colour(outfit.bag_colour), (*LIMB, 3)).astype(np.float32)
    v, u = _grid(LIMB)
    bag = _mix(bag, colour(outfit.bag_accent), (np.abs(v - 0.68) < 0.17) & (np.abs(np.abs(u) - 1) < 0.36))
    bag = _mix(bag, colour(outfit.bag_colour) * 0.5, np.abs(v - 0.42) < 0.03)
    shoe = _mix(
        np.broadcast_to(colour(outfit.shoes), (*LIMB, 3)).astype(np.float32),
        floats([200, 200, 196]),
        v > 2,
    )
    hem = _pattern(sleeve_pattern if outfit.pattern != "open" else "open", outfit, base, over, TRUNK, rng)
    found = {
        "head": _head(body, outfit, rng),
        "neck": bare,
        "hair": _wrinkle(np.broadcast_to(np.asarray(body.hair, np.float32), (*LIMB, 3)), rng, 0.12),
        "hat": np.broadcast_to(colour(outfit.hat_colour), (*LIMB, 3)).astype(np.float32),
        "trunk": _trunk(outfit, base, over, skin, rng),
        "upper_arm": _limb(sleeve, skin, upper_until),
        "lower_arm": _limb(sleeve, skin, lower_until),
        "hips": _wrinkle(_pattern(outfit.bottom_pattern, outfit, low, low_over, TRUNK, rng), rng),
        "hem": _wrinkle(hem, rng),
        "thigh": _limb(cloth, skin, thigh_until),
        "shin": _limb(cloth, skin, shin_until),
        "shoe": shoe,
        "bag": _wrinkle(bag, rng, 0.05),
    }
    return {name: with_ones(texture) for name, texture in found.items()}
