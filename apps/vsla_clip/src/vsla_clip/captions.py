"""What synthetic people wear, in words: captions to train a small CLIP on where there are no weights."""

from __future__ import annotations

from reid_core.synthetic.person import sample_body, sample_outfit

CONTEXT = 48
"""Tokens that the text tower of a small CLIP should take; captions beyond are cut."""


def caption(seed: int, identity: int) -> str:
    """Describe a person of a synthetic world.

    Args:
        seed: of the world.
        identity: the person.

    Returns:
        Hair, top, legs, shoes and what is carried.

    Example:
        >>> caption(0, 7)
        'a photo of a person, long hair, brown top with yellow logo, no sleeves, beige pockets trousers, \
white shoes, black shoulder bag'
    """
    body, outfit = sample_body(seed, identity), sample_outfit(seed, identity)
    parts = [
        f"{body.hair_style} hair" if outfit.hat == "none" else f"{outfit.hat_colour} {outfit.hat}",
        f"{outfit.top} top"
        if outfit.pattern == "plain"
        else f"{outfit.top} top with {outfit.accent} {outfit.pattern.replace('_', ' ')}",
        f"{outfit.sleeve.replace('none', 'no')} sleeves",
        f"{outfit.bottom} {outfit.bottom_pattern.replace('_', ' ')} {outfit.legs}",
        f"{outfit.shoes} shoes",
    ]
    if outfit.bag != "none":
        parts.append(f"{outfit.bag_colour} {outfit.bag.replace('shoulder', 'shoulder bag')}")
    return f"a photo of a person, {', '.join(parts)}"
