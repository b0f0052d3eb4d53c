"""What `quick.py` measures: each part beside its limit or its rival, in turns, the best of some rounds."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import _dense_evaluation as dense
import evaluate as sizes
import numpy as np
import torch

Measured = dict[str, Any]
Seconds = tuple[float, float]
"""Of the clock, and of all cores together."""


def best(rounds: int, **calls: Callable[[], Any]) -> dict[str, Seconds]:
    """The least seconds and CPU seconds of each call; they take turns: what disturbs one disturbs all."""
    found: dict[str, Seconds] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            once = time.perf_counter() - wall, time.process_time() - cpu
            found[name] = tuple(map(min, found.get(name, once), once))  # type: ignore[assignment]
    return found


def compare(found: dict[str, Seconds], one: str, other: str) -> Measured:
    """How many times as long one took as the other, by the clock and by CPU time, and both."""
    return {
        "wall": round(found[one][0] / found[other][0], 2),
        "cpu": round(found[one][1] / found[other][1], 2),
        "seconds": {name: [round(value, 4) for value in found[name]] for name in (one, other)},
    }


def extra_mb(**calls: Callable[[], Any]) -> dict[str, int]:
    """What each call adds to the memory that the process holds, at its most, in MB; each has run before."""
    found = {}
    for name, call in calls.items():
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else a call is given what an earlier one has left
        Path("/proc/self/clear_refs").write_text("5")  # the most so far is forgotten
        before = sizes.memory("VmRSS")
        call()
        found[name] = round(sizes.memory("VmHWM") - before)
    return found


def _market(folder: Path, scale: float = 1.0) -> tuple[np.ndarray, ...]:
    sizes.make("market1501", folder, scale)
    return sizes.load("market1501", folder)


def _nearest(rows: torch.Tensor, k: int) -> None:
    """The bare product and top k of all rows, in blocks as re-ranking has them."""
    step = max(1, 2**23 // len(rows))
    buffer = torch.empty(step, len(rows))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        torch.mm(some, rows.T, out=buffer[: len(some)]).topk(k)


def evaluation(folder: Path) -> Measured:
    """Market-1501's size: ours, the bare product, and TransReID's steps in our own words."""
    from reid_eval import evaluate

    case = _market(folder)
    query, gallery = (torch.nn.functional.normalize(torch.from_numpy(x)) for x in case[:2])
    found = best(
        2,
        ours=lambda: evaluate(*case),
        product=lambda: torch.mm(query, gallery.T),
        transreid=lambda: dense.argsort_of_the_matrix(case, "cpu"),
    )
    return {
        "over_product": compare(found, "ours", "product"),
        "transreid_over_ours": compare(found, "transreid", "ours"),
        "extra_mb": extra_mb(
            ours=lambda: evaluate(*case), transreid=lambda: dense.argsort_of_the_matrix(case, "cpu")
        ),
    }


def reranking(folder: Path) -> Measured:
    """Market-1501's size: ours, and the bare product and top k of all its rows."""
    from reid_eval import evaluate, k_reciprocal

    case = _market(folder)
    rows = torch.nn.functional.normalize(torch.from_numpy(np.concatenate(case[:2])))
    found = best(2, ours=lambda: k_reciprocal(case[0], case[1]), nearest=lambda: _nearest(rows, 21))
    extra = extra_mb(ours=lambda: evaluate(*case, reranking=k_reciprocal(case[0], case[1])))
    return {"over_nearest": compare(found, "ours", "nearest"), "extra_mb": extra}


