"""Features of a data set: right rows, resumed blocks, no half-written files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reid_core.data.manifest import Manifest
from reid_core.models import features
from reid_core.models.features import Features, extract, retrieval_arguments, valid_path


class Items:
    """Items whose image says which row they are; a row may be unreadable, or raise."""

    def __init__(self, size: int = 11, unreadable: int = -1, fails: int = -1, clip: bool = False) -> None:
        self.size, self.unreadable, self.fails, self.clip, self.asked = size, unreadable, fails, clip, []
        paths = [f"{row}.png" for row in range(size)]
        self.manifest = self.rows = Manifest(
            pd.DataFrame({"path": paths, "split": "query"}), Path("pictures")
        )
        self.away = {}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        if index == self.fails:
            raise InterruptedError
        self.asked.append(index)
        image = torch.full((3, 2, 2), float(index))
        if self.clip:
            return {"clip": image.expand(5, 3, 2, 2)}
        if index in self.away:
            return {"image": image * 0, "valid": False, "reached": False, "unreadable": [self.away[index]]}
        return {"image": image, "valid": index != self.unreadable}


class Mean(nn.Module):
    """Mean over all but the batch, times the trained row (1, 2); chance if it is not in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 2.0]]))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(x.flatten(1).mean(1, keepdim=True) * self.weight)


def expected(size: int = 11) -> np.ndarray:
    return np.outer(np.arange(size), [1, 2]).astype(np.float32)


@pytest.fixture(autouse=True)
def one_batch_a_block(monkeypatch):
    monkeypatch.setattr(features, "BLOCK_BATCHES", 1)


@pytest.mark.parametrize("options", [{"batch_size": 4}, {"batch_size": 64}, {"workers": 2}], ids=str)
def test_rows_are_in_the_dataset_s_order(tmp_path, options):
    rows = extract(Mean(), Items(), tmp_path / "query.npy", device="cpu", **options)
    assert isinstance(rows.array, np.memmap)
    assert rows.array.dtype == np.float32
    np.testing.assert_array_equal(rows.array, expected())
    assert rows.valid.all() and rows.rows.table["path"].tolist() == [f"{row}.png" for row in range(11)]


def test_clips_are_extracted_too(tmp_path):
    np.testing.assert_array_equal(
        extract(Mean(), Items(clip=True), tmp_path / "q.npy", device="cpu").array, expected()
    )


@pytest.mark.faults
def test_unreadable_rows_are_zeros_and_marked(tmp_path):
    class Plus(Mean):
        def forward(self, x):
            return super().forward(x) + 1

    rows = extract(Plus(), Items(unreadable=6), tmp_path / "q.npy", device="cpu", batch_size=4)
    assert rows.array[6].tolist() == [0, 0]
    assert np.flatnonzero(~rows.valid).tolist() == [6]
    assert rows.unreadable == [Path("pictures/6.png").absolute()]
    np.testing.assert_array_equal(rows.valid, np.load(valid_path(tmp_path / "q.npy")))


@pytest.mark.faults
def test_killed_work_goes_on_after_the_last_block(tmp_path):
    with pytest.raises(InterruptedError):
        extract(Mean(), Items(fails=9), tmp_path / "q.npy", batch_size=4, device="cpu")
    assert not (tmp_path / "q.npy").exists()
    items = Items()
    rows = extract(Mean(), items, tmp_path / "q.npy", batch_size=4, device="cpu")
    assert items.asked == [8, 9, 10]
    np.testing.assert_array_equal(rows.array, expected())
    assert {path.name for path in tmp_path.iterdir()} == {"q.npy", "q.npy.json", "q.valid.npy"}


@pytest.mark.faults
def test_kill_between_the_last_two_renames_is_repaired(tmp_path):
    extract(Mean(), Items(), tmp_path / "q.npy", device="cpu")
    (tmp_path / "q.npy").rename(tmp_path / "q.npy.part")
    items = Items()
    np.testing.assert_array_equal(extract(Mean(), items, tmp_path / "q.npy", device="cpu").array, expected())
    assert items.asked == []


def test_finished_work_is_returned_at_once(tmp_path):
    extract(Mean(), Items(), tmp_path / "q.npy", device="cpu")
    items = Items()
    np.testing.assert_array_equal(extract(Mean(), items, tmp_path / "q.npy", device="cpu").array, expected())
    assert items.asked == []


@pytest.mark.faults
@pytest.mark.parametrize("change", ["weights", "rows", "root", "content", "fingerprint"])
@pytest.mark.parametrize("fails", [-1, 9], ids=["finished", "killed"])
def test_other_inputs_are_done_anew(tmp_path, monkeypatch, change, fails):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    model, items, options = Mean(), Items(), {"batch_size": 4, "device": "cpu"}
    with contextlib.suppress(InterruptedError):
        extract(model, Items(fails=fails), tmp_path / "q.npy", **options)
    if change == "weights":
        model.weight.data += 1
    elif change == "rows":
        items.manifest = items.manifest.take(range(10, -1, -1))
    elif change == "root":
        items.manifest = Manifest(items.manifest.table, Path("elsewhere"))
    elif change == "content":
        Path("pictures/3.png").write_text("another picture under the same name")
    else:
        options["fingerprint"] = "size=256x128"
    extract(model, items, tmp_path / "q.npy", **options)
    assert items.asked == list(range(11))


def test_model_keeps_its_mode(tmp_path):
    model = Mean().train()
    extract(model, Items(), tmp_path / "q.npy", device="cpu")
    assert model.training


