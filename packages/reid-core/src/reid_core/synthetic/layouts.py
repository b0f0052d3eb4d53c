"""Writes the world out in the layouts of real datasets, so that work on it goes through the real readers.

Every layout also holds `truth.parquet`: one row per image with its path and what is true of it (identity,
camera, tracklet, frame, clothes, platform, occlusion). With `truth=True` there are `truth_keypoints.npy`
(float32 [n 17 3]) and `truth_labels.npy` (uint8 [n h w], indices into PARTS) too, in the order of its rows.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from scipy.io import savemat

from reid_core.files import create_memmap
from reid_core.progress import Progress
from reid_core.synthetic.person import generator
from reid_core.synthetic.world import BYSTANDERS, Crop, World

JPEG_QUALITY = 95
FRAME_STEP = 5  # frames between two images of a tracklet where images are wanted, not video
_CHUNK = 64


class Shot(NamedTuple):
    """One image to be written: where to, and the arguments of `World.render`."""

    path: str
    identity: int
    camera: int
    tracklet: int
    frame: int
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)
    video: int = -1
    track: int = -1  # number of the tracklet among all of the layout; -1 for single images


def write_market1501(
    world: World,
    root: str | Path,
    train_identities: int | None = None,
    images_per_camera: int = 4,
    tracklets_per_camera: int = 2,
    distractors: int | None = None,
    junk: int | None = None,
    truth: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write images in the layout of Market-1501 (Zheng et al., ICCV 2015).

    Person i of the world has pid i + 1. Of every test person each camera gives one query image; the others
    are the gallery, with distractors (pid 0000: passers-by, boxes that missed) and junk (pid -1: bad boxes).
    Labels are clean: the dial `switch` does not count here.

    Args:
        world: what to draw.
        root: folder to make; it appears only when it is whole.
        train_identities: the first so many people are for training, the others for the test; half by default.
        images_per_camera: of each person; at least 2.
        tracklets_per_camera: walks past a camera that these images are taken from.
        distractors, junk: number of such gallery images; by default a tenth and a twentieth of the gallery.
        truth: write keypoints and part labels too.
        workers: processes that draw.
        overwrite: replace `root` if it is there.
        progress: show it.

    Returns:
        the root.

    Raises:
        FileExistsError: `root` is there already.
        ValueError: no person is left for one of the splits, or fewer than 2 images per camera.
    """
    train = _train_identities(world, train_identities)
    if images_per_camera < 2:
        raise ValueError(f"images_per_camera={images_per_camera}: expected at least 2, for query and gallery")
    shots: list[Shot] = []
    for identity in range(world.identities):
        for camera in range(world.cameras):
            for k in range(images_per_camera):
                tracklet, frame = k % tracklets_per_camera, k // tracklets_per_camera * FRAME_STEP
                test = "query" if k == 0 else "bounding_box_test"
                folder = "bounding_box_train" if identity < train else test
                shots.append(
                    Shot(
                        f"{folder}/{_market_name(identity + 1, camera, tracklet, frame)}",
                        identity,
                        camera,
                        tracklet,
                        frame,
                    )
                )
    gallery = (world.identities - train) * world.cameras * (images_per_camera - 1)
    rng = generator(world.seed, 501)
    for pid, count in (
        (0, gallery // 10 if distractors is None else distractors),
        (-1, gallery // 20 if junk is None else junk),
    ):
        for k in range(count):
            camera = int(rng.integers(world.cameras))
            box = _missed_box(rng) if pid == -1 or k % 2 else (0.0, 0.0, 1.0)
            # Junk is a bad box around somebody of the test set, a distractor anybody else.
            who = int(rng.integers(train, world.identities)) if pid == -1 else BYSTANDERS + 50_000 + k
            name = f"bounding_box_test/{_market_name(pid, camera, 20 + k // 9, k % 9 * FRAME_STEP)}"
            shots.append(Shot(name, who, camera, 20 + k // 9, k % 9 * FRAME_STEP, box))
    return _write(
        replace(world, switch=0.0), root, shots, {}, truth, workers, overwrite, progress, "market1501"
    )


def write_mars(
    world: World,
    root: str | Path,
    train_identities: int | None = None,
    tracklets_per_camera: int = 2,
    frames: int = 8,
    stride: int = 1,
    distractors: int | None = None,
    truth: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write tracklets in the layout of MARS (Zheng et al., ECCV 2016), its info/*.mat files included.

    The people and their split are those of `write_market1501`, on other walks. Of every test person each
    camera gives one query tracklet. Distractors have pid 0000, junk 00-1.

    Args:
        world: what to draw.
        root: folder to make; it appears only when it is whole.
        train_identities: the first so many people are for training, the others for the test; half by default.
        tracklets_per_camera: of each person; at least 2.
        frames: length of a tracklet.
        stride: the camera's frames from one of a tracklet to the next; people walk and turn in between.
        distractors: number of distractor tracklets, and of junk tracklets; a tenth of the gallery by default.
        truth, workers, overwrite, progress: as for `write_market1501`.

    Returns:
        the root.

    Raises:
        FileExistsError: `root` is there already.
        ValueError: no person is left for one of the splits, or fewer than 2 tracklets per camera.
    """
    train = _train_identities(world, train_identities)
    if tracklets_per_camera < 2:
        raise ValueError(
            f"tracklets_per_camera={tracklets_per_camera}: expected at least 2, for query and gallery"
        )
    gallery = (world.identities - train) * world.cameras * (tracklets_per_camera - 1)
    extra = gallery // 10 if distractors is None else distractors
    rng = generator(world.seed, 502)
    walks: dict[str, list[tuple]] = {
        "train": [],
        "test": [],
    }  # (pid in the name, identity, camera, tracklet, number in the name, box)
    for k in range(extra):
        for pid, box in (("0000", (0.0, 0.0, 1.0)), ("00-1", _missed_box(rng))):
            who = BYSTANDERS + 60_000 + k if pid == "0000" else int(rng.integers(train, world.identities))
            walks["test"].append((pid, who, int(rng.integers(world.cameras)), 40 + k, k + 1, box))
    for identity in range(world.identities):
        for camera in range(world.cameras):
            for k in range(tracklets_per_camera):
                part = "train" if identity < train else "test"
                walks[part].append((f"{identity + 1:04d}", identity, camera, 10 + k, k + 1, (0.0, 0.0, 1.0)))
    shots: list[Shot] = []
    side: dict[str, object] = {}
    number = 0
    for part, found in walks.items():
        names: list[str] = []
        rows: list[tuple[int, int, int, int]] = []
        queries: list[int] = []
        for pid, who, camera, tracklet, count, box in sorted(
            found, key=lambda walk: (walk[0] != "00-1", walk[0])
        ):
            first = len(names)
            for frame in range(frames):
                name = f"{pid}C{camera + 1}T{count:04d}F{frame + 1:03d}.jpg"
                names.append(name)
                shots.append(
                    Shot(
                        f"bbox_{part}/{pid}/{name}", who, camera, tracklet, frame * stride, box, track=number
                    )
                )
            number += 1
            rows.append((first + 1, len(names), -1 if pid == "00-1" else int(pid), camera + 1))
            if part == "test" and tracklet == 10:
                queries.append(len(rows))
        side[f"info/{part}_name.txt"] = "\n".join(names) + "\n"
        side[f"info/tracks_{part}_info.mat"] = {f"track_{part}_info": np.array(rows, np.int32)}
        if part == "test":
            side["info/query_IDX.mat"] = {"query_IDX": np.array(queries, np.int32)[None]}
    return _write(replace(world, switch=0.0), root, shots, side, truth, workers, overwrite, progress, "mars")


def write_folder(
    world: World,
    root: str | Path,
    tracklets_per_camera: int = 2,
    frames: int = 8,
    stride: int = 1,
    images_per_camera: int = 1,
    identities: range | None = None,
    truth: bool = False,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write unlabeled crops in `root` and tracklets as sub-folders, `VIDEO/TRACKLET/FRAME.jpg`.

    Names give no identity away: videos hold one camera's walks of one session in an order of their own, and a
    person comes in several videos. With the dial `switch`, tracklets go over to another person half-way;
    `truth.parquet` says who is where, and `start`, the person a tracklet began with.

    Args:
        world: what to draw.
        root: folder to make; it appears only when it is whole.
        tracklets_per_camera: of each person; the k-th is in the camera's k-th video.
        frames: length of a tracklet.
        stride: the camera's frames from one of a tracklet to the next; people walk and turn in between.
        images_per_camera: single images of each person.
        identities: people to show, such as those meant for training; all by default.
        truth, workers, overwrite, progress: as for `write_market1501`.

    Returns:
        the root.

    Raises:
        FileExistsError: `root` is there already.
    """
    people = list(range(world.identities) if identities is None else identities)
    world = replace(world, tracklet_length=frames * stride)
    rng = generator(world.seed, 503)
    shots: list[Shot] = []
    number = 0
    for camera in range(world.cameras):
        for session in range(tracklets_per_camera):
            video = camera * tracklets_per_camera + session
            for place, identity in enumerate(rng.permutation(people).tolist()):
                for frame in range(frames):
                    name = f"video_{video + 1:03d}/{place + 1:05d}/{frame + 1:05d}.jpg"
                    at = frame * stride
                    shots.append(Shot(name, identity, camera, 70 + session, at, video=video, track=number))
                number += 1
    singles = [(i, c, k) for i in people for c in range(world.cameras) for k in range(images_per_camera)]
    for place, at in enumerate(rng.permutation(len(singles)).tolist()):
        identity, camera, k = singles[at]
        shots.append(Shot(f"{place + 1:06d}.jpg", identity, camera, 80 + k, 0))
    return _write(world, root, shots, {}, truth, workers, overwrite, progress, "folder")


def _train_identities(world: World, asked: int | None) -> int:
    train = world.identities // 2 if asked is None else asked
    if not 0 < train < world.identities:
        raise ValueError(
            f"train_identities={train}: expected 1..{world.identities - 1} of the {world.identities} people, "
            "so that some are left for the test"
        )
    return train


def _known_pid(identity: int) -> int:
    return identity if identity < BYSTANDERS else -1


def _market_name(pid: int, camera: int, tracklet: int, frame: int) -> str:
    label = "-1" if pid < 0 else f"{pid:04d}"
    return f"{label}_c{camera + 1}s{tracklet + 1}_{tracklet * 1000 + frame * 5 + 1:06d}_{1:02d}.jpg"


def _missed_box(rng: np.random.Generator) -> tuple[float, float, float]:
    """A box with little of the person in it."""
    side = 1 if rng.random() < 0.5 else -1
    return side * float(rng.uniform(0.15, 0.4)), float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.5, 1.6))


def _draw(
    world: World, folder: Path, shots: list[Shot], truth: bool
) -> tuple[list[tuple], np.ndarray | None, np.ndarray | None]:
    rows: list[tuple] = []
    crops: list[Crop] = []
    for shot in shots:
        crop = world.render(shot.identity, shot.camera, shot.tracklet, shot.frame, shot.box)
        path = folder / shot.path
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(crop.image, cv2.COLOR_RGB2BGR), options)
        path.write_bytes(encoded.tobytes())
        rows.append(
            (shot.path, _known_pid(crop.identity), _known_pid(shot.identity), crop.camera, shot.track, 
             crop.frame, shot.video, crop.clothes, crop.platform, crop.occlusion)
        )  # fmt: skip
        if truth:
            crops.append(crop)
    if not truth:
        return rows, None, None
    return rows, np.stack([crop.keypoints for crop in crops]), np.stack([crop.labels for crop in crops])


def _draw_shots(world: World, folder: Path, shots: list[Shot], truth: bool, workers: int) -> Iterator[tuple]:
    chunks = [shots[at : at + _CHUNK] for at in range(0, len(shots), _CHUNK)]
    if workers <= 1:
        yield from (_draw(world, folder, chunk, truth) for chunk in chunks)
        return
    # On small pictures OpenCV's own threads cost more than they do, and the cores are taken.
    with ProcessPoolExecutor(workers, _clean_processes(), cv2.setNumThreads, (1,)) as pool:
        n = len(chunks)
        yield from pool.map(_draw, [world] * n, [folder] * n, chunks, [truth] * n)


def _clean_processes() -> Any:
    """Processes that aren't forked from this one: after it has run torch's or OpenCV's threads they can hang.

    They come from a server that has imported once, for all layouts, what takes seconds: this module, and
    torch where the program that is running does, for each process imports that again.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():  # on Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *({"torch"} & sys.modules.keys())])
    return context


def _write(
    world: World, root: str | Path, shots: list[Shot], side: dict[str, object], truth: bool, workers: int,
    overwrite: bool, progress: bool, name: str,
) -> Path:  # fmt: skip
    """Draw everything into a folder beside `root`, then give it its name."""
    root = Path(root)
    if root.exists() and not overwrite:
        raise FileExistsError(
            f"{root} is there already; remove it, name another folder, or pass overwrite=True"
        )
    folder = root.with_name(f"{root.name}.partial-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for parent in {str(Path(path).parent) for path in [shot.path for shot in shots] + list(side)}:
            (folder / parent).mkdir(parents=True, exist_ok=True)
        rows: list[tuple] = []
        kept: tuple[np.ndarray, np.ndarray] | None = None
        with Progress(f"synthetic {name}", len(shots), enabled=progress) as bar:
            for part, points, labels in _draw_shots(world, folder, shots, truth, workers):
                if points is not None and labels is not None:
                    if kept is None:
                        n = len(shots)
                        kept = (
                            create_memmap(folder / "truth_keypoints.npy", (n, *points.shape[1:]), np.float32),
                            create_memmap(folder / "truth_labels.npy", (n, *labels.shape[1:]), np.uint8),
                        )
                    kept[0][len(rows) : len(rows) + len(part)] = points
                    kept[1][len(rows) : len(rows) + len(part)] = labels
                rows += part
                bar.update(len(rows))
        columns = [
            "path",
            "identity",
            "start",
            "camera",
            "tracklet",
            "frame",
            "video",
            "clothes",
            "platform",
            "occlusion",
        ]
        pd.DataFrame(rows, columns=columns).to_parquet(folder / "truth.parquet", index=False)
        for path, content in side.items():
            if isinstance(content, dict):
                savemat(str(folder / path), content)
            else:
                (folder / path).write_text(str(content))
        if root.exists():
            shutil.rmtree(root)
        folder.rename(root)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return root