def clustering(folder: Path, rows: int = 32_621) -> Measured:
    """32,621 x 2,048 (MSMT17's training images): Jaccard distances, and the bare search of neighbours."""
    import faiss

    from reid_core.training.unsupervised import jaccard_distance

    rng = np.random.default_rng(0)
    people = rng.standard_normal((rows // 31 + 1, 2048), dtype=np.float32)
    features = people[rng.integers(0, len(people), rows)]
    features += 2.2 * rng.standard_normal(features.shape, dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = best(
        1,
        ours=lambda: jaccard_distance(features, progress=False),
        search=lambda: faiss.knn(features, features, 30),
    )
    extra = extra_mb(ours=lambda: jaccard_distance(features, progress=False))
    return {"over_search": compare(found, "ours", "search"), "extra_mb": extra}


def near_pairs(folder: Path, rows: int = 16_000) -> Measured:
    """Jaccard distances of encodings, of 16,000 features: ours, and the loop over rows of reid-core 0.1."""
    from pairs import write_features

    from reid_core.training.unsupervised import jaccard_distance, neighbours

    write_features(folder / "features.npy", rows)
    kernel, given = neighbours._near_pairs, []
    neighbours._near_pairs = lambda *encoded: given.append(encoded) or kernel(*encoded)
    whole = jaccard_distance(np.load(folder / "features.npy"), progress=False)
    ((encoding, eps, progress),) = given
    if abs(dense.near_pairs_by_rows(encoding, eps) - whole).max() > 1e-6:
        raise ValueError("the kernel and the loop over rows differ")
    calls = {
        "ours": lambda: kernel(encoding, eps, progress),
        "by_rows": lambda: dense.near_pairs_by_rows(encoding, eps),
    }
    return {"rows_over_ours": compare(best(2, **calls), "by_rows", "ours"), "extra_mb": extra_mb(**calls)}


def write_video(path: Path, count: int) -> None:
    """Frames of 768 x 576 pixels that move."""
    import av
    import cv2

    path.parent.mkdir(parents=True)
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (576, 768, 3), np.uint8), (0, 0), 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 768, 576, "yuv420p", 2_000_000
        for number in range(count):
            picture = np.roll(noise, 2 * number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def find_five_boxes(images: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same five boxes in each frame."""
    boxes = np.arange(5, dtype=np.float32)[:, None] * [140, 60, 140, 60] + [10, 20, 60, 140]
    return [(boxes.astype(np.float32), np.ones(5, np.float32)) for _ in images]


def video(folder: Path) -> Measured:
    """400 frames of 768 x 576: decoding beside OpenCV's, tracklets of 5 boxes beside the steps in a row."""
    import av
    import cv2

    from reid_core.video import build_tracker, extract_tracklets, read_frames
    from reid_core.video import tracklets as steps

    path, count = folder / "videos" / "street.mp4", 400
    write_video(path, count)

    def ours() -> None:
        for frame in read_frames(path):
            frame.image.shape  # noqa: B018 - the last picture is held, as users do

    def opencv() -> None:
        capture = cv2.VideoCapture(str(path))
        while capture.read()[0]:
            pass

    def tracked() -> None:
        with tempfile.TemporaryDirectory() as out:
            extract_tracklets(path.parent, out, find_five_boxes, progress=False)

    def earlier() -> None:
        """What reid-core 0.1 did: every picture in memory of its own, and one step after another."""
        with tempfile.TemporaryDirectory() as out, av.open(str(path)) as container:
            from supervision import Detections

            tracker = build_tracker("bytetrack", 25)
            container.streams.video[0].thread_type = "AUTO"
            pictures = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
            number = 0
            while chunk := list(islice(pictures, 8)):
                for image, (boxes, scores) in zip(chunk, find_five_boxes(chunk), strict=True):
                    found = tracker.update(Detections(xyxy=boxes, confidence=scores))
                    for row, crop in steps._crops(steps.Frame(number, 25, image), found, 0.05):
                        _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 95])
                        file = Path(out) / f"{row[0]:05}" / f"{number:07}.jpg"
                        file.parent.mkdir(exist_ok=True)
                        file.write_bytes(encoded.tobytes())
                    number += 1

    decoded = best(5, ours=ours, opencv=opencv)
    cut = best(4, ours=tracked, earlier=earlier)
    return {
        "opencv_over_ours": compare(decoded, "opencv", "ours"),
        "earlier_over_tracklets": compare(cut, "earlier", "ours"),
        "frames_per_second": {
            "decoded": round(count / decoded["ours"][0]),
            "tracklets": round(count / cut["ours"][0]),
        },
        "extra_mb": extra_mb(ours=ours, opencv=opencv),
        "tracklets_extra_mb": extra_mb(ours=tracked, earlier=earlier),
    }


def items(folder: Path) -> Measured:
    """Batches of 64 images of 128 x 64 to train on at 256 x 128, in one thread: ours, and a loop by hand."""
    import cv2
    import pandas as pd

    from reid_core.data import Manifest
    from reid_core.data.datasets import ImageDataset, collate
    from reid_core.data.lmdb_images import image_bytes
    from reid_core.data.packing import pack
    from reid_core.data.samplers import Draw
    from reid_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD, train_transform

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count, (height, width) = 256, (256, 128)
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = cv2.GaussianBlur(rng.integers(0, 255, (128, 64, 3), np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    table = {"path": [f"{n}.jpg" for n in range(count)], "split": "train", "pid": range(count), "camid": 0}
    files = ImageDataset(Manifest(pd.DataFrame(table), folder), train_transform((height, width)))
    shards = ImageDataset(pack(files.manifest, folder / "packed", progress=False), files.transform)
    mean, std = (255 * np.array(of, np.float32) for of in (IMAGENET_MEAN, IMAGENET_STD))
    draw = random.Random(0)

    def by_hand(number: int) -> torch.Tensor:
        image = cv2.cvtColor(cv2.imread(str(folder / f"{number}.jpg")), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (width, height))
        if draw.random() < 0.5:
            image = image[:, ::-1]
        image = cv2.copyMakeBorder(image, 10, 10, 10, 10, cv2.BORDER_CONSTANT)
        top, left = draw.randint(0, 20), draw.randint(0, 20)
        image = (image[top : top + height, left : left + width].astype(np.float32) - mean) / std
        image = np.ascontiguousarray(image.transpose(2, 0, 1))
        if draw.random() < 0.5:
            area, aspect = draw.uniform(0.02, 0.4) * height * width, np.exp(draw.uniform(-1.2, 1.2))
            h, w = min(height, int((area * aspect) ** 0.5)), min(width, int((area / aspect) ** 0.5))
            top, left = draw.randint(0, height - h), draw.randint(0, width - w)
            image[:, top : top + h, left : left + w] = 0
        return torch.from_numpy(image)

    def batches(make: Callable[[int], Any], join: Callable[[Any], Any]) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, count, 64):
                join([make(number) for number in range(start, start + 64)])

        return run

    def read(dataset: ImageDataset) -> Callable[[int], Any]:
        return lambda number: dataset[Draw(number, number)]

    def read_bytes(dataset: ImageDataset) -> Callable[[], None]:
        paths = [str(file) for file in dataset.manifest.files]

        def run() -> None:
            for path in paths:
                image_bytes(path)

        return run

    calls = {"ours": batches(read(files), collate), "by_hand": batches(by_hand, torch.stack)}
    found = best(20, **calls, shards=batches(read(shards), collate))
    alone = best(20, ours=read_bytes(files), shards=read_bytes(shards))
    return {
        "by_hand_over_ours": compare(found, "by_hand", "ours"),
        "files_over_shards": compare(found, "ours", "shards"),
        "bytes_over_shards": compare(alone, "ours", "shards"),
        "images_per_second": {name: round(count / wall) for name, (wall, _) in found.items()},
        "extra_mb": extra_mb(**calls),
    }


def first_line(folder: Path) -> Measured:
    """`vills run` of the demo until it has said what it does, the better of three starts."""
    program = Path(sys.executable).with_name("vills")
    config = Path(__file__).parents[1] / "apps" / "vills" / "configs" / "demo.yaml"
    seconds, cpu = [], []
    for number in range(3):
        began = time.perf_counter()
        options = ["--config", str(config), "--runs", str(folder / f"{number}")]
        with subprocess.Popen([program, "run", *options], stdout=subprocess.PIPE, cwd=folder) as run:
            assert run.stdout is not None and run.stdout.readline()
            seconds.append(time.perf_counter() - began)
            run.kill()
            used = os.wait4(run.pid, 0)[2]
            cpu.append(used.ru_utime + used.ru_stime)
    return {"first_line_s": round(min(seconds), 2), "first_line_cpu_s": round(min(cpu), 2)}


def dino(folder: Path) -> Measured:
    """DINO's loss and its gradient, 2 global and 8 local views of 8 images, K = 65,536, in one thread.

    lightly's is timed beside it where it is installed (`benchmarks/peers.txt`).
    """
    from reid_pretrain import DINOLoss

    torch.set_num_threads(1)
    images, prototypes = 8, 65_536
    student = torch.randn(10 * images, prototypes, requires_grad=True)
    teacher = torch.randn(2, images, prototypes)
    loss, regions = DINOLoss(prototypes), [torch.arange(images)] * 8
    gradient = torch.full_like(student, 1e-3)

    def ours() -> None:
        loss(student, teacher, regions).backward()
        student.grad = None

    def softmaxes() -> None:
        (teacher / 0.04).softmax(-1)
        (student / 0.1).log_softmax(-1).backward(gradient)
        student.grad = None

    beside = {
        "over_softmaxes": compare(best(25, ours=ours, softmaxes=softmaxes), "ours", "softmaxes"),
        "extra_mb": extra_mb(ours=ours),
    }
    try:
        from lightly.loss import DINOLoss as LightlyLoss
    except ImportError:
        return beside
    peer = LightlyLoss(output_dim=prototypes, teacher_temp=0.04, student_temp=0.1)

    def lightly() -> None:
        peer(list(teacher), list(student.split(images))).backward()
        student.grad = None

    return beside | {
        "lightly_over_ours": compare(best(5, ours=ours, lightly=lightly), "lightly", "ours"),
        "extra_mb": extra_mb(ours=ours, lightly=lightly),
    }


PARTS = (evaluation, reranking, clustering, near_pairs, video, items, first_line, dino)
