"""What stage two trains: Table 3's rows, and others to compare with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import nn

from reid_adapters import SetEncoder, attach

if TYPE_CHECKING:
    from vsla_clip.config import Config


class Method(NamedTuple):
    """What is attached to CLIP's image encoder and trained, and against what.

    Attributes:
        title: the paper's name.
        tune: nothing, all of the encoder, the adapter within frames (ifa), that and the one across frames
            (vsla), or LoRA.
        semantic: whether it is aligned with the text features of stage one (VSA).
        pbp: whether each platform has prompts.
    """

    title: str
    tune: Literal["nothing", "all", "ifa", "vsla", "lora"]
    semantic: bool = True
    pbp: bool = False


METHODS = {
    "frozen": Method("frozen CLIP", "nothing", semantic=False),
    "baseline": Method("baseline", "all", semantic=False),
    "ft_clip": Method("baseline+VSA (FT-CLIP)", "all"),
    "ifa": Method("IFA", "ifa", semantic=False),
    "ifa_vsa": Method("IFA+VSA", "ifa"),
    "vsla_clip": Method("IFA+VSA+CFAA (VSLA-CLIP)", "vsla"),
    "vsla_clip_pbp": Method("IFA+VSA+CFAA+PBP", "vsla", pbp=True),
    "lora": Method("LoRA+VSA", "lora"),
}

TABLE_3 = ("baseline", "ft_clip", "ifa", "ifa_vsa", "vsla_clip", "vsla_clip_pbp")
"""Rows of the paper's Table 3 that are its own."""


def attached(config: Config, visual: nn.Module, method: Method) -> SetEncoder:
    """Attach what a method trains to CLIP's image encoder; what it doesn't train is frozen.

    Args:
        config: the whole configuration: sizes of adapters and prompts, and of the frames.
        visual: open_clip's image tower, with nothing attached.
        method: one of METHODS.

    Returns:
        Clips [b t 3 h w] -> features [b e].
    """
    pbp = config.pbp if method.pbp else None
    if method.tune in ("nothing", "all"):
        encoder = attach(visual, None, pbp, image_size=config.data.size)
        return encoder.requires_grad_(method.tune == "all")
    if method.tune == "lora":
        return attach(visual, config.lora, pbp, image_size=config.data.size)
    adapters = replace(config.adapters, ifa=True, cfaa=method.tune == "vsla")
    return attach(visual, adapters, pbp, image_size=config.data.size)
