"""The group `speed`: seconds of a step, memory, share of the card's peak, and what users wait for besides."""

from __future__ import annotations

from typing import Any

from core import ADAPTERS, BASE
from runner import DEVICE, Group, Part, Results

SHARE_OF_PEAK = 0.35
"""Of the bfloat16 peak that a step of VILLS with ViT-S is to reach."""

SHARE_OF_RATIO = 0.95
"""Of the ratio of full fine-tuning's to VSLA's counted operations that their times are to reach."""

TIMES_THE_LOOPS = 5.0
"""What CION's loss from sums is to be faster than loops over pairs."""


def goals(results: dict[str, Results]) -> list[dict[str, Any]]:
    """What was promised beside what was found; None where it wasn't measured."""

    def number(part: str, thing: str, key: str) -> Any:
        return results.get(part, {}).get(thing, {}).get(key)

    shares = [
        share
        for part, way in (
            ("VILLS", "vills_vit_small, bfloat16"),
            ("compiled", "vills_vit_small, compiled"),
        )
        if (share := number(part, way, "share_of_bf16_peak")) is not None
    ]
    loads = [
        (name, number("loading", name, "seconds"), number(part, f"{training}, bfloat16", "seconds"))
        for name, part, training in (
            ("VILLS", "VILLS", "vills_vit_small"),
            ("CION", "CION", "cion_resnet50_ibn"),
        )
    ]
    rows = [
        ("VILLS, ViT-S: share of the bfloat16 peak", SHARE_OF_PEAK, max(shares, default=None)),
        (
            "VSLA: times faster than full fine-tuning, over what counted operations allow",
            SHARE_OF_RATIO,
            number("VSLA-CLIP", "vsla to full fine-tuning", "measured_over_counted"),
        ),
        (
            "CION's loss: times as fast as loops",
            TIMES_THE_LOOPS,
            number("CION's loss", "ratio", "times_the_loops"),
        ),
        *(
            (
                f"{name}: seconds of a step over seconds to load its batch",
                1.0,
                step / load if load and step else None,
            )
            for name, load, step in loads
        ),
    ]
    return [
        {
            "name": name,
            "target": f"at least {target:g}",
            "measured": None if found is None else round(found, 3),
            "met": None if found is None else found >= target,
        }
        for name, target, found in rows
    ]


GROUP = Group(
    "steps of the papers' trainings at their batches on one device, of random pixels; extraction, "
    "segmentation, retrieval and data loading",
    seconds=225,
    parts=(
        Part(DEVICE, 60, "device:describe"),
        Part("VILLS", 60, "stepping:vills", BASE),
        Part("VSLA-CLIP", 60, "stepping:vsla", ADAPTERS),
        Part("CION", 60, "stepping:cion", BASE),
        Part("compiled", 60, "stepping:compiled", BASE),
        Part("CION's loss", 30, "retrieval:cion_loss", BASE),
        Part("loading", 60, "loading:measure", BASE),
        Part("SAM", 40, "inference:sam", (*BASE, "segment_anything")),
        Part("features and keypoints", 40, "inference:features", BASE),
        Part("retrieval", 40, "retrieval:evaluation", BASE),
        Part("re-ranking of MSMT17's size", 120, "retrieval:large_re_ranking", BASE),
        Part("compiled CNN", 120, "stepping:compiled_cnn", BASE),
    ),
    goals=goals,
)
