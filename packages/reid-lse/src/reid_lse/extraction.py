"""What to extract and with what: the options that the commands share."""

from __future__ import annotations

from dataclasses import dataclass, field

from reid_lse.keypoint_files import KeypointTable, read_keypoints
from reid_lse.keypoints import prior
from reid_lse.lse import LocalSemanticExtractor
from reid_lse.models import build_keypoints, build_segmenter
from reid_lse.prompts import DEFAULT_AREAS, DEFAULT_THRESHOLD
from reid_lse.sam import Precision

KEYPOINT_FILES = (".json", ".parquet")


@dataclass(frozen=True)
class Extraction:
    """How masks are made.

    Args:
        keypoints: prior, keypointrcnn_resnet50_fpn, or a file of known keypoints (COCO's *.json, *.parquet)
        keypoint_checkpoint: weights of the predictor, a file or an address; by default the published ones
        keypoint_sha256: digest that these weights must have
        segmenter: grabcut, sam_vit_b, sam_vit_l or sam_vit_h
        checkpoint: weights of SAM, a file or an address; by default the official ones
        sha256: digest that these weights must have
        areas: which areas, such as [head,torso,legs], or own ones, such as '{"face": ["nose"]}'
        threshold: confidence over which a keypoint is a prompt (tau of Eq. 4)
        literal: Eq. 4 to the letter, keypoints under the threshold are negative prompts
        box: prompt SAM with the box around the positives too
        device: where the models run, such as cuda
        pack: crops on one of SAM's canvases
        precision: of SAM's multiplications
        compile: compile SAM's image encoder
    """

    keypoints: str = "prior"
    keypoint_checkpoint: str | None = None
    keypoint_sha256: str | None = None
    segmenter: str = "grabcut"
    checkpoint: str | None = None
    sha256: str | None = None
    areas: list[str] | dict[str, list[str]] = field(default_factory=lambda: list(DEFAULT_AREAS))
    threshold: float = DEFAULT_THRESHOLD
    literal: bool = False
    box: bool = False
    device: str = "cpu"
    pack: int = 1
    precision: Precision = "float32"
    compile: bool = False

    def known_keypoints(self) -> KeypointTable | None:
        """The keypoints of a file, where a file is named."""
        return read_keypoints(self.keypoints) if self.keypoints.endswith(KEYPOINT_FILES) else None

    def extractor(self) -> LocalSemanticExtractor:
        """The extractor with its models loaded.

        Raises:
            OSError: weights that can't be read or fetched.
            ValueError: an unknown name, an option that doesn't fit.
        """
        weights = self.keypoint_checkpoint, self.keypoint_sha256
        known = self.keypoints.endswith(KEYPOINT_FILES)
        return LocalSemanticExtractor(
            keypoints=prior if known else build_keypoints(self.keypoints, *weights, self.device),
            segmenter=build_segmenter(
                self.segmenter,
                self.checkpoint,
                self.sha256,
                self.device,
                self.pack,
                self.precision,
                self.compile,
                self.box,
            ),
            areas=self.areas,
            thresholds=self.threshold,
            literal=self.literal,
        )
