"""Which pairs of a query and a gallery row count: evaluation protocols as small functions.

A protocol takes the columns of some queries [b] and of the gallery [g] and returns a bool [b g], True where
the pair counts. The columns are integer tensors by the manifest's names (pid, camid, tracklet, clothes,
platform; text is numbered), and `row`, the place of each row in what was handed in. Gallery rows of pid -1
(junk) never count, whatever the protocol; distractors are people whom no query asks for. A query without a
right answer that counts enters no mean, so a protocol restricts queries by leaving out their right answers.

A user's own is used like these: `evaluate(..., protocol=lambda query, gallery: ...)`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reid_eval.inputs import JUNK_PID, Columns, Protocol

UNKNOWN = -1
"""What an integer column of a manifest holds where nothing is known."""
MANIFEST_SUFFIXES = (".parquet", ".csv", ".tsv")


def same(query: Columns, gallery: Columns, column: str) -> Tensor:
    """Where both sides of a pair have the same value in a column, bool [b g]."""
    return query[column][:, None] == gallery[column]


def all_pairs(query: Columns, gallery: Columns) -> Tensor:
    """Every pair counts: BRIAR's probes and gallery, PRID 2011 and iLIDS-VID from one camera to the other."""
    return torch.ones(len(query["pid"]), len(gallery["pid"]), dtype=torch.bool, device=gallery["pid"].device)


def cross_camera(query: Columns, gallery: Columns) -> Tensor:
    """Not the query's own person from its own camera: Market-1501, MSMT17, MARS, CUHK03, general LTCC."""
    return ~(same(query, gallery, "pid") & same(query, gallery, "camid"))


def other_camera(query: Columns, gallery: Columns) -> Tensor:
    """The gallery of the other cameras alone, strangers too: PKU-Reid, VIPeR, from one camera to another.

    Where two cameras differ much, `cross_camera` asks more: its gallery has the strangers of the query's own
    camera, who look alike for the light and the background.
    """
    return ~same(query, gallery, "camid")


def cross_known_camera(query: Columns, gallery: Columns) -> Tensor:
    """Not the query's own person from its own camera; an unknown camera (-1) is nobody's own: own data.

    With one camera, or none known, every other image of the query's person may be an answer. Query and
    gallery must then hold different images.

    Example:
        >>> query = Columns(pid=torch.tensor([1, 1]), camid=torch.tensor([3, -1]))
        >>> gallery = Columns(pid=torch.tensor([1, 1, 2]), camid=torch.tensor([3, -1, 3]))
        >>> cross_known_camera(query, gallery)
        tensor([[False,  True,  True],
                [ True,  True,  True]])
    """
    known = (query["camid"] != UNKNOWN)[:, None]
    return ~(same(query, gallery, "pid") & same(query, gallery, "camid") & known)


def cloth_changing(query: Columns, gallery: Columns) -> Tensor:
    """A right answer wears other clothes and is from another camera: LTCC and PRCC, cloth-changing."""
    kept = same(query, gallery, "camid") | same(query, gallery, "clothes")
    return ~(same(query, gallery, "pid") & kept)


def same_clothes(query: Columns, gallery: Columns) -> Tensor:
    """A right answer wears the same clothes and is from another camera: PRCC, same-clothes."""
    changed = same(query, gallery, "camid") | ~same(query, gallery, "clothes")
    return ~(same(query, gallery, "pid") & changed)


def cross_platform(query: Columns, gallery: Columns) -> Tensor:
    """From the ground to the air or back, never within one platform: G2A-VReID, AG-ReID."""
    return ~same(query, gallery, "platform")


def image_to_video(query: Columns, gallery: Columns) -> Tensor:
    """Frames ask for tracklets (VILLS 4.2.3): cross-camera, never the frame's own tracklet (-1 for none)."""
    own = same(query, gallery, "tracklet") & (query["tracklet"] >= 0)[:, None]
    return cross_camera(query, gallery) & ~own


OWN_PERSON = (cross_camera, cross_known_camera, cloth_changing, same_clothes)
"""Those that leave out pairs of one person alone, so that no other pair need be asked about."""