def test_autocast_computes_in_half_precision(tmp_path):
    class Product(nn.Linear):
        def forward(self, x):
            output = super().forward(x.flatten(1))
            assert output.dtype == torch.bfloat16
            return output

    rows = extract(Product(12, 2), Items(), tmp_path / "q.npy", device="cpu", autocast=torch.bfloat16)
    assert rows.array.dtype == np.float32


def test_feature_that_is_not_finite_is_named(tmp_path):
    class Breaks(Mean):
        def forward(self, x):
            return 1 / (super().forward(x) - 5)

    with pytest.raises(ValueError, match="row 5 is not finite"):
        extract(Breaks(), Items(), tmp_path / "q.npy", batch_size=4, device="cpu")


def test_wrong_shapes_names_and_empty_datasets_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"returned \(11, 3, 2, 2\).*expected \[b d\]"):
        extract(nn.Identity(), Items(), tmp_path / "q.npy", device="cpu")
    with pytest.raises(ValueError, match="ends in .npy"):
        extract(Mean(), Items(), tmp_path / "q.bin", device="cpu")
    with pytest.raises(ValueError, match="empty; check the split"):
        extract(Mean(), Items(0), tmp_path / "q.npy", device="cpu")


def test_a_model_that_knows_cameras_is_given_each_images(tmp_path):
    class Cameras(nn.Module):
        camids = torch.tensor([3, 8])

        def forward(self, images, camid):
            return camid[:, None].float()

    items = [{"image": torch.zeros(3, 2, 2), "camid": camid} for camid in (8, 3, 3)]
    found = extract(Cameras(), items, tmp_path / "f.npy", batch_size=2, flip=True)
    assert found.array[:, 0].tolist() == [8, 3, 3]


def test_flip_is_the_mean_of_the_input_and_its_mirror_image(tmp_path):
    class Left(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., 0].flatten(1)

    pictures = [{"image": torch.arange(12.0).view(3, 2, 2) + row} for row in range(3)]
    plain = extract(Left(), pictures, tmp_path / "a.npy", device="cpu")
    mirrored = extract(
        Left(), pictures, tmp_path / "a.npy", device="cpu", flip=True
    )  # not taken for the same
    np.testing.assert_allclose(mirrored.array, plain.array + 0.5)


@pytest.mark.faults
def test_what_the_storage_did_not_give_is_no_result_and_is_asked_for_again(tmp_path):
    items, options = Items(), {"batch_size": 4, "device": "cpu"}
    items.away = {row: str(tmp_path / "gone" / f"{row}.png") for row in (2, 9)}
    with pytest.raises(OSError, match=r"2 of 11 items of q.npy can't be reached, the first .*gone/2.png"):
        extract(Mean(), items, tmp_path / "q.npy", **options)
    items.asked, items.away = [], {}
    rows = extract(Mean(), items, tmp_path / "q.npy", **options)
    assert items.asked == [2, 9] and rows.valid.all()
    np.testing.assert_array_equal(rows.array, expected())
    items.asked = []
    extract(Mean(), items, tmp_path / "q.npy", **options)
    assert items.asked == []


@pytest.mark.faults
def test_a_file_that_is_gone_from_its_folder_is_unreadable_until_it_is_back(tmp_path):
    items = Items()
    items.away = {2: str(tmp_path / "2.png")}
    rows = extract(Mean(), items, tmp_path / "q.npy", device="cpu")
    assert np.flatnonzero(~rows.valid).tolist() == [2]
    items.away = {}
    np.testing.assert_array_equal(extract(Mean(), items, tmp_path / "q.npy", device="cpu").array, expected())


@pytest.mark.faults
def test_a_storage_that_is_away_stops_the_work(tmp_path):
    items = Items(100)
    items.away = {row: f"/nowhere/{row}.png" for row in range(20, 100)}
    with pytest.raises(OSError, match="64 items in a row can't be reached, the last /nowhere/83.png"):
        extract(Mean(), items, tmp_path / "q.npy", batch_size=4, device="cpu")
    items.asked, items.away = [], {}
    rows = extract(Mean(), items, tmp_path / "q.npy", batch_size=4, device="cpu")
    assert min(items.asked) == 20 and rows.valid.all()
    np.testing.assert_array_equal(rows.array, expected(100))


@pytest.mark.faults
def test_rows_that_are_taken_bring_their_marks(tmp_path):
    rows = Manifest(pd.DataFrame({"path": list("abc"), "split": "query"}), tmp_path)
    features = Features(np.eye(3, dtype=np.float32), rows, np.array([True, False, True])).take(
        np.array([2, 1])
    )
    assert features.valid.tolist() == [True, False] and features.array.tolist() == np.eye(3)[[2, 1]].tolist()
    assert features.unreadable == [tmp_path / "b"]


@pytest.mark.faults
def test_both_sides_bring_what_the_evaluation_asks_for():
    def side(paths, **columns):
        rows = Manifest(pd.DataFrame({"path": paths, "split": "query", "pid": 3, **columns}), Path("."))
        return Features(np.eye(len(paths), dtype=np.float32), rows, np.ones(len(paths), dtype=bool))

    found = retrieval_arguments(side(["a", "b"]), side(["c", "d", "e"], platform="aerial"))
    assert found["gallery_columns"]["platform"].tolist() == ["aerial"] * 3
    assert found["query_columns"]["platform"].tolist() == ["", ""]
    assert found["query_pids"].tolist() == [3, 3] and found["gallery_valid"].all()
    shared = retrieval_arguments(side(["a", "b"]), side(["b", "c"]))
    assert shared["query_columns"]["item"][1] == shared["gallery_columns"]["item"][0]
    assert shared["query_columns"]["item"][0] not in shared["gallery_columns"]["item"]
