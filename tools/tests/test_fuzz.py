"""Files that are damaged, odd or hostile raise ValueError or OSError (or a subclass), and nothing hangs.

`make test` tries a few examples of each reader; REID_FUZZ_EXAMPLES=5000 (or `make test-slow`) many more.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

from reid_adapters.released import read_state
from reid_core.data.decoding import decode
from reid_core.data.manifest import Manifest
from reid_core.data.readers import read
from reid_core.data.shard_images import shard_bytes
from reid_core.models.checkpoint_files import read_checkpoint_file
from reid_core.models.model_config import ModelConfig, read_config
from reid_core.models.preprocessing import Preprocessing
from reid_core.training import read_checkpoint
from reid_denoise.files import read_array, read_inputs
from reid_eval import evaluate
from reid_eval.files import read_sides
from reid_eval.publishing import load_result
from reid_lse import RegionDataset, decode_mask, list_images, read_keypoints
from reid_lse.job import SETTINGS_FILE
from reid_lse.keypoint_files import NAMES_FIELD
from reid_lse.shards import SCHEMA

QUICK = int(os.environ.get("REID_FUZZ_EXAMPLES", 12))
SLOW = 3000
LONGEST = timedelta(seconds=20)
"""One example that takes longer is taken to hang; generous, for the machine may be busy."""
ALLOWED = (ValueError, OSError)

TOKENS = (
    *(b"-1", b"3.7", b"NaN", b"1e400", b"18446744073709551615", b"null", b"true", b'""', b"[]", b"{}", b"0"),
    *(
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\n",
        b"\r",
        b",",
        b'"',
        b"../",
        b"/",
        b"\\",
        b"{",
        b"[" * 5000,
    ),
    *(b"\x80\x02", b"PK\x03\x04", b"\xed\xa0\x80", b"9" * 40, b"9" * 5000),
)
"""What readers stumble over: not finite, too large, empty, deep, in another encoding, leaving the root."""
Edit = tuple[float, str, bytes]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["put", "insert", "drop", "cut"]),
        st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def damage(data: bytes, edits: list[Edit]) -> bytes:
    """Bytes overwritten, inserted, dropped or cut off at some places."""
    for at, kind, piece in edits:
        place = int(at * len(data))
        rest = {"insert": place, "cut": len(data)}.get(kind, place + len(piece))
        data = data[:place] + (piece if kind in ("put", "insert") else b"") + data[rest:]
    return data


def parquet(table: pd.DataFrame | pa.Table, **metadata: str) -> bytes:
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    buffer = io.BytesIO()
    fields = {f"reid.{key}": value for key, value in metadata.items()}
    pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **fields}), buffer)
    return buffer.getvalue()


def numpy_file(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def torch_file(content: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(buffer, kind)
    return buffer.getvalue()


def matlab_file() -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"tracks_train_info": np.array([[1, 2, 1, 1]])})
    return buffer.getvalue()


ROWS = pd.DataFrame(
    {"path": ["q/1.jpg", "g/1.jpg", "g/2.jpg"], "pid": [1, 1, 2], "camid": [0, 1, 1]}
    | {
        "split": ["query", "gallery", "gallery"],
        "tracklet": [0, 1, 2],
        "frame": [0, 0, 0],
        "video": [0, 0, 1],
    }
)
MASKS = pa.Table.from_pylist(
    [
        {"path": "1.jpg", "height": 4, "width": 2, "keypoints": [1.0, 2.0, 0.5]}
        | {"masks": [[2, 6]], "valid": [True], "quality": [0.5], "error": None}
    ],
    SCHEMA.with_metadata({NAMES_FIELD: json.dumps(["nose"])}),
)
LISTED = b"0001/0001_000_01_0303morning_0001_0.jpg 0\n0001/0001_002_02_0303morning_0001_0.jpg 0\n"
SETTINGS = {"images": 1, "shard": 8, "root": "/nowhere", "areas": ["head"]}
COCO = {
    "categories": [{"keypoints": ["nose"]}],
    "images": [{"id": 1, "file_name": "1.jpg"}],
    "annotations": [{"image_id": 1, "keypoints": [1, 2, 2], "score": 0.5}],
}
RESULT = evaluate(np.eye(3)[:2], np.eye(3)[:2], [1, 2], [1, 2], [0, 0], [1, 1], far=(0.1,)).to_dict()
WEIGHTS = {"state_dict": {"x": torch.ones(3)}, "step": 3, "best": np.float64(0.5)}
MODEL = ModelConfig(Preprocessing((64, 32)), 8, ("unknown",), "mit", "backbone", {"name": "resnet18"})

Write = Callable[[Path, str, bytes], Path]


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read_manifest_csv(folder: Path, data: bytes) -> None:
    read(write(folder, "m.csv", data))


def read_manifest_parquet(folder: Path, data: bytes) -> None:
    path = write(folder, "m.parquet", data)
    for function in (read, Manifest.load):
        try:
            function(path)
        except ALLOWED:
            continue


def read_list(folder: Path, data: bytes) -> None:
    for name in ("train", "test"):
        (folder / "MSMT17" / name).mkdir(parents=True, exist_ok=True)
    for name in ("train", "val", "query", "gallery"):
        write(folder, f"MSMT17/list_{name}.txt", data if name == "train" else LISTED)
    read("msmt17", folder / "MSMT17")


def read_json_annotations(folder: Path, data: bytes) -> None:
    write(folder, "cional_annos.json", data)
    write(folder, "1/1.jpg", b"")
    read("cion_al", folder)


def read_json_division(folder: Path, data: bytes) -> None:
    for camera in ("cam_a", "cam_b"):
        for person in ("person_0001", "person_0002"):
            for frame in (1, 2):
                write(folder, f"multi_shot/{camera}/{person}/{frame:04}.png", b"")
    write(folder, "splits_prid2011.json", data)
    read("prid2011", folder, min_frames=1)


def read_matrix(folder: Path, data: bytes) -> None:
    from reid_core.data.readers._matlab import matrix

    matrix(write(folder, "info.mat", data))


def read_file_names(folder: Path, data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape").replace("/", "_").replace("\0", "_")[:60]
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / split).mkdir(exist_ok=True)
        for old in (folder / split).iterdir():
            old.unlink()
        try:
            (folder / split / f"{name}.jpg").touch()
        except (OSError, ValueError):
            return
    read("market1501", folder)
    read("people", folder)


def decode_image(folder: Path, data: bytes) -> None:
    decode(data, "a.jpg")


def read_shard(folder: Path, data: bytes) -> None:
    shard_bytes(str(write(folder, "0.tar", b"x" * 99)), data.decode("utf-8", "replace"))


def read_weights(folder: Path, data: bytes) -> None:
    path = write(folder, "w.pth", data)
    for function in (read_checkpoint_file, read_checkpoint, read_state):
        try:
            function(path)
        except ALLOWED:
            continue


def read_safetensors(folder: Path, data: bytes) -> None:
    path = write(folder, "w.safetensors", data)
    for function in (read_checkpoint_file, read_state):
        try:
            function(path)
        except ALLOWED:
            continue


def read_model_config(folder: Path, data: bytes) -> None:
    read_config(write(folder, "config.json", data))


def read_features(folder: Path, data: bytes) -> None:
    write(folder, "g.npy", numpy_file(np.eye(3)[:2]))
    write(folder, "m.parquet", parquet(ROWS))
    read_sides(write(folder, "q.npy", data), folder / "g.npy", folder / "m.parquet")


def read_evaluated_manifest(folder: Path, data: bytes) -> None:
    write(folder, "q.npy", numpy_file(np.eye(3)[:1]))
    write(folder, "g.npy", numpy_file(np.eye(3)[:2]))
    for mode in ("image", "video"):
        try:
            read_sides(folder / "q.npy", folder / "g.npy", write(folder, "m.parquet", data), mode)
        except ALLOWED:
            continue


def read_result(folder: Path, data: bytes) -> None:
    load_result(write(folder, "r.json", data))


def read_denoised(folder: Path, data: bytes) -> None:
    write(folder, "f.npy", numpy_file(np.eye(3)))
    read_inputs(folder / "f.npy", write(folder, "m.parquet", data))


def read_denoised_features(folder: Path, data: bytes) -> None:
    read_array(write(folder, "f.npy", data))


def read_masks(folder: Path, data: bytes) -> None:
    write(folder, SETTINGS_FILE, json.dumps(SETTINGS).encode())
    write(folder, "masks-00000.parquet", data)
    list(RegionDataset(folder).results())


def read_mask_settings(folder: Path, data: bytes) -> None:
    write(folder, "masks-00000.parquet", parquet(MASKS))
    write(folder, SETTINGS_FILE, data)
    list(RegionDataset(folder).results())


def read_coco(folder: Path, data: bytes) -> None:
    read_keypoints(write(folder, "k.json", data))


def read_keypoint_table(folder: Path, data: bytes) -> None:
    read_keypoints(write(folder, "k.parquet", data))
    list_images(folder / "k.parquet")


TARGETS: dict[str, tuple[Callable[[Path, bytes], None], bytes]] = {
    "manifest, CSV": (read_manifest_csv, ROWS.to_csv(index=False).encode()),
    "manifest, Parquet": (read_manifest_parquet, parquet(ROWS, root="/data", names='{"pid": {"1": "a"}}')),
    "list of paths and labels": (read_list, LISTED.replace(b"0001/0001", b"0002/0002")),
    "annotations, JSON": (read_json_annotations, b'[{"id": 1, "file_path": "1/1.jpg"}]'),
    "division, JSON": (read_json_division, b'[{"train": ["person_0001"], "test": ["person_0002"]}]'),
    "matrix, MATLAB": (read_matrix, matlab_file()),
    "file names": (read_file_names, b"0001_c1s1_000151_01"),
    "image, JPEG": (decode_image, picture("jpeg")),
    "image, PNG": (decode_image, picture("png")),
    "image, WebP": (decode_image, picture("webp")),
    "image, TIFF": (decode_image, picture("tiff")),
    "place in a shard": (read_shard, b"3+20/query/1.jpg"),
    "checkpoint, zip": (read_weights, torch_file(WEIGHTS)),
    "checkpoint, before zip": (read_weights, torch_file(WEIGHTS, zipped=False)),
    "checkpoint, plain pickle": (read_weights, pickle.dumps({"x": [1.0, 2]}, 2)),
    "checkpoint, safetensors": (read_safetensors, save({"x": torch.ones(3)})),
    "model folder's config": (read_model_config, json.dumps(MODEL.to_dict()).encode()),
    "features": (read_features, numpy_file(np.eye(3)[:1])),
    "manifest of an evaluation": (read_evaluated_manifest, parquet(ROWS)),
    "saved result": (read_result, json.dumps({**RESULT, "digest": "a"}).encode()),
    "manifest of denoising": (read_denoised, parquet(ROWS)),
    "numbers of denoising": (read_denoised_features, numpy_file(np.eye(3)[:1])),
    "shard of masks": (read_masks, parquet(MASKS)),
    "settings of an extraction": (read_mask_settings, json.dumps(SETTINGS).encode()),
    "keypoints, COCO": (read_coco, json.dumps(COCO).encode()),
    "keypoints, Parquet": (read_keypoint_table, parquet(MASKS)),
}
"""What is read, and a good file of it."""
DEEP = b"[" * 5000
FOUND: dict[str, list[list[Edit]]] = {
    "manifest, CSV": [
        [(0.08243128726571136, "insert", b"\r")],
        [(0.0, "put", b"9" * 5000), (0.0, "put", b"\n")],
    ],
    "manifest, Parquet": [[(at, "put", b"NaN")] for at in (0.95, 0.6754634541433195, 0.671875)],
    "annotations, JSON": [[(0.23, "put", DEEP)]],
    "division, JSON": [[(0.0, "put", DEEP)], [(0.236, "put", b"0".ljust(len('"person_0001"')))]],
    "matrix, MATLAB": [
        [(0.7947901585625868, "drop", b"ZphAa\x07")],  # ended the process, in SciPy
        [(0.976014758921182, "insert", b"\\")],
        [(0.0, "put", b"-1")],
    ],
    "image, PNG": [[(0.7298317482601286, "drop", b"1e400")]],  # ended the process, in torchvision
    "checkpoint, zip": [[(0.80078125, "put", b"NaN")]],
    "checkpoint, before zip": [
        [(0.75, "put", b"\x8d")],  # a length of more bytes than there are
        [
            (0.4060384763190102, "put", b"[" * 5000),
            (0.4060384763190102, "insert", b"[" * 5000),
            (0.05499673358509206, "insert", b"[" * 5000),  # took minutes, in torch
        ],
    ],
    "checkpoint, safetensors": [[(0.0, "put", b"-1")]],
    "settings of an extraction": [[(0.25, "put", b"-1")], [(0.0, "put", DEEP)]],
    "keypoints, COCO": [[(0.0, "put", DEEP)]],
    **dict.fromkeys(
        ("features", "numbers of denoising"),
        [
            [
                (0.12432480215345709, "put", b"\xd0\xdb\xae\t\x85IM"),
                (0.3350819106008931, "insert", b"\x07\xc8]\xce\xcc|\xf9"),
            ]
        ],
    ),
    "saved result": [[(0.0, "put", DEEP)], [(0.8365998776746773, "put", b"1e400")]],
    "manifest of an evaluation": [[(0.8902, "put", b"/")], [(0.8925, "put", b"/")]],
    "manifest of denoising": [[(0.8902, "put", b"/")], [(0.8925, "put", b"/")]],
    "shard of masks": [
        [(0.6610320334662844, "put", b"/")],
        *([(at, "put", b"-1")] for at in (0.22503567234341196, 0.234375, 0.21875, 0.25)),
    ],
    "keypoints, Parquet": [[(0.9457008337921955, "put", b"/")]],
    "model folder's config": [[(0.5, "put", DEEP)]],
}
"""Edits that once made a reader crash."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fuzz(name: str, examples: int) -> None:
    function, good = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:

        def run(edits: list[Edit]) -> None:
            try:
                function(Path(folder), damage(good, edits))
            except ALLOWED:
                return

        for edits in FOUND.get(name, []):
            run = example(edits)(run)
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        options = settings(
            max_examples=examples, deadline=LONGEST, suppress_health_check=checks, database=None
        )
        options(given(EDITS)(run))()


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_an_error_and_no_crash(name: str) -> None:
    fuzz(name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_an_error_and_no_crash_in_many_tries(name: str) -> None:
    fuzz(name, SLOW)


def check_mask(counts: list[int], height: int, width: int) -> None:
    try:
        mask = decode_mask(np.array(counts), height, width)
    except ALLOWED:
        return
    assert mask.shape == (height, width) and mask.sum() == sum(counts[1::2])


RUNS = st.lists(st.integers(-3, 20) | st.sampled_from([2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]), max_size=8)


@example([2**64 - 1, 3], 1, 2)  # as many as there are pixels, where 64 bits go round
@example([2**63 - 1, 2**63 - 1, 4], 1, 2)
@example([-1, 3], 1, 2)
@settings(max_examples=5 * QUICK, deadline=LONGEST)
@given(RUNS, st.integers(-2, 8), st.integers(-2, 8))
def test_run_lengths_make_a_mask_or_an_error(counts: list[int], height: int, width: int) -> None:
    check_mask(counts, height, width)


@pytest.mark.slow
@settings(max_examples=SLOW, deadline=LONGEST)
@given(RUNS, st.integers(-2, 8), st.integers(-2, 8))
def test_run_lengths_make_a_mask_or_an_error_in_many_tries(
    counts: list[int], height: int, width: int
) -> None:
    check_mask(counts, height, width)
