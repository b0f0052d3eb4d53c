from .branches import Branch, BranchedModel, BranchedObjective
from .class_feature import ClassFeature
from .jigsaw import JigsawPatches
from .mgn import MGNExtractor
from .side_information import SideInformation
from .transreid import TransReIDExtractor

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
