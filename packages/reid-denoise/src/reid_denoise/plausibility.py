"""What looks wrong about the identities that denoising found, before anything is trained on them."""

from __future__ import annotations

import numpy as np

LARGEST = 0.2
"""Part of the images that one merged identity may hold."""
DISCARDED = 0.3
"""Part of the images that may be discarded."""
LEFT = 0.05
"""Identities per tracklet that merging should leave: less is over 20 tracklets for each identity."""
FEWEST_TRACKLETS = 20
"""A set of fewer tracklets may well be of one person."""
ADVICE = (
    "choose thresholds for these features by calibrate_criteria (`reid-denoise calibrate`), or compare some "
    "by sweep"
)


class ImplausibleIdentities(UserWarning):
    """The identities look as if the thresholds did not fit the features."""


def describe_implausible(identity: np.ndarray, tracklet: np.ndarray) -> tuple[str, ...]:
    """What is wrong with the identities, a sentence each; none where nothing is.

    Args:
        identity: int64 [n], found; -1 for discarded images.
        tracklet: int64 [n], given; -1 for images left out.

    Returns:
        The sentences: one identity holds over a fifth of the images, almost everything was merged, or over
        30 % of the images were discarded.

    Example:
        >>> tracklet = np.repeat(np.arange(20), 5)
        >>> describe_implausible(tracklet // 10, tracklet)
        ('identity 0 holds 50 % of the images, 10 of 20 tracklets',)
        >>> describe_implausible(np.where(tracklet < 8, -1, tracklet), tracklet)
        ('40 % of the images were discarded',)
    """
    given = tracklet >= 0
    identity, tracklet = identity[given], tracklet[given]
    kept = identity >= 0
    tracklets = len(np.unique(tracklet))
    if tracklets < FEWEST_TRACKLETS:
        return ()
    found = []
    discarded = 1 - np.count_nonzero(kept) / len(kept)
    if discarded > DISCARDED:
        found.append(f"{100 * discarded:.0f} % of the images were discarded")
    if kept.any():
        sizes = np.bincount(identity[kept])
        largest = int(sizes.argmax())
        inside = len(np.unique(tracklet[identity == largest]))
        if sizes[largest] > LARGEST * len(kept) and inside > 1:
            share = f"{100 * sizes[largest] / len(kept):.0f} %"
            found.append(
                f"identity {largest} holds {share} of the images, {inside:,} of {tracklets:,} tracklets"
            )
        if len(sizes) < LEFT * tracklets:
            found.append(f"{tracklets:,} tracklets were merged into {len(sizes):,} identities")
    return tuple(found)
