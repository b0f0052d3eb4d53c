"""The synthetic world: pedestrians with known identity, keypoints and part masks, seen by cameras.

Example:
    >>> from reid_core.synthetic import World
    >>> World(identities=2, cameras=2).render(0, 1, tracklet=0, frame=0).image.dtype
    dtype('uint8')
"""

from reid_core.synthetic.figure import PARTS
from reid_core.synthetic.layouts import write_folder, write_market1501, write_mars
from reid_core.synthetic.pose import COCO_KEYPOINTS
from reid_core.synthetic.world import BYSTANDERS, Crop, World

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
