from .delivery import Delivery
from .tracker import Tracker, flatten, pending, sync

__all__ = [
    "Delivery",
    "Tracker",
    "flatten",
    "pending",
    "sync",
]
