"""`reid-gallery identities`: PETS09-S2L1 beside ByteTrack alone, the synthetic world by cameras, a million
tracklets.

--part pets needs --pets (vtest.avi, PETS09-S2L1_det.txt and PETS09-S2L1_gt.csv), --weights (the folder with
person-reidentification-retail-0277.xml) and `pip install trackeval`; none can be part of the repository. The
truth is of frames 1 to 200; matches with people that its source marks as not to be evaluated are ignored.
--part track runs `reid-gallery track` with each tracker on the same video and detections.
--part cameras scores the example who_is_who by the number of cameras. --part million links simulated
tracklets.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _record import RESULTS, ROOT, write_record
from scipy.optimize import linear_sum_assignment

IGNORED = {12: (147, 200), 11: (154, 200)}
"""Person -> frames in which the source says that they are not to be evaluated."""
LAST, IOU = 200, 0.5
MODEL = "person-reidentification-retail-0277.xml"
INTEL = {"mean": [0, 0, 0], "std": [1, 1, 1], "max_value": 255, "channels": "BGR"}
GOAL = 0.05
BOX = ["left", "top", "right", "bottom"]
WIDTH, TRACKLETS_A_VIDEO, IMAGES, CAMERAS, NOISE = 128, 500, 4, 10, 0.35


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union [n m] of boxes [n 4] and [m 4]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def read_truth(path: Path) -> pd.DataFrame:
    """True boxes, pixels from 0, and whether they count."""
    table = pd.read_csv(path)
    table["left"], table["top"] = table["x"] - 1, table["y"] - 1
    table["right"], table["bottom"] = table["left"] + table["w"], table["top"] + table["h"]
    table["counts"] = True
    for person, (first, last) in IGNORED.items():
        table.loc[(table["id"] == person) & table["frame"].between(first, last), "counts"] = False
    return table


def evaluate(truth: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, float]:
    """IDF1, HOTA and switches by trackeval's own metrics."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    ids: dict[str, list[np.ndarray]] = {"gt_ids": [], "tracker_ids": []}
    similar = []
    for frame in range(1, LAST + 1):
        true, found = truth[truth["frame"] == frame], boxes[boxes["frame"] == frame - 1]
        same = overlap(true[BOX].to_numpy(), found[BOX].to_numpy())
        rows, columns = linear_sum_assignment(np.where(same >= IOU, same, 0), maximize=True)
        counts = true["counts"].to_numpy()
        matched = (same[rows, columns] >= IOU) & ~counts[rows]
        kept = np.setdiff1d(np.arange(len(found)), columns[matched])
        ids["gt_ids"].append(true["id"].to_numpy()[counts])
        ids["tracker_ids"].append(found["track"].to_numpy()[kept])
        similar.append(same[counts][:, kept])
    data: dict[str, Any] = {"similarity_scores": similar, "num_timesteps": LAST}
    for name, short in (("gt_ids", "gt"), ("tracker_ids", "tracker")):
        known = np.unique(np.concatenate(ids[name]))
        data[name] = [np.searchsorted(known, some) for some in ids[name]]
        data[f"num_{short}_ids"] = len(known)
        data[f"num_{short}_dets"] = sum(map(len, ids[name]))
    quiet = {"PRINT_CONFIG": False}
    identity = Identity(quiet).eval_sequence(data)
    clear, hota = CLEAR(quiet).eval_sequence(data), HOTA().eval_sequence(data)
    return {
        "IDF1": round(float(identity["IDF1"]), 4),
        "HOTA": round(float(np.mean(hota["HOTA"])), 4),
        "AssA": round(float(np.mean(hota["AssA"])), 4),
        "MOTA": round(float(clear["MOTA"]), 4),
        "switches": int(clear["IDSW"]),
        "ids": data["num_tracker_ids"],
    }


