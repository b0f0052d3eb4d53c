"""Who walks through the synthetic world: body, face and hair, and what is worn in each outfit.

Colours come from one small palette shared by everybody, so that several people wear the same colours and what
tells them apart is the layout of the clothing: patterns and their scale, lengths, bags, hair and build.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# sRGB, 0-255. Muted and dark tones are listed more often in the *_COLOURS below, as in a street.
PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (32, 32, 36),
    "charcoal": (66, 68, 74),
    "grey": (128, 130, 134),
    "white": (222, 222, 218),
    "beige": (186, 168, 136),
    "brown": (98, 72, 54),
    "olive": (92, 96, 66),
    "navy": (40, 50, 88),
    "denim": (78, 98, 136),
    "red": (164, 48, 50),
    "maroon": (98, 40, 52),
    "green": (56, 112, 80),
    "sky": (132, 164, 194),
    "yellow": (204, 172, 84),
}
TOP_COLOURS = tuple(PALETTE) + ("black", "charcoal", "white", "navy", "grey")
BOTTOM_COLOURS = ("black", "black", "charcoal", "navy", "denim", "denim", "grey", "beige", "brown", "olive")
SHOE_COLOURS = ("black", "white", "brown", "charcoal", "red")
BAG_COLOURS = ("black", "charcoal", "navy", "brown", "beige", "red", "olive", "sky")
HAIR_COLOURS = ((28, 24, 22), (46, 34, 28), (74, 52, 36), (118, 88, 56), (150, 142, 136))
SKINS = ((232, 196, 170), (214, 172, 142), (188, 142, 110), (142, 100, 74), (96, 66, 50))

TOP_PATTERNS = (
    "plain", "stripes", "columns", "plaid", "two_tone", "open", "logo", "band", "diagonal", "dots",
    "blotches", "sleeves", "logo", "open",
)  # fmt: skip
BOTTOM_PATTERNS = ("plain", "plain", "faded", "side_stripe", "plaid", "pockets", "blotches")
HAIR_STYLES = ("short", "short", "bald", "bob", "long", "ponytail", "bun")
HATS = ("none", "none", "none", "none", "cap", "beanie")
BAGS = ("none", "none", "backpack", "backpack", "shoulder", "handbag")
LEG_WEAR = ("trousers", "trousers", "trousers", "trousers", "slim", "shorts", "skirt", "wide")


@dataclass(frozen=True)
class Body:
    """Build and gait of one person; lengths are fractions of the stature unless said otherwise."""

    stature: float  # metres
    leg: float  # height of the hip joint
    shoulder: float  # half of the shoulders' breadth
    hip: float  # half of the hips' breadth
    girth: float  # factor on all thicknesses
    belly: float  # factor on the waist's thickness
    head: float  # factor on the size of the head
    stoop: float  # forward lean of the trunk, radians
    stride: float  # amplitude of the thigh's swing, radians
    arm_swing: float  # radians
    elbow: float  # standing bend of the elbows, radians
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    hair_style: str


@dataclass(frozen=True)
class Outfit:
    """What one person wears on one day. Colours are names in PALETTE."""

    top: str
    accent: str
    pattern: str
    scale: int  # repeats of the pattern over the trunk
    place: float  # where a logo, band or boundary lies, 0 top to 1 bottom
    mark: int  # which logo
    mark_back: bool  # whether the logo is on the back
    sleeve: str  # long, short, none
    hem: float  # length of the top below the hips, 0 (none) to 1 (knees)
    bottom: str
    bottom_accent: str
    bottom_pattern: str
    legs: str
    shoes: str
    bag: str
    bag_colour: str
    bag_accent: str
    bag_size: float
    bag_side: int  # -1 right, 1 left
    hat: str
    hat_colour: str


def generator(*key: int) -> np.random.Generator:
    """Random generator that is a pure function of a tuple of integers.

    Example:
        >>> generator(1, 2).integers(1000) == generator(1, 2).integers(1000)
        np.True_
    """
    return np.random.default_rng([int(k) & 0xFFFFFFFF for k in key])


@lru_cache(maxsize=4096)
def sample_body(seed: int, identity: int) -> Body:
    """Draw the build of person `identity` of the world `seed`.

    Example:
        >>> sample_body(0, 7) == sample_body(0, 7)
        True
    """
    rng = generator(seed, 101, identity)
    stature = float(np.clip(rng.normal(1.70, 0.09), 1.48, 1.95))
    girth = float(np.clip(rng.normal(1.0, 0.13), 0.8, 1.4))
    style = str(rng.choice(HAIR_STYLES))
    # Broad-shouldered or broad-hipped: one axis, as in people.
    build = float(rng.normal(0, 1))
    return Body(
        stature=stature,
        leg=float(np.clip(rng.normal(0.515, 0.012), 0.485, 0.545)),
        shoulder=0.108 + 0.006 * build,
        hip=0.052 - 0.003 * build,
        girth=girth,
        belly=float(np.clip(rng.normal(1.0, 0.12) + 0.5 * (girth - 1), 0.78, 1.5)),
        head=float(rng.uniform(0.94, 1.08)) * (1.7 / stature) ** 0.4,
        stoop=float(np.abs(rng.normal(0.02, 0.06))),
        stride=float(rng.uniform(0.30, 0.55)),
        arm_swing=float(rng.uniform(0.12, 0.5)),
        elbow=float(rng.uniform(0.1, 0.7)),
        skin=SKINS[int(rng.choice(len(SKINS), p=[0.25, 0.3, 0.2, 0.15, 0.1]))],
        hair=HAIR_COLOURS[int(rng.choice(len(HAIR_COLOURS), p=[0.35, 0.3, 0.15, 0.12, 0.08]))],
        hair_style=style,
    )


@lru_cache(maxsize=8192)
def sample_outfit(seed: int, identity: int, clothes: int = 0) -> Outfit:
    """Draw outfit number `clothes` of person `identity`; hat, bag and shoes change with it too.

    Example:
        >>> sample_outfit(0, 7, 0) == sample_outfit(0, 7, 1)
        False
    """
    rng = generator(seed, 102, identity, clothes)
    top = str(rng.choice(TOP_COLOURS))
    accent = str(rng.choice([c for c in PALETTE if c != top]))
    bottom = str(rng.choice(BOTTOM_COLOURS))
    bag_colour = str(rng.choice(BAG_COLOURS))
    return Outfit(
        top=top,
        accent=accent,
        pattern=str(rng.choice(TOP_PATTERNS)),
        scale=int(rng.choice([3, 4, 6, 8])),
        place=float(rng.uniform(0.25, 0.65)),
        mark=int(rng.integers(6)),
        mark_back=bool(rng.random() < 0.4),
        sleeve=str(rng.choice(["long", "long", "long", "short", "short", "none"])),
        hem=float(rng.choice([0.0, 0.0, 0.12, 0.2, 0.75])),
        bottom=bottom,
        bottom_accent=str(rng.choice([c for c in PALETTE if c != bottom])),
        bottom_pattern=str(rng.choice(BOTTOM_PATTERNS)),
        legs=str(rng.choice(LEG_WEAR)),
        shoes=str(rng.choice(SHOE_COLOURS)),
        bag=str(rng.choice(BAGS)),
        bag_colour=bag_colour,
        bag_accent=str(rng.choice([c for c in PALETTE if c != bag_colour])),
        bag_size=float(rng.uniform(0.8, 1.25)),
        bag_side=int(rng.choice([-1, 1])),
        hat=str(rng.choice(HATS)),
        hat_colour=str(rng.choice(BAG_COLOURS)),
    )
