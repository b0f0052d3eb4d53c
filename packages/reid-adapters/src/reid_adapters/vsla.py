"""Video Set-Level Adapter: IFA and CFAA together, and what of the base is trained too (VSLA-CLIP 4.3)."""

from __future__ import annotations

from torch import nn

from reid_adapters import cfaa, ifa
from reid_adapters.config import CFAAConfig, IFAConfig, VSLAConfig
from reid_adapters.method import Layer, Method, Site

NORMS = (nn.LayerNorm, nn.RMSNorm)


def build_layers(config: VSLAConfig, site: Site) -> dict[str, Layer]:
    """The adapters of one block."""
    layers: dict[str, Layer] = {}
    if config.ifa:
        layers |= ifa.build_layers(IFAConfig(config.bottleneck, config.init, config.activation), site)
    if config.cfaa:
        layers |= cfaa.build_layers(CFAAConfig(config.bottleneck, config.init), site)
    return layers


def tunes(config: VSLAConfig, module: nn.Module, name: str) -> bool:
    """Whether a parameter of the base is trained too.

    Example:
        >>> tunes(VSLAConfig(tune_biases=True), nn.Linear(2, 2), "bias")
        True
    """
    norm = config.tune_norms and isinstance(module, NORMS)
    return norm or (config.tune_biases and name.endswith("bias"))


METHOD = Method(VSLAConfig, build_layers, tunes=tunes)
