"""What releases hold besides images: text lists and MATLAB files with odd content are refused by name."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from scipy.io import savemat

from reid_core.data.readers import ReaderError, read
from reid_core.data.readers._files import labelled_paths, text_lines
from reid_core.data.readers._matlab import matrix

pytestmark = pytest.mark.faults

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_belongs_to_no_path(tmp_path):
    file = tmp_path / "list_train.txt"
    file.write_bytes(MARK + b"0000/a.jpg 0\r\n0001/b.jpg 1\n")
    assert labelled_paths(file, "msmt17") == [("0000/a.jpg", 0), ("0001/b.jpg", 1)]


def test_a_byte_order_mark_belongs_to_no_json(tmp_path):
    entries = [{"id": 0, "file_path": "sec0/1.jpg"}, {"id": 4, "file_path": "sec0/2.jpg"}]
    (tmp_path / "cional_annos.json").write_bytes(MARK + json.dumps(entries).encode())
    assert read("cion_al", tmp_path).pids.tolist() == [1, 5]


@pytest.mark.parametrize("label", ["3.7", "-1", "x", "²", "9" * 19])
def test_a_label_that_is_no_integer_is_named(tmp_path, label):
    (tmp_path / "list.txt").write_text(f"a.jpg 1\nb.jpg {label}\n", encoding="utf-8")
    with pytest.raises(ReaderError, match=f"list.txt: line 2 has the label '{label}'; expected an integer"):
        labelled_paths(tmp_path / "list.txt", "msmt17")


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.jpg 1\ncaf\xe9.jpg 2\n")
    with pytest.raises(ReaderError, match=r"list.txt: line 2 is 'caf\\\\xe9.jpg 2', which is not UTF-8"):
        text_lines(tmp_path / "list.txt")


def test_annotations_that_are_not_utf_8_or_hold_a_fraction_are_named(tmp_path):
    file = tmp_path / "cional_annos.json"
    file.write_bytes(b'[{"id": 1, "file_path": "caf\xe9.jpg"}]')
    with pytest.raises(ReaderError, match="cional_annos.json: is not UTF-8"):
        read("cion_al", tmp_path)
    for pid in ("3.7", str(2**63)):
        file.write_text(f'[{{"id": {pid}, "file_path": "a.jpg"}}]')
        with pytest.raises(ReaderError, match="entry 0 is .*; expected an integer id"):
            read("cion_al", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep file names as Unicode")
@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9/1.jpg"])
@pytest.mark.parametrize("reader", ["folder", "people"])
def test_a_file_name_that_is_not_utf_8_is_named(tmp_path, name, reader):
    path = os.path.join(os.fsencode(tmp_path), b"1", name)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb"):
        pass
    with pytest.raises(ReaderError, match=r"1/caf\\xe9.*: the file name is not UTF-8; rename it"):
        read(reader, tmp_path)


def test_file_names_in_other_scripts_are_read(tmp_path):
    (tmp_path / "行人").mkdir()
    (tmp_path / "行人/é.jpg").touch()
    assert read("folder", tmp_path).table["path"].tolist() == ["行人/é.jpg"]


def test_a_number_too_large_in_a_file_name_is_named(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{'9' * 19}_c1s1_000451_03.jpg").touch()
    with pytest.raises(ReaderError, match=r"9_c1s1_000451_03.jpg: the number 9+ is too large"):
        read("market1501", tmp_path)


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("viper", "split", True, "viper: got split=True; expected int"),
        ("viper", "split", {"class_path": "x.Y"}, "got split=.*; expected int"),
        ("msmt17", "val", "false", "got val='false'; expected bool"),
        ("prcc", "protocol", 1, "got protocol=1; expected str"),
        ("people.csv", "fraction", "0.5", "got fraction='0.5'; expected float or NoneType"),
    ],
)
def test_an_option_of_another_type_is_refused(name, option, value, message, tmp_path):
    with pytest.raises(ReaderError, match=message):
        read(name, tmp_path, **{option: value})


def test_a_matrix_of_fractions_or_of_text_is_refused(tmp_path):
    file = tmp_path / "tracks.mat"
    savemat(file, {"tracks": np.array([[1, 2], [3.7, 4]])})
    with pytest.raises(ReaderError, match=r"tracks.mat, 'tracks': value 3 is 3.7; expected integers"):
        matrix(file)
    savemat(file, {"tracks": np.array([1, 2**64 - 1], np.uint64)})
    with pytest.raises(ReaderError, match="value 2 is 18446744073709551615; expected integers"):
        matrix(file)
    savemat(file, {"tracks": "text"})
    with pytest.raises(ReaderError, match="tracks.mat, 'tracks': holds values of type .*; expected integers"):
        matrix(file)
