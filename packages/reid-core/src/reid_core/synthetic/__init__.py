"""The synthetic world: pedestrians with known identity, keypoints and part masks, seen by cameras.

Example:
    >>> from reid_core.synthetic import World
    >>> World(identities=2, cameras=2).render(0, 1, tracklet=0, frame=0).image.dtype
    dtype('uint8')
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
