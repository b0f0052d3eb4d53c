"""Manifest: what a valid table is, and that errors name the column and the first bad row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reid_core.data.manifest import COLUMNS, Manifest, ManifestError

ROOT = Path("/data")


def table(**columns):
    return pd.DataFrame(
        {"path": ["a/1.jpg", "a/2.jpg", "b/3.jpg"], "split": ["train", "train", "query"], **columns}
    )


def test_missing_columns_are_filled_with_unknown():
    manifest = Manifest(table(pid=[1, 2, 3]), ROOT)
    assert tuple(manifest.table.columns) == COLUMNS
    assert manifest.camids.tolist() == [-1] * 3 and manifest.pids.dtype == np.int64
    assert manifest.table["platform"].tolist() == [""] * 3
    assert manifest.files[2] == ROOT / "b/3.jpg"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a", "../b", "c"]}, r"'path', row 1: got '../b'"),
        ({"path": ["a", "b", "/c"]}, r"'path', row 2"),
        ({"path": ["a", "b\\c", "d"]}, r"'path', row 1"),
        ({"path": ["a", "", "c"]}, r"'path', row 1"),
        ({"path": ["a", None, "c"]}, r"'path', row 1"),
        ({"path": ["a", Path("b"), "c"]}, r"'path', row 1.*expected a str"),
        ({"path": ["a", "a", "c"]}, r"'path', row 1: got 'a', expected a path only once"),
        ({"split": ["train", "test", "test"]}, r"'split', row 1: got 'test'.*2 such rows"),
        ({"pid": [1, -2, 3]}, r"'pid', row 1: got -2"),
        ({"pid": [1, 2, np.nan]}, r"'pid', row 2.*an integer"),
        ({"camid": [1.0, 2.5, 3.0]}, r"'camid', row 1: got .*2.5"),
        ({"camid": ["1", "x", "3"]}, r"'camid', row 1: got 'x'"),
        ({"platform": ["", "Ground", ""]}, r"'platform', row 1: got 'Ground', expected a name of lower-case"),
        ({"pid": [1, 2**63, 3]}, r"'pid', row 1: got 9223372036854775808, expected an integer of 64 bits"),
        ({"pid": [1, 2**64 - 1, 3]}, r"'pid', row 1.*64 bits"),
        ({"pid": ["1", "-1", str(2**64)]}, r"'pid', row 2.*64 bits"),
        ({"pid": [1.0, 2.0, 2.0**60]}, r"'pid', row 2.*64 bits"),
        ({"pid": [1, 2, 3], "tracklet": [5, 5, -1]}, r"row 1: tracklet 5 has pid .*2.* here"),
        ({"tracklet": [-1, 5, 5]}, r"row 2: tracklet 5 has split 'query' here"),
        ({"pids": [1, 2, 3]}, r"unknown \['pids'\]"),
    ],
)
def test_a_bad_table_is_refused_by_column_and_row(columns, message):
    with pytest.raises(ManifestError, match=message):
        Manifest(table().assign(**columns), ROOT)


def test_the_largest_integers_stay_exact():
    largest = 2**63 - 1
    for pid in ([1, 2, largest], pd.array([1, 2, largest], dtype="Int64"), ["1", "2", str(largest)]):
        assert Manifest(table(pid=pid), ROOT).pids[2] == largest


def test_uav_is_a_name_of_the_aerial_platform():
    manifest = Manifest(table(platform=["uav", "aerial", "ground"]), ROOT)
    assert manifest.table["platform"].tolist() == ["aerial", "aerial", "ground"]


def test_a_platform_may_have_any_name_in_lower_case():
    names = ["ground", "wearable", "ugv-2"]
    assert Manifest(table(platform=names), ROOT).table["platform"].tolist() == names


def test_names_are_kept_by_selections_and_do_not_change_the_digest():
    manifest = Manifest(table(pid=[1, 2, 3]), ROOT, names={"pid": {1: "ann"}})
    assert manifest.select("train").names == {"pid": {1: "ann"}}
    assert manifest.digest == Manifest(table(pid=[1, 2, 3]), ROOT).digest


@pytest.mark.faults
def test_a_path_may_stand_in_query_and_gallery():
    rows = pd.DataFrame({"path": ["a.jpg", "a.jpg"], "split": ["query", "gallery"]})
    assert len(Manifest(rows, ROOT)) == 2


def test_a_table_without_rows_is_a_manifest():
    assert len(Manifest(pd.DataFrame({"path": [], "split": []}), ROOT)) == 0


def test_select_and_where_keep_order_and_name_what_is_missing():
    manifest = Manifest(table(pid=[3, 1, 2]), ROOT, "toy")
    assert manifest.select("query", "train").pids.tolist() == [3, 1, 2]
    assert manifest.where(manifest.pids > 1).pids.tolist() == [3, 2]
    with pytest.raises(ValueError, match="'toy' has no row in gallery; it has train, query"):
        manifest.select("gallery")
    with pytest.raises(ValueError, match="got splits"):
        manifest.select("test")
    with pytest.raises(ValueError, match="expected bool"):
        manifest.where(np.array([0, 1, 2]))


def test_tracklets_are_in_frame_order_and_unnumbered_frames_keep_the_tables():
    rows = pd.DataFrame({"path": list("abcdef"), "split": "train"})
    rows["tracklet"] = [9, 2, 9, -1, 2, 9]
    rows["frame"] = [3, -1, 1, 0, -1, 2]
    assert [part.tolist() for part in Manifest(rows, ROOT).tracklets()] == [[1, 4], [2, 5, 0]]
    assert Manifest(table(), ROOT).tracklets() == []


def test_a_manifest_is_frozen_and_apart_from_the_table_it_was_made_of():
    rows = table(pid=[1, 2, 3])
    manifest = Manifest(rows, ROOT)
    rows.loc[0, "pid"] = 99
    assert manifest.pids[0] == 1
    with pytest.raises(ValueError):
        manifest.pids[0] = 5
    with pytest.raises(AttributeError):
        manifest.root = Path("/elsewhere")


def test_saving_and_loading_keeps_everything_and_the_root_can_be_moved(tmp_path):
    manifest = Manifest(table(pid=[1, 1, 3], platform=["ground", "aerial", ""]), ROOT, "toy")
    file = manifest.save(tmp_path / "deep" / "m.parquet")
    loaded = Manifest.load(file)
    pd.testing.assert_frame_equal(loaded.table, manifest.table)
    assert (loaded.root, loaded.name, loaded.digest) == (ROOT, "toy", manifest.digest)
    assert Manifest.load(file, root="/moved").root == Path("/moved")
    assert [path.name for path in file.parent.iterdir()] == ["m.parquet"]


def test_the_digest_is_of_the_rows_alone():
    manifest = Manifest(table(pid=[1, 2, 3]), ROOT, "a")
    assert manifest.digest == Manifest(table(pid=[1, 2, 3]), Path("/other"), "b").digest
    assert manifest.digest != Manifest(table(pid=[1, 2, 4]), ROOT, "a").digest
    assert manifest.digest != manifest.select("train").digest