PROTOCOLS: dict[str, Protocol] = {
    "market1501": cross_camera,
    "market1501_500k": cross_camera,
    "msmt17": cross_camera,
    "cuhk03": cross_camera,
    "mars": cross_camera,
    "ls_vid": cross_camera,
    "ltcc": cross_camera,
    "ltcc_cloth_changing": cloth_changing,
    "prcc": cloth_changing,
    "prcc_same_clothes": same_clothes,
    "g2a_vreid": cross_platform,
    "image_video": image_to_video,
    "mix": image_to_video,
    "pku_reid": other_camera,
    "viper": other_camera,
    "cuhk01": other_camera,
    "cuhk01_single_shot": other_camera,
    "prid2011": all_pairs,
    "ilids_vid": all_pairs,
    "briar": all_pairs,
    "people": cross_known_camera,
    "manifest": cross_known_camera,
    # Sets for pre-training, which have no query of their own.
    "luperson": cross_known_camera,
    "luperson_nl": cross_known_camera,
    "cion_al": cross_known_camera,
    "synth_pedes": cross_known_camera,
    "folder": cross_known_camera,
    "lmdb": cross_known_camera,
}
"""By data set: the names of reid-core's readers and of others, "manifest" for a user's own table, "mix" for
the frames of a video data set in its tracklets."""


def find_protocol(name: str) -> Protocol:
    """The protocol of a data set.

    Args:
        name: one of PROTOCOLS, or a manifest file (.parquet, .csv, .tsv), which has the one of "manifest".

    Raises:
        ValueError: unknown name; the message lists those there are.

    Example:
        >>> find_protocol("market1501").__name__, find_protocol("data/mine.csv").__name__
        ('cross_camera', 'cross_known_camera')
    """
    key = "manifest" if name.lower().endswith(MANIFEST_SUFFIXES) else name
    if key not in PROTOCOLS:
        raise ValueError(f"protocol={name}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[key]


def protocol_name(protocol: Protocol) -> str:
    """What a result calls the protocol."""
    return getattr(protocol, "__name__", repr(protocol))


def single_shot(protocol: Protocol, seed: int) -> Protocol:
    """A trial in which the gallery has one image per person, drawn once for all queries (PRCC: 10 trials).

    Args:
        protocol: what counts besides.
        seed: the trial.

    Returns:
        A protocol. Multi-shot is the plain one.

    Example:
        >>> pids = {"pid": torch.tensor([1, 1, 2])}
        >>> single_shot(all_pairs, seed=0)(Columns(pid=torch.tensor([1])), Columns(pids))
        tensor([[ True, False,  True]])
    """

    def shot(query: Columns, gallery: Columns) -> Tensor:
        chosen = _one_a_person(gallery["pid"].cpu().numpy(), np.random.default_rng(seed))
        return protocol(query, gallery) & torch.from_numpy(chosen).to(gallery["pid"].device)

    shot.__name__ = f"{protocol_name(protocol)}, single-shot {seed}"
    return shot


def single_gallery_shot(protocol: Protocol, seed: int) -> Protocol:
    """A trial in which a query meets one image per person, drawn among those that count (CUHK03, old split).

    Args:
        protocol: what counts besides.
        seed: the trial; a query's draw depends on it and on the query's row alone.

    Returns:
        A protocol.
    """

    def shot(query: Columns, gallery: Columns) -> Tensor:
        mask = protocol(query, gallery).cpu().numpy()
        pids = gallery["pid"].cpu().numpy()
        chosen = np.zeros_like(mask)
        for number, row in enumerate(query["row"].tolist()):
            counts = np.flatnonzero(mask[number])
            chosen[number, counts] = _one_a_person(pids[counts], np.random.default_rng((seed, row)))
        return torch.from_numpy(chosen).to(gallery["pid"].device)

    shot.__name__ = f"{protocol_name(protocol)}, single-gallery-shot {seed}"
    return shot


def _one_a_person(pids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [g]: one row of each person at random, none of the junk."""
    order = rng.permutation(len(pids))
    people, first = np.unique(pids[order], return_index=True)
    chosen = np.zeros(len(pids), dtype=bool)
    chosen[order[first[people != JUNK_PID]]] = True
    return chosen
