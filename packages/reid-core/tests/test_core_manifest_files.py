"""Manifest files: a user's own table, as CSV or Parquet, is a source like a data set's name."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_core.data.manifest import Manifest, ManifestError
from reid_core.data.readers import ReaderError, read
from reid_core.data.readers._own_split import draw_split

HEADER = "path,pid,camid,split\n"
ROWS = 'a/1.jpg,1,1,train\n"b, c/2.jpg",2,1,query\na/3.jpg,2,2,gallery\n'


def write(folder, text, name="mine.csv", encoding="utf-8"):
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


def test_a_table_is_read_and_named_after_its_file(tmp_path):
    manifest = read(write(tmp_path, HEADER + ROWS))
    assert manifest.table["path"].tolist() == ["a/1.jpg", "b, c/2.jpg", "a/3.jpg"]
    assert manifest.pids.tolist() == [1, 2, 2] and manifest.camids.tolist() == [1, 1, 2]
    assert manifest.table["split"].tolist() == ["train", "query", "gallery"]
    assert (manifest.root, manifest.name) == (tmp_path, "mine.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_other_delimiters_change_nothing(tmp_path, encoding, delimiter, end):
    lines = [
        ["path", "pid", "camid", "split"],
        ['"a ""b"".jpg"', "3", " 2", "train"],
        ["é.jpg", "3", "", "train"],
    ]
    text = end.join(delimiter.join(cells) for cells in lines)
    manifest = read(write(tmp_path, text, encoding=encoding))
    assert manifest.table["path"].tolist() == ['a "b".jpg', "é.jpg"]
    assert manifest.pids.tolist() == [3, 3] and manifest.camids.tolist() == [2, -1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_name_of_digits_stays_as_it_is_behind_a_byte_order_mark_too(tmp_path, encoding):
    manifest = read(write(tmp_path, "path,pid,camid,split\n0001,3,1,train\n", encoding=encoding))
    assert manifest.table["path"].tolist() == ["0001"]


def test_empty_cells_are_unknown_and_empty_lines_are_left_out(tmp_path):
    text = "path,pid,camid,split,tracklet,platform\na,1,,train,,uav\n\nb,1,2,train,5,\n\n"
    table = read(write(tmp_path, text)).table
    assert table["camid"].tolist() == [-1, 2] and table["tracklet"].tolist() == [-1, 5]
    assert table["platform"].tolist() == ["aerial", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "a,1,3.7,train\n", r"mine.csv: row 2, column 'camid': got '3.7', expected an integer"),
        (HEADER + "a,1,3,train\n\nb,x,3,train\n", r"row 4, column 'pid': got 'x', expected an integer"),
        (HEADER + "a,1,3,train\nb,,3,train\n", r"row 3, column 'pid': got ''"),
        (
            HEADER + "a,9223372036854775808,3,train\n",
            r"row 2, column 'pid': got '9223372036854775808'.*64 bits",
        ),
        (HEADER + "a,18446744073709551615,3,train\n", r"row 2, column 'pid'.*64 bits"),
        (HEADER + "a,99999999999999999999,3,train\nb,-1,1,train\n", r"row 2, column 'pid'.*64 bits"),
        (HEADER + "a,-2,3,train\n", r"row 2, column 'pid': got '-2'"),
        (HEADER + "a,1,3,test\n", r"row 2, column 'split': got 'test', expected one of train"),
        (HEADER + "a,1,3,train\n/else/b,1,3,train\n", r"row 3, column 'path': got '/else/b', .*not below"),
        (HEADER + "a,1,3,train\n../b,1,3,train\n", r"row 3, column 'path': got '../b'.*under the root"),
        (HEADER + "a,1,3,train\na,1,3,train\n", r"row 3, column 'path': got 'a'.*only once"),
        (HEADER + "a,1,3,train\nb,1,3\n", r"mine.csv: row 3: has 3 cells \('b,1,3'\); expected 4"),
        (HEADER + "a,1,3,train\nb,1,3,train,5\n", r"mine.csv: row 3: has 5 cells"),
        (HEADER, "mine.csv: holds no row"),
        ("", "mine.csv: can't be read as CSV"),
        ("path,pid\na,1\n", r"mine.csv: has the columns path, pid \(missing: camid; unknown: none\)"),
        ("path,pid,camid,age\na,1,1,30\n", r"unknown: age\); expected path, pid, camid, and any of split,"),
        ("path,pid,camid,pid\na,1,1,30\n", "each once"),
    ],
)
def test_a_bad_table_is_refused_by_file_row_and_column(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read(write(tmp_path, text))


def test_text_that_is_not_utf_8_is_refused_by_file_and_line(tmp_path):
    file = write(tmp_path, HEADER + "a,1,1,train\nñ,1,1,train\n", encoding="latin-1")
    with pytest.raises(ReaderError, match=r"mine.csv: line 3 is '\\\\xf1,1,1,train', which is not UTF-8"):
        read(file)


def test_a_row_that_is_not_utf8_and_lacks_cells_is_named(tmp_path):
    (tmp_path / "mine.csv").write_bytes(HEADER.encode() + b"a,1,1,train\n\xf1\nb,1,1,train\n")
    with pytest.raises(ReaderError, match=r"mine.csv: line 3 is '\\\\xf1', which is not UTF-8"):
        read(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    "header", ["path\rpid,camid\n", "x" * 200_000 + ",pid\n"], ids=["ends early", "long"]
)
def test_a_header_that_is_none_is_an_error(header, tmp_path):
    (tmp_path / "mine.csv").write_text(header)
    with pytest.raises(ManifestError, match="mine.csv: "):
        read(tmp_path / "mine.csv")


def test_absolute_paths_below_the_root_become_relative(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    text = f"{HEADER}{tmp_path}/images/a.jpg,1,1,train\n./b.jpg,1,2,train\n"
    file = write(tmp_path, text)
    for root in (tmp_path / "images", tmp_path / "link"):
        manifest = read(file, root)
        assert manifest.table["path"].tolist() == ["a.jpg", "b.jpg"] and manifest.root == root


def test_parquet_of_a_user_is_read_like_csv(tmp_path):
    rows = pd.DataFrame({"path": ["a", "b"], "pid": [1, 2], "camid": [1.0, None], "split": "train"})
    rows.to_parquet(tmp_path / "mine.parquet")
    manifest = read(tmp_path / "mine.parquet")
    assert manifest.camids.tolist() == [1, -1] and manifest.name == "mine.parquet"
    rows.assign(camid=[1, 3.7]).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ManifestError, match=r"bad.parquet: row 1, column 'camid': got 3.7, expected an int"):
        read(tmp_path / "bad.parquet")
    (tmp_path / "no.parquet").write_text("path,pid,camid\n")
    with pytest.raises(ManifestError, match=r"no.parquet: can't be read as Parquet"):
        read(tmp_path / "no.parquet")


def test_a_saved_manifest_keeps_root_name_and_names(tmp_path):
    rows = pd.DataFrame({"path": ["a", "b"], "pid": [1, 2], "split": "train"})
    saved = Manifest(rows, "/data", "toy", {"pid": {1: "ann", 2: "bob"}})
    file = saved.save(tmp_path / "toy.parquet")
    for loaded in (read(file), Manifest.load(file)):
        assert (loaded.digest, loaded.root, loaded.name) == (saved.digest, saved.root, "toy")
        assert loaded.names == saved.select("train").names == {"pid": {1: "ann", 2: "bob"}}
    assert str(read(file, "/moved").root) == "/moved"


def test_a_table_without_a_split_is_divided_by_people_and_one_query_per_person_and_camera(tmp_path):
    lines = [f"{p}_{c}_{i},{p},{c}" for p in range(1, 11) for c in (1, 2) for i in range(3)]
    file = write(tmp_path, "path,pid,camid\n" + "\n".join([*lines, "stranger,-1,1"]))
    manifest = read(file)
    table = manifest.table
    assert table["split"].iloc[-1] == "unlabeled"
    train, query, gallery = (manifest.select(split) for split in ("train", "query", "gallery"))
    assert len(set(train.pids)) == 5 and set(train.pids).isdisjoint(query.pids)
    assert sorted(zip(query.pids, query.camids, strict=True)) == sorted(
        (pid, camid) for pid in set(query.pids) for camid in (1, 2)
    )
    assert len(gallery) == 20 and set(gallery.pids) == set(query.pids)
    assert len(set(read(file, fraction=0.2).select("train").pids)) == 2
    assert read(file, seed=0).digest == manifest.digest != read(file, seed=1).digest
    assert set(read(file, fraction=0).table["split"]) == {"query", "gallery", "unlabeled"}
    assert set(read(file, fraction=1).table["split"]) == {"train", "unlabeled"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.5}, "got fraction 1.5; expected a part of the people, from 0 to 1"),
        ({"fraction": 0.1}, "fraction 0.1 puts 0 of 2 people into train"),
        ({"split": 3}, "mine.csv has no option 'split'; it has fraction, seed"),
    ],
)
def test_a_division_that_cannot_be_is_refused(tmp_path, options, message):
    file = write(tmp_path, "path,pid,camid\na,1,1\nb,2,1\n")
    with pytest.raises(ReaderError, match=message):
        read(file, **options)


def test_a_division_is_only_of_tables_without_one_and_of_people_from_1(tmp_path):
    with pytest.raises(
        ReaderError, match="has the column split; fraction and seed are for tables without it"
    ):
        read(write(tmp_path, HEADER + ROWS), seed=1)
    with pytest.raises(ManifestError, match=r"mine.csv: row 3, column 'pid': got 0, .*number people from 1"):
        read(write(tmp_path, "path,pid,camid\na,1,1\nb,0,1\n"))


def test_one_camera_alone_becomes_unknown(tmp_path):
    file = write(tmp_path, "path,pid,camid\na,1,4\nb,1,4\nc,2,4\n")
    assert set(read(file, fraction=0).camids) == {-1}


IMAGES = st.lists(
    st.tuples(st.integers(1, 5), st.integers(-1, 2), st.integers(-1, 3)), min_size=1, max_size=30
)


@settings(max_examples=40)
@given(images=IMAGES, fraction=st.sampled_from([0.0, 0.3, 0.5, 1.0]), seed=st.integers(0, 3))
def test_whatever_the_images_a_division_keeps_its_rule(images, fraction, seed):
    rows = pd.DataFrame(images, columns=["pid", "camid", "tracklet"])
    rows["path"] = [f"{number}.jpg" for number in range(len(rows))]
    keys = rows.groupby(["pid", "camid", "tracklet"], sort=False).ngroup()
    rows["tracklet"] = keys.where(rows["tracklet"] >= 0, -1)
    try:
        drawn = draw_split(rows, fraction, seed, "toy")
    except ReaderError as error:
        assert "puts" in str(error)
        return
    shuffled = draw_split(rows.iloc[::-1], fraction, seed, "toy")
    assert shuffled.loc[drawn.index, "split"].tolist() == drawn["split"].tolist()
    people = drawn.assign(train=drawn["split"] == "train").groupby("pid")["train"]
    assert (people.nunique() == 1).all() and people.first().sum() == round(fraction * rows["pid"].nunique())
    unit = drawn["tracklet"].where(drawn["tracklet"] >= 0, -2 - drawn.index)
    assert (drawn.groupby(unit)["split"].nunique() == 1).all()
    test = drawn.assign(unit=unit)[drawn["split"] != "train"].drop_duplicates("unit")
    queries = test[test["split"] == "query"]
    assert not queries.duplicated(["pid", "camid"]).any()
    several = test.groupby("pid").size()
    assert set(queries["pid"]) == set(several.index[several > 1])
    assert set(queries["pid"]) <= set(test["pid"][test["split"] == "gallery"])
