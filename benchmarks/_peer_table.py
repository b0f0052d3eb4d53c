"""Ours beside the best peer, the limit and the memory of both, from the files in benchmarks/results."""

from __future__ import annotations

from typing import Any, NamedTuple

from _paper_costs import read

HEAD = ("work", "ours", "best peer", "limit", "memory, ours and the peer's", "from")
NONE = "not measured"


class Row(NamedTuple):
    """A work that `make bench-quick` measures: the comparisons and sides of its part."""

    work: str
    part: str
    peer: tuple[str, str, str] | None = None  # comparison, side, whose it is
    limit: tuple[str, str, str] | None = None
    memory: str = "extra_mb"  # of the part, in MB by side
    by_clock: bool = False


def pick(record: Any, *path: str) -> Any:
    """A value of a record, None where it has none."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def quick_rows() -> list[tuple[str, ...]]:
    """What `make bench-quick` measures."""
    measured = read("quick")["measured"]
    search = ("over_search", "search", "faiss' search")
    table = [
        Row(
            "evaluation, Market-1501's size",
            "evaluation",
            ("transreid_over_ours", "transreid", "TransReID's, our transcription"),
            ("over_product", "product", "the bare product"),
        ),
        Row(
            "re-ranking, Market-1501's size",
            "reranking",
            limit=("over_nearest", "nearest", "product and top k"),
        ),
        Row(
            "clustering, 32,621 x 2,048",
            "clustering",
            limit=search,
        ),
        Row(
            "near pairs, 16,000 rows",
            "near_pairs",
            ("rows_over_ours", "by_rows", "reid-core 0.1"),
            by_clock=True,
        ),
        Row("decoding 400 frames", "video", ("opencv_over_ours", "opencv", "OpenCV")),
        Row(
            "their tracklets",
            "video",
            ("earlier_over_tracklets", "earlier", "reid-core 0.1"),
            memory="tracklets_extra_mb",
            by_clock=True,
        ),
        Row("256 training images", "items", ("by_hand_over_ours", "by_hand", "cv2, our loop")),
        Row(
            "DINO's loss, 10 views, K = 65,536",
            "dino",
            ("lightly_over_ours", "lightly", "lightly"),
            ("over_softmaxes", "softmaxes", "two softmaxes"),
        ),
    ]
    rows = []
    for row in table:
        part = measured.get(row.part, {})

        def tell(side: tuple[str, str, str] | None, part: Any = part, row: Row = row) -> str:
            if side is None:
                return ""
            times = pick(part, side[0], "seconds", side[1])
            if times is None:
                return NONE
            unit = "s by the clock" if row.by_clock else "CPU s"
            return f"{times[0 if row.by_clock else 1]:.3g} {unit}" + f" ({side[2]})" * bool(side[2])

        first = row.peer or row.limit
        ours = tell((first[0], "ours", "")) if first else NONE
        busy = ", busy" if part.get("busy") else ""
        memory = ", ".join(f"{held:,}" for held in part.get(row.memory, {}).values())
        rows.append((row.work, ours, tell(row.peer), tell(row.limit), f"{memory} MB", f"`quick.json`{busy}"))
    return rows


def other_rows() -> list[tuple[str, ...]]:
    """What other benchmarks measured."""
    peers = read("gallery_peers")
    busy = ", busy" if pick(peers, "run", "busy") else ""
    ours = "reid-core, reid-eval"
    evaluated, embedded = peers["evaluate"], peers["embed"]
    rival = min(evaluated.keys() - {ours}, key=lambda name: evaluated[name]["cpu_seconds"])
    faster = max(embedded.keys() - {ours}, key=lambda name: embedded[name]["images_per_cpu_second"])
    loading, cion, sam = read("data_loading")["images_per_second"], read("cion_loss")["measured"], read("lse")
    one, loops = cion["released, N_id 8"], cion["loops, N_id 8"]
    rate = {way: found["crops_per_s"] for way, found in sam["measured"]["cpu"].items()}
    equal = "equal_pixels" if "equal_pixels" in rate else "unpacked"
    return [
        (
            "evaluation, 20,000 x 20,000",
            f"{evaluated[ours]['cpu_seconds']:.3g} CPU s",
            f"{evaluated[rival]['cpu_seconds']:.3g} CPU s ({rival} {peers['versions'][rival]})",
            "",
            f"{evaluated[ours]['peak_gib']:.2g}, {evaluated[rival]['peak_gib']:.2g} GiB",
            f"`gallery_peers.json`{busy}",
        ),
        (
            "embedding by resnet18",
            f"{embedded[ours]['images_per_cpu_second']:.3g} images a CPU second",
            f"{embedded[faster]['images_per_cpu_second']:.3g} ({faster} {peers['versions'][faster]})",
            "",
            "",
            f"`gallery_peers.json`{busy}",
        ),
        (
            "2 global and 8 local views",
            f"{loading['ours']:g} images a second",
            f"{loading['pil_torchvision_v1']:g} (torchvision's transforms on Pillow)",
            "",
            "",
            "`data_loading.json`",
        ),
        (
            "CION's loss, N_id = 8",
            f"{one['seconds']:.3g} s by the clock",
            f"{loops['seconds']:.3g} s (loops over pairs, our transcription)",
            "",
            f"{one['added_gib']:.2g}, {loops['added_gib']:.2g} GiB",
            "`cion_loss.json`",
        ),
        (
            "SAM ViT-B on a CPU, as many pixels each",
            f"{rate[equal]:.2g} crops a second",
            f"{rate['loop']:.2g} (segment-anything's `SamPredictor`)",
            "",
            "",
            "`lse.json`",
        ),
        (
            "the same, packed: a quarter of the pixels on each side",
            f"{rate['packed']:.3g} crops a second",
            "the same loop, at all pixels",
            "",
            "",
            "`lse.json`",
        ),
    ]


def lines() -> list[str]:
    """The table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *quick_rows(), *other_rows()]
    return [f"| {' | '.join(row)} |" for row in rows]
