"""The kinds of vision transformer that adapters attach to."""

from __future__ import annotations

from reid_adapters.backbones.protocol import Backbone, Change, Rescaled, Shape
from reid_adapters.backbones.table import BACKBONES, backbone_of

__all__ = ["BACKBONES", "Backbone", "Change", "Rescaled", "Shape", "backbone_of"]
