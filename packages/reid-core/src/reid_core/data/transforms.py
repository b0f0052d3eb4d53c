"""Augmentation of person crops: uint8 images or clips in, normalised float tensors out.

Every function takes [3 h w] or a clip [t 3 h w]; a clip's frames get the same parameters. All randomness
comes from torch's global CPU generator. The colour operations are composed into one 3x4 matrix applied to the
pixels once, which is several times faster than one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Size = tuple[int, int]
Jitter = tuple[float, float, float, float]
Channels = tuple[float, ...]
Interpolation = Literal["bilinear", "bicubic"]

DINO_JITTER: Jitter = (0.4, 0.4, 0.2, 0.1)
"""Brightness, contrast, saturation, hue (in turns) of DINO (Caron et al., arXiv:2104.14294)."""
DINO_JITTER_P, DINO_GREY_P, DINO_BLUR_P = 0.8, 0.2, 0.5
DINO_BLUR_SIGMA = (0.1, 2.0)
SOLARIZE_FROM = 128
"""Samples from here on are inverted by solarization."""
DINO_GLOBAL_SCALE, DINO_LOCAL_SCALE = (0.4, 1.0), (0.05, 0.4)
"""Part of the area that DINO's global and local views keep."""
BLUR_REACH = 3
"""The kernel ends at so many standard deviations."""
PERSON_RATIO = (3 / 4, 4 / 3)
"""Change of the crop's own aspect: DINO's range, but around the input's, for persons are about 2:1."""
PADDING = 10
"""Zeros around the resized crop before cropping again (Luo et al., "Bag of Tricks", arXiv:1903.07071)."""
ERASING_P, ERASING_AREA, ERASING_RATIO = 0.5, (0.02, 0.4), (0.3, 10 / 3)
"""Random erasing (Zhong et al., arXiv:1708.04896), with Bag of Tricks' settings."""

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_CROP_TRIES = 10


def train_transform(
    size: Size,
    *,
    flip: float = 0.5,
    padding: int = PADDING,
    jitter: Jitter | None = None,
    jitter_p: float = DINO_JITTER_P,
    erasing: float = ERASING_P,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
    per_image: bool = False,
) -> Callable[[Tensor], Tensor]:
    """Supervised training: resize, flip, pad and crop, optional colour jitter, normalise, random erasing.

    The recipe is that of Bag of Tricks (Luo et al., arXiv:1903.07071); erased pixels get the mean.

    Args:
        size: (H, W) in pixels.
        flip: probability.
        padding: pixels on each side.
        jitter: brightness, contrast, saturation, hue; None for none.
        jitter_p: probability of the jitter.
        erasing: probability.
        mean, std: of the channels, in [0, 1].
        per_image: take each image's own mean and std of each channel in their place (`standardise`).

    Returns:
        a picklable function from uint8 [3 h w] or [t 3 h w] to float32 [3 H W] or [t 3 H W].

    >>> train_transform((8, 4))(torch.zeros(2, 3, 20, 10, dtype=torch.uint8)).shape
    torch.Size([2, 3, 8, 4])
    """
    return partial(
        _train,
        size=_checked_size(size),
        flip=flip,
        padding=padding,
        jitter=jitter,
        jitter_p=jitter_p,
        erasing=erasing,
        mean=mean,
        std=std,
        per_image=per_image,
    )


def eval_transform(
    size: Size, *, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD, per_image: bool = False
) -> Callable[[Tensor], Tensor]:
    """Evaluation: resize and normalise. Arguments and result as of `train_transform`.

    >>> eval_transform((8, 4))(torch.zeros(3, 20, 10, dtype=torch.uint8)).dtype
    torch.float32
    """
    return partial(_eval, size=_checked_size(size), mean=mean, std=std, per_image=per_image)


