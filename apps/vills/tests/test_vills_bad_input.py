"""Each bad input is an error that names the thing, before any long work; a broken image is none at all."""

import json
import logging
import shutil

import pytest

from vills.cli import main


@pytest.fixture()
def market(tiny, tmp_path):
    """A copy of the Market-1501 layout to break."""
    return shutil.copytree(tiny.data / "market1501", tmp_path / "market1501")


def fails(capsys, arguments):
    capsys.readouterr()
    assert main(arguments) == 1
    return capsys.readouterr().err


def test_a_missing_root_is_named_before_a_run_folder_is_made(tiny, tmp_path, capsys):
    command = ["run", *tiny.on_disk, "--name", "missing", "--data.image.root", str(tmp_path / "nowhere")]
    message = fails(capsys, command)
    assert "nowhere" in message and "data.image.root" in message
    assert not (tiny.runs / "vills_tiny" / "missing").exists()


def test_no_root_at_all_says_which_option_to_give(tiny, capsys):
    message = fails(capsys, ["run", *tiny.on_disk, "--name", "rootless", "--data.image.root", ""])
    assert "data.root" in message


def test_an_empty_split_is_an_error_before_any_training(tiny, market, capsys):
    for file in (market / "query").iterdir():
        file.unlink()
    message = fails(capsys, ["run", *tiny.on_disk, "--name", "empty", "--data.image.root", str(market)])
    assert "query" in message
    assert not (tiny.runs / "vills_tiny" / "empty" / "lse").exists()


def test_a_file_name_that_cannot_be_parsed_is_named(tiny, market, capsys):
    some = next((market / "bounding_box_train").glob("*.jpg"))
    some.rename(some.with_name("holiday.jpg"))
    message = fails(capsys, ["run", *tiny.on_disk, "--name", "name", "--data.image.root", str(market)])
    assert "holiday.jpg" in message


@pytest.mark.faults
def test_a_truncated_jpeg_is_skipped_counted_and_named(tiny, market):
    broken = sorted((market / "bounding_box_train").glob("*.jpg"))[0]
    broken.write_bytes(broken.read_bytes()[:60])
    command = [*tiny.on_disk, "--name", "truncated", "--data.image.root", str(market)]
    with pytest.warns(UserWarning, match=broken.name):
        assert main(["pretrain", *command]) == 0
    folder = tiny.runs / "vills_tiny" / "truncated"
    for stage in ("lse", "pretrain"):
        assert json.loads((folder / stage / "stage.json").read_text())["summary"]["unreadable"] == 1
        assert broken.name in (folder / stage / "unreadable.txt").read_text()


def test_an_unknown_configuration_key_is_an_error(tiny, tmp_path, capsys):
    config = tmp_path / "typo.yaml"
    config.write_text("pretrain: {imagebatch: 3}\n")
    assert "imagebatch" in fails(capsys, ["run", "--config", str(config)])


def test_a_checkpoint_of_another_architecture_is_refused_with_the_difference(tiny, capsys):
    teacher = str(tiny.folder / "pretrain" / "teacher.pt")
    command = [*tiny.on_disk, "--name", "other", "--finetune.init", "pretrained"]
    command += ["--finetune.checkpoint", teacher, "--model.tokens", "3"]
    message = fails(capsys, ["finetune", *command])
    assert "another architecture" in message
    assert "resampler.queries (2, 32) instead of (3, 32)" in message


@pytest.mark.faults
def test_a_file_that_is_no_checkpoint_is_refused(tiny, capsys):
    command = [*tiny.on_disk, "--name", "none", "--finetune.init", "pretrained"]
    command += ["--finetune.checkpoint", str(tiny.folder / "config.yaml")]
    assert "is not a checkpoint" in fails(capsys, ["finetune", *command])


def test_several_devices_without_torchrun_say_how_to_start(tiny, capsys):
    message = fails(capsys, ["run", *tiny.on_disk, "--name", "ranks", "--runtime.devices", "2"])
    assert "torchrun --nproc_per_node 2" in message


def test_withdrawn_dukemtmc_is_refused(tiny, capsys):
    command = ["prepare", *tiny.on_disk, "--name", "duke", "--data.image.name", "dukemtmc"]
    assert "withdrawn" in fails(capsys, command)


@pytest.mark.faults
def test_with_the_tracking_server_down_the_run_goes_on_and_is_synced_later(tiny, caplog, capsys):
    command = ["prepare", *tiny.on_disk, "--name", "down", "--tracking_uri", "http://127.0.0.1:9"]
    with caplog.at_level(logging.WARNING):
        assert main(command) == 0
    assert sum("can't be reached" in record.message for record in caplog.records) == 1
    folder = str(tiny.runs / "vills_tiny" / "down")
    assert main(["sync", folder]) == 1  # still down
    capsys.readouterr()
    assert main(["sync", folder, "--tracking_uri", tiny.store]) == 0
    assert "left 0, refused 0" in capsys.readouterr().out
