from .branches import Branch, BranchedModel, BranchedObjective
from .circle_mgn import CircleMGNObjective
from .class_feature import ClassFeature
from .jigsaw import JigsawPatches
from .mgn import MGNExtractor
from .side_information import SideInformation
from .transreid import TransReIDExtractor

__all__ = [
    "Branch",
    "BranchedModel",
    "BranchedObjective",
    "CircleMGNObjective",
    "ClassFeature",
    "JigsawPatches",
    "MGNExtractor",
    "SideInformation",
    "TransReIDExtractor",
]