def ssl_transform(
    size: Size,
    *,
    scale: tuple[float, float] = DINO_GLOBAL_SCALE,
    ratio: tuple[float, float] = PERSON_RATIO,
    flip: float = 0.5,
    jitter: Jitter | None = DINO_JITTER,
    jitter_p: float = DINO_JITTER_P,
    grey: float = DINO_GREY_P,
    blur: float = DINO_BLUR_P,
    sigma: tuple[float, float] = DINO_BLUR_SIGMA,
    solarize: float = 0.0,
    mean: Channels = IMAGENET_MEAN,
    std: Channels = IMAGENET_STD,
) -> Callable[[Tensor], Tensor]:
    """Self-supervised training as DINO's (arXiv:2104.14294): crop, flip, jitter, grey, blur, normalise.

    Args:
        size: (H, W) in pixels.
        scale: least and greatest part of the area that a crop keeps.
        ratio: least and greatest change of the crop's aspect, relative to the input's own.
        flip: probability.
        jitter: brightness, contrast, saturation, hue; None for none.
        jitter_p: probability of the jitter.
        grey: probability of losing the colour.
        blur: probability of the Gaussian blur (DINO: 1.0, 0.1 and 0.5 for its three kinds of view).
        sigma: least and greatest standard deviation of the blur, in pixels of the output.
        solarize: probability of inverting the bright samples (DINO: 0.2 for its second global view).
        mean, std: of the channels, in [0, 1].

    Returns:
        a picklable function from uint8 [3 h w] or [t 3 h w] to float32 [3 H W] or [t 3 H W].

    >>> ssl_transform((8, 4))(torch.zeros(3, 20, 10, dtype=torch.uint8)).shape
    torch.Size([3, 8, 4])
    """
    return partial(
        _ssl,
        size=_checked_size(size),
        scale=scale,
        ratio=ratio,
        flip=flip,
        jitter=jitter,
        jitter_p=jitter_p,
        grey=grey,
        blur=blur,
        sigma=sigma,
        solarize=solarize,
        mean=mean,
        std=std,
    )


class MultiCrop:
    """DINO's views of an image or clip: two global ones and several small local ones (arXiv:2104.14294).

    Each view is cropped, flipped and coloured on its own, with DINO's numbers: the first global view is
    always blurred, the second seldom (0.1) but solarized (0.2), local ones half the time. The sizes are
    CION's (4.1).

    Args:
        global_size, local_size: (H, W) in pixels.
        local_views: number of local views (DINO: 8; CION fits it to the model).
        global_scale, local_scale: least and greatest part of the area that a view keeps.
        options: further options of `ssl_transform`, for every view.

    Returns of a call:
        global float32 [2 3 H W] and local [local_views 3 h w]; of a clip [2 t 3 H W] and [v t 3 h w].

    >>> views = MultiCrop((16, 8), (8, 4), local_views=3)(torch.zeros(3, 20, 10, dtype=torch.uint8))
    >>> views["global"].shape, views["local"].shape
    (torch.Size([2, 3, 16, 8]), torch.Size([3, 3, 8, 4]))
    """

    def __init__(
        self,
        global_size: Size = (256, 128),
        local_size: Size = (128, 64),
        local_views: int = 8,
        global_scale: tuple[float, float] = DINO_GLOBAL_SCALE,
        local_scale: tuple[float, float] = DINO_LOCAL_SCALE,
        **options: Any,
    ) -> None:
        whole = partial(ssl_transform, global_size, scale=global_scale, **options)
        self.globals = [whole(blur=1.0), whole(blur=0.1, solarize=0.2)]
        self.local = ssl_transform(local_size, scale=local_scale, **options)
        self.local_views = local_views

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        views = {"global": torch.stack([view(images) for view in self.globals])}
        if self.local_views:
            views["local"] = torch.stack([self.local(images) for _ in range(self.local_views)])
        return views


