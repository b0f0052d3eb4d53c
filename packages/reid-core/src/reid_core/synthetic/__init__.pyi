from .figure import PARTS
from .layouts import write_folder, write_market1501, write_mars
from .pose import COCO_KEYPOINTS
from .world import BYSTANDERS, Crop, World

__all__ = [
    "BYSTANDERS",
    "COCO_KEYPOINTS",
    "PARTS",
    "Crop",
    "World",
    "write_folder",
    "write_market1501",
    "write_mars",
]
