"""Cameras: where they look from and what they do to a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from reid_core.synthetic.person import generator
from reid_core.synthetic.texture import floats


@dataclass(frozen=True)
class Camera:
    """One camera of the world. The dials of the world are already in it."""

    aerial: bool
    pitch: float  # radians, 0 level
    direction: float  # radians, yaw of people walking along the path it looks at
    mix: tuple[tuple[float, float, float], ...]  # colour matrix: sensor and lighting
    gain: float
    gamma: float
    sharp: float  # crop pixels a sensor pixel: above 1 loses resolution
    blur: float  # standard deviation in crop pixels
    noise: float  # standard deviation, 0-255
    quality: int  # JPEG
    light: tuple[float, float]  # from the right of the picture, from the camera
    falloff: float  # brightness of the top against the bottom of the crop


@lru_cache(maxsize=256)
def sample_camera(
    seed: int, camera: int, aerial: bool, colour_cast: float, blur: float, noise: float
) -> Camera:
    """Draw camera `camera` of the world `seed`; the factors scale its faults, 0 removes them.

    Example:
        >>> sample_camera(0, 1, False, 0.0, 1.0, 1.0).gamma
        1.0
    """
    rng = generator(seed, 201, camera)
    warmth, magenta = np.clip(rng.standard_normal(2), -1.6, 1.6) * (0.065, 0.03) * colour_cast
    tint = np.array([warmth + magenta / 2, -magenta, -warmth + magenta / 2])
    cross = rng.normal(0, 0.014, (3, 3)) * colour_cast
    fade = float(rng.uniform(0.0, 0.15)) * colour_cast  # loss of saturation
    grey = np.full((3, 3), 1 / 3)
    mix = (
        np.diag(np.exp(tint)) @ ((1 - min(fade, 1)) * np.eye(3) + min(fade, 1) * grey)
        + cross
        - np.diag(np.diag(cross))
    )
    return Camera(
        aerial=aerial,
        pitch=float(rng.uniform(0.85, 1.15) if aerial else rng.uniform(0.05, 0.35)),
        direction=float(rng.uniform(-math.pi, math.pi)),
        mix=tuple((float(r), float(g), float(b)) for r, g, b in mix),
        gain=float(np.exp(rng.uniform(-0.13, 0.12) * colour_cast)),
        gamma=float(np.exp(rng.uniform(-0.12, 0.1) * colour_cast)),
        sharp=1 + float(rng.uniform(0.0, 0.9)) * blur + (0.5 * blur if aerial else 0),
        blur=float(rng.uniform(0.2, 0.8)) * blur,
        noise=float(rng.uniform(2, 8)) * noise,
        quality=int(rng.integers(45, 85)),
        light=(float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.35, 0.55))),
        falloff=float(rng.uniform(-0.1, 0.1)) * colour_cast,
    )


@lru_cache(maxsize=8)
def _grain(seed: int, height: int, width: int) -> np.ndarray:
    return generator(seed, 202).standard_normal((height + 96, width + 96, 3), dtype=np.float32)


def expose(
    picture: np.ndarray, camera: Camera, exposure: float, rng: np.random.Generator, seed: int
) -> np.ndarray:
    """What the camera delivers of a scene: uint8 [h w 3].

    Args:
        picture: float32 [h w 3], linear in 0-255.
        exposure: brightness factor of the moment (clouds, automatic gain).
        rng: randomness of the frame.
        seed: of the world; the grain is cut from a sheet kept for it.
    """
    height, width = picture.shape[:2]
    image = cv2.transform(picture, floats(camera.mix))
    ramp = (
        camera.gain * exposure * np.linspace(1 + camera.falloff, 1 - camera.falloff, height, dtype=np.float32)
    )
    image *= ramp[:, None, None]
    if camera.blur > 0.05:
        image = cv2.GaussianBlur(image, (0, 0), camera.blur)
    if camera.sharp > 1.01:
        size = max(4, round(width / camera.sharp)), max(8, round(height / camera.sharp))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    if camera.noise > 0:
        sheet = _grain(seed, height, width)
        y, x = rng.integers(96, size=2).tolist()
        image += camera.noise * sheet[y : y + height, x : x + width]
    np.clip(image, 0, 255, out=image)
    tone = (255 * (np.arange(256) / 255) ** camera.gamma + 0.5).astype(np.uint8)
    delivered = cv2.LUT(image.astype(np.uint8), tone)
    _, encoded = cv2.imencode(".jpg", delivered, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)