def resize(images: Tensor, size: Size, interpolation: Interpolation = "bilinear") -> Tensor:
    """Resize [3 h w] or [t 3 h w], uint8 or float, antialiased along each axis that shrinks."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    batch = images if images.ndim == 4 else images[None]
    batch = F.interpolate(batch, size=size, mode=interpolation, antialias=True)
    return batch if images.ndim == 4 else batch[0]


def normalise(images: Tensor, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD) -> Tensor:
    """(x / 255 - mean) / std, from samples in [0, 255] (uint8 or float) to float32 of the same shape."""
    shift, scale = (torch.from_numpy(_per_channel(tuple(of))).to(images.device) for of in (mean, std))
    return (images - shift).div_(scale)


@lru_cache
def _per_channel(values: Channels) -> np.ndarray:
    """Values in [0, 1] for samples in [0, 255], [3 1 1]; making them costs as much as using them."""
    return np.array([255 * value for value in values], dtype=np.float32).reshape(3, 1, 1)


def standardise(images: Tensor) -> Tensor:
    """Each channel of each image to mean 0 and standard deviation 1, float32 of the same shape.

    It undoes a camera's exposure, contrast and white balance, where no label says what two cameras share.

    >>> dark = torch.rand(3, 8, 4)
    >>> bool(torch.allclose(standardise(20 * dark), standardise(200 * dark + 50), atol=1e-4))
    True
    """
    images = images.float()
    std, mean = torch.std_mean(images, dim=(-2, -1), keepdim=True)
    return (images - mean).div_(std.clamp(min=torch.finfo().eps))


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, mean_colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness, contrast, saturation and hue, in this order, as one affine map of colours.

    Brightness, contrast and saturation are torchvision's (but only the end result is clamped). Hue is turned
    in the plane of YIQ's chroma, which keeps the luma: an approximation of HSV's turn, at a fraction of its
    cost.

    Args:
        brightness, contrast, saturation: factors; 1 changes nothing.
        hue: in turns; 0 changes nothing.
        mean_colour: mean RGB of the image or clip [3]: contrast is around its luma.

    Returns:
        matrix [3 3] and offset [3], for samples of any range.

    >>> matrix, offset = colour_matrix(1, 1, 1, 0, np.zeros(3))
    >>> bool(np.allclose(matrix, np.eye(3))), bool(np.allclose(offset, 0))
    (True, True)
    """
    grey = np.tile(_LUMA, (3, 1))
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _TO_YIQ
    chroma = turn @ (saturation * np.eye(3) + (1 - saturation) * grey)
    offset = (1 - contrast) * brightness * float(_LUMA @ mean_colour)
    return contrast * brightness * chroma, chroma @ np.full(3, offset)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of float32 images [... h w] on the CPU, edges reflected; sigma in pixels."""
    radius = math.ceil(BLUR_REACH * sigma)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    planes = images.reshape(-1, *images.shape[-2:]).contiguous().numpy()
    blurred = np.empty_like(planes)
    for plane, out in zip(planes, blurred, strict=True):  # OpenCV is ten times as fast as torch's convolution
        cv2.sepFilter2D(plane, cv2.CV_32F, taps, taps, dst=out, borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(blurred).view(images.shape)


def _checked_size(size: Size) -> Size:
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size: got {size}; expected (height, width) in pixels, both positive")
    return int(height), int(width)


def _uniform(low: float, high: float, at: float) -> float:
    return low + (high - low) * at


def _eval(images: Tensor, *, size: Size, mean: Channels, std: Channels, per_image: bool) -> Tensor:
    images = resize(images, size)
    return standardise(images) if per_image else normalise(images, mean, std)


def _train(
    images: Tensor,
    *,
    size: Size,
    flip: float,
    padding: int,
    jitter: Jitter | None,
    jitter_p: float,
    erasing: float,
    mean: Channels,
    std: Channels,
    per_image: bool,
) -> Tensor:
    chance = torch.rand(4).tolist()  # one call for all: each costs as much as a small operation on pixels
    images = resize(images, size)
    if chance[0] < flip:
        images = images.flip(-1)
    if padding:
        top, left = int(chance[1] * (2 * padding + 1)), int(chance[2] * (2 * padding + 1))
        images = F.pad(images, (padding, padding, padding, padding))
        images = images[..., top : top + size[0], left : left + size[1]]
    if jitter is not None:
        images = _recolour(images.float(), jitter, jitter_p, 0.0)
    images = standardise(images) if per_image else normalise(images, mean, std)
    if chance[3] < erasing:
        _erase(images)
    return images


def _ssl(
    images: Tensor,
    *,
    size: Size,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    jitter: Jitter | None,
    jitter_p: float,
    grey: float,
    blur: float,
    sigma: tuple[float, float],
    solarize: float,
    mean: Channels,
    std: Channels,
) -> Tensor:
    top, left, height, width = _crop_box(images.shape[-2], images.shape[-1], scale, ratio)
    chance = torch.rand(3).tolist()
    images = resize(images[..., top : top + height, left : left + width], size)
    if chance[0] < flip:
        images = images.flip(-1)
    images = _recolour(images.float(), jitter, jitter_p, grey)
    if chance[1] < blur:
        images = gaussian_blur(images, _uniform(*sigma, chance[2]))
    if solarize and float(torch.rand(())) < solarize:
        images = torch.where(images < SOLARIZE_FROM, images, 255 - images)
    return normalise(images, mean, std)


def _crop_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random crop; the whole image when none of the tries fits."""
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for area_at, ratio_at, top_at, left_at in torch.rand(_CROP_TRIES, 4).tolist():
        area, aspect = _uniform(*scale, area_at), math.exp(_uniform(*log_ratio, ratio_at))
        h, w = round(height * math.sqrt(area / aspect)), round(width * math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return int(top_at * (height - h + 1)), int(left_at * (width - w + 1)), h, w
    return 0, 0, height, width


def _recolour(images: Tensor, jitter: Jitter | None, jitter_p: float, grey_p: float) -> Tensor:
    """Jitter and grey of float samples in [0, 255], in one matrix product."""
    chance = torch.rand(6).tolist()
    jittered, greyed = jitter is not None and chance[0] < jitter_p, chance[1] < grey_p
    if not jittered and not greyed:
        return images
    pixels = images.reshape(*images.shape[:-2], -1)
    matrix, offset = np.eye(3), np.zeros(3)
    if jitter is not None and jittered:
        mean_colour = pixels.mean(-1).reshape(-1, 3).mean(0).numpy()
        *widths, turn = jitter
        drawn = zip(widths, chance[2:5], strict=True)
        brightness, contrast, saturation = (_uniform(max(0.0, 1 - w), 1 + w, at) for w, at in drawn)
        hue = _uniform(-turn, turn, chance[5])
        matrix, offset = colour_matrix(brightness, contrast, saturation, hue, mean_colour)
    if greyed:
        matrix, offset = np.tile(_LUMA @ matrix, (3, 1)), np.full(3, _LUMA @ offset)
    linear, constant = torch.from_numpy(matrix).float(), torch.from_numpy(offset).float()[:, None]
    return torch.matmul(linear, pixels).add_(constant).clamp_(0, 255).view(images.shape)


def _erase(images: Tensor) -> None:
    """Set a random rectangle of normalised images to zero, the mean, in place."""
    height, width = images.shape[-2:]
    log_ratio = (math.log(ERASING_RATIO[0]), math.log(ERASING_RATIO[1]))
    for area_at, ratio_at, top_at, left_at in torch.rand(_CROP_TRIES, 4).tolist():
        area = _uniform(*ERASING_AREA, area_at) * height * width
        aspect = math.exp(_uniform(*log_ratio, ratio_at))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = int(top_at * (height - h + 1)), int(left_at * (width - w + 1))
            images[..., top : top + h, left : left + w] = 0
            return