def measure_pets(pets: Path, weights: Path, folder: Path) -> dict[str, Any]:
    """ByteTrack alone, and its tracks' people, from the same public detections."""
    from reid_core.video import read_mot
    from reid_gallery.cli import main as reid_gallery

    links = (("videos", "vtest.avi", "vtest.avi"), ("boxes", "PETS09-S2L1_det.txt", "vtest.txt"))
    for name, file, link in links:
        (folder / name).mkdir(parents=True, exist_ok=True)
        if not (folder / name / link).exists():
            (folder / name / link).symlink_to((pets / file).resolve())
    common = ["identities", str(folder / "videos"), str(weights / MODEL)]
    boxes = ["--boxes", str(folder / "boxes"), "--preprocessing", json.dumps(INTEL)]
    if reid_gallery([*common, str(folder / "found"), *boxes]):
        raise SystemExit("reid-gallery identities failed")
    everything = ["--min_frames", "1", "--confidence", "0", "--images", "1", "--center", "no"]
    everything += ["--criteria", str(folder / "none.json")]
    none = {"consistency": 2.0, "discrimination": 1e-9, "half_range": 1, "metric": "cosine"}
    (folder / "none.json").write_text(json.dumps({"criteria": none}))
    if reid_gallery([*common, str(folder / "all"), *boxes, *everything]):
        raise SystemExit("reid-gallery identities failed")
    truth = read_truth(pets / "PETS09-S2L1_gt.csv")
    part = "videos/vtest.avi/boxes.parquet"
    report = json.loads((folder / "found" / "report.json").read_text())
    alone = evaluate(truth, pd.read_parquet(folder / "all" / part))
    people = evaluate(truth, read_mot(folder / "found" / "mot" / "vtest.avi.txt"))
    return {
        "bytetrack": alone,
        "bytetrack, tracks of 8 frames or more": evaluate(truth, pd.read_parquet(folder / "found" / part)),
        "identities": people,
        "gain": round(people["IDF1"] - alone["IDF1"], 4),
        "met": people["IDF1"] >= alone["IDF1"] + GOAL,
        "people": report["people"],
        "criteria": report["criteria"],
        "quality": report["quality"],
    }


def measure_track(pets: Path, weights: Path, folder: Path) -> dict[str, Any]:
    """Features and tracks by each tracker, from the public detections of the frames that have truth."""
    from reid_gallery.cli import main as reid_gallery

    truth, found = read_truth(pets / "PETS09-S2L1_gt.csv"), {}
    lines = (pets / "PETS09-S2L1_det.txt").read_text().splitlines()
    (folder / "det.txt").write_text("\n".join(line for line in lines if int(line.split(",")[0]) <= LAST))
    for tracker in ("bytetrack", "ocsort", "botsort"):
        out = folder / tracker
        command = ["track", str(pets / "vtest.avi"), str(folder / "det.txt"), str(out)]
        command += ["--model", str(weights / MODEL), "--tracker", tracker]
        if reid_gallery([*command, "--preprocessing", json.dumps(INTEL)]):
            raise SystemExit("reid-gallery track failed")
        boxes, tracks = (pd.read_parquet(out / f"{name}.parquet") for name in ("boxes", "tracks"))
        known = boxes[boxes["track"] >= 0]
        found[tracker] = evaluate(truth, known) | {
            "boxes": len(boxes),
            "boxes with a feature": int(boxes["valid"].sum()),
            "boxes of tracks": len(known),
            "tracks": len(tracks),
        }
    return found


def measure_cameras(folder: Path, weights: Path | None, people: int) -> dict[str, Any]:
    """F1 of the example's people by the number of cameras, by 0277's features."""
    sys.path.insert(0, str(ROOT / "examples"))
    from who_is_who import score_people, write_videos

    from reid_core.synthetic import World
    from reid_gallery.cli import main as reid_gallery

    if weights is None:
        raise SystemExit("skipped: give --weights")
    found = {}
    for cameras in (2, 3, 4):
        place = folder / f"cameras{cameras}"
        truth = write_videos(World(people, cameras, 0, switch=0.0, occlusion=0.0), place)
        command = ["identities", str(place / "videos"), str(weights / MODEL), str(place / "found")]
        command += ["--boxes", str(place / "boxes"), "--preprocessing", json.dumps(INTEL), "--images", "6"]
        if reid_gallery(command):
            raise SystemExit("reid-gallery identities failed")
        scores = score_people(place / "found", truth)
        report = json.loads((place / "found" / "report.json").read_text())
        found[str(cameras)] = {name: round(value, 4) for name, value in scores._asdict().items()} | {
            "people": report["people"],
            "tracklets": report["tracklets"],
            "quality": report["quality"],
        }
    return found


