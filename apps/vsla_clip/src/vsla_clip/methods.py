"""What stage two trains: Table 3's rows, and others to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
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
