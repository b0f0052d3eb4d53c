"""Keypoint predictors and segmenters by name."""

from __future__ import annotations

from pathlib import Path

from reid_lse.checkpoints import SAM_CHECKPOINTS, load_sam
from reid_lse.detector import KeypointRCNNPredictor, load_keypoint_rcnn
from reid_lse.keypoints import KeypointPredictor, prior
from reid_lse.sam import Precision, SamSegmenter
from reid_lse.segmenters import Segmenter, grabcut

KEYPOINTS = ("prior", "keypointrcnn_resnet50_fpn")
SEGMENTERS = ("grabcut", *SAM_CHECKPOINTS)


def build_keypoints(
    name: str = "prior", checkpoint: str | Path | None = None, sha256: str | None = None, device: str = "cpu"
) -> KeypointPredictor:
    """A keypoint predictor by its name.

    Args:
        name: "prior", which needs no weights, or "keypointrcnn_resnet50_fpn".
        checkpoint: weights as a file or an https address; None fetches the published ones.
        sha256: digest of the checkpoint to check; needed for an address.
        device: where it runs.

    Raises:
        OSError: weights that can't be read or fetched.
        ValueError: an unknown name, a checkpoint that does not fit or that the name has no use for.

    Example:
        >>> build_keypoints("prior").__name__
        'prior'
    """
    if name == "prior":
        _refuse(name, checkpoint=checkpoint, sha256=sha256)
        return prior
    if name == "keypointrcnn_resnet50_fpn":
        return KeypointRCNNPredictor(load_keypoint_rcnn(checkpoint, sha256), device)
    raise ValueError(f"unknown keypoints {name!r}; known are {', '.join(KEYPOINTS)}, or pass a callable")


def build_segmenter(
    name: str = "grabcut",
    checkpoint: str | Path | None = None,
    sha256: str | None = None,
    device: str = "cpu",
    pack: int = 1,
    precision: Precision = "float32",
    compile: bool = False,
    box: bool = False,
) -> Segmenter:
    """A segmenter by its name.

    Args:
        name: "grabcut", which needs no weights, or "sam_vit_b", "sam_vit_l", "sam_vit_h".
        checkpoint: SAM's weights as a file or an https address; None fetches the official ones.
        sha256: digest of the checkpoint to check; needed for an address that is not the official one.
        device: where SAM runs.
        pack: crops on one of SAM's canvases.
        precision: of SAM's multiplications.
        compile: compile SAM's image encoder.
        box: prompt SAM with the box around the positives too.

    Raises:
        OSError: weights that can't be read or fetched.
        ValueError: an unknown name, a checkpoint that does not fit, an option that the name has no use for.

    Example:
        >>> build_segmenter("grabcut", pack=32)
        Traceback (most recent call last):
        ValueError: grabcut takes no pack; leave it out, or choose a model that does
    """
    if name == "grabcut":
        changed = {} if precision == "float32" else {"precision": precision}
        _refuse(
            name,
            checkpoint=checkpoint,
            sha256=sha256,
            pack=pack > 1,
            compile=compile,
            box=box,
            **changed,
        )
        return grabcut
    if name in SAM_CHECKPOINTS:
        return SamSegmenter(load_sam(name, checkpoint, sha256), device, pack, precision, compile, box)
    raise ValueError(f"unknown segmenter {name!r}; known are {', '.join(SEGMENTERS)}, or pass a callable")


def _refuse(name: str, **options: object) -> None:
    for option, given in options.items():
        if given:
            raise ValueError(f"{name} takes no {option}; leave it out, or choose a model that does")
