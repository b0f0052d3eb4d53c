"""Parts that fine-tuning recipes are composed of: extractors of several features, and their objective."""

from reid_core.parts.branches import Branch, BranchedModel, BranchedObjective
from reid_core.parts.class_feature import ClassFeature
from reid_core.parts.jigsaw import JigsawPatches
from reid_core.parts.mgn import MGNExtractor
from reid_core.parts.side_information import SideInformation
from reid_core.parts.transreid import TransReIDExtractor

__all__ = [
    "Branch",
    "BranchedModel",
    "BranchedObjective",
    "ClassFeature",
    "JigsawPatches",
    "MGNExtractor",
    "SideInformation",
    "TransReIDExtractor",
]