def measure_million(folder: Path, tracklets: int) -> dict[str, Any]:
    """Time and memory of linking, quality and uncertain links for simulated features of many tracklets."""
    from reid_core.files import create_memmap
    from reid_denoise import score
    from reid_gallery.identities.decisions import find_constraints
    from reid_gallery.identities.linking import LinkConfig, link
    from reid_gallery.identities.quality import measure
    from reid_gallery.identities.tracklets import Tracklets
    from reid_gallery.identities.uncertain import find_uncertain

    rng = np.random.default_rng(0)
    person = np.arange(tracklets) // TRACKLETS_A_VIDEO * (TRACKLETS_A_VIDEO // CAMERAS)
    person = person + np.arange(tracklets) % TRACKLETS_A_VIDEO  # videos that follow each other share people
    number = np.arange(tracklets)
    video = number // TRACKLETS_A_VIDEO
    features = create_memmap(folder / "simulated.npy", (tracklets * IMAGES, WIDTH), "float32")
    centres = rng.normal(size=(int(person.max()) + 1, WIDTH)).astype(np.float32)
    for rows in np.array_split(number, max(1, tracklets // 10_000)):
        some = np.repeat(person[rows], IMAGES)
        noise = rng.normal(size=(len(some), WIDTH)).astype(np.float32)
        features[rows[0] * IMAGES : (rows[-1] + 1) * IMAGES] = centres[some] + NOISE * noise
    table = pd.DataFrame({"video": video, "camera": video % CAMERAS, "track": number % TRACKLETS_A_VIDEO})
    table["name"] = video.astype(str).astype(object) + "#" + number.astype(str).astype(object)
    of_image = np.repeat(number, IMAGES)
    images = pd.DataFrame({"tracklet": of_image, "frame": 0, "path": ""})
    beside = number[(number[1:] // TRACKLETS_A_VIDEO == video[:-1]).nonzero()[0]]
    some = Tracklets(
        table,
        images,
        features,
        np.ones(len(images), dtype=bool),
        np.stack([beside, beside + 1], axis=1),
        [str(one) for one in range(int(video.max()) + 1)],
        [str(camera) for camera in range(CAMERAS)],
    )
    seconds: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        began, cpu = time.perf_counter(), time.process_time()
        result = work()
        seconds[name] = round(time.perf_counter() - began, 1)
        seconds[f"{name}, CPU"] = round(time.process_time() - cpu, 1)
        return result

    constraints = find_constraints(some, None)
    config = LinkConfig(half_range=1000)
    linked = timed("link", lambda: link(some, constraints, config, folder))
    quality = timed("quality", lambda: measure(some, linked, constraints, 0))
    timed("uncertain links", lambda: find_uncertain(some, linked, constraints, 50))
    return {
        "tracklets": tracklets,
        "images": len(images),
        "dimensions": WIDTH,
        "seconds": seconds,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "f1": round(score(linked.person, person).f1, 4),
        "quality": quality.to_dict(),
    }


def main() -> None:
    """Measure the parts asked for and add them to the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=("pets", "track", "cameras", "million"), required=True)
    parser.add_argument("--pets", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--tracklets", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, help="folder of the records", default=RESULTS)
    arguments = parser.parse_args()
    for part in arguments.part:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            if part in ("pets", "track"):
                if arguments.pets is None or arguments.weights is None:
                    raise SystemExit("skipped: give --pets and --weights")
                measure = {"pets": measure_pets, "track": measure_track}[part]
                measured = measure(arguments.pets, arguments.weights, place)
            elif part == "cameras":
                measured = measure_cameras(place, arguments.weights, arguments.people)
            else:
                measured = measure_million(place, arguments.tracklets)
        claim = "reid-gallery track: PETS09" if part == "track" else f"reid-gallery identities: {part}"
        write_record(arguments.output / f"identities_{part}.json", claim, model=MODEL, measured=measured)
        print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
