from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_core.files import plain
from reid_core.recipe.old_stage import Stage, StageError, fingerprint


class Work:
    """Counts its calls; dies after its first file when told to."""

    def __init__(self, die: bool = False) -> None:
        self.calls = 0
        self.die = die
        self.found: list[str] = []

    def __call__(self, folder: Path) -> dict:
        self.calls += 1
        self.found = sorted(path.name for path in folder.iterdir())
        (folder / "half").write_text("x")
        if self.die:
            raise KeyboardInterrupt
        (folder / "whole").write_text("x")
        return {"calls": self.calls}


def test_a_second_call_with_the_same_fingerprint_does_no_work(tmp_path):
    work = Work()
    first = Stage("s", tmp_path, {"a": 1}).run(work)
    assert Stage("s", tmp_path, {"a": 1}).run(work) == first == {"calls": 1}


@pytest.mark.parametrize(
    "change", [{"config": {"a": 2}}, {"inputs": {"images": "f00"}}, {"code": "0.2"}, {"force": True}]
)
def test_a_change_of_config_inputs_or_code_and_force_redo_the_work_in_an_empty_folder(tmp_path, change):
    work = Work()
    same = {"config": {"a": 1}, "inputs": {"images": "abc"}, "code": "0.1"}
    Stage("s", tmp_path, **same).run(work)
    Stage("s", tmp_path, **{**same, **change}).run(work)
    assert work.calls == 2
    assert work.found == ["started.json"]


def test_killed_work_finds_its_files_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Stage("s", tmp_path, {"a": 1}).run(Work(die=True))
    stage = Stage("s", tmp_path, {"a": 1})
    assert stage.resumable and not stage.done
    work = Work()
    stage.run(work)
    assert "half" in work.found
    assert stage.done and not stage.resumable


def test_killed_work_of_another_fingerprint_is_cleared(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Stage("s", tmp_path, {"a": 1}).run(Work(die=True))
    work = Work()
    Stage("s", tmp_path, {"a": 2}).run(work)
    assert "half" not in work.found


def test_forced_work_that_was_killed_is_not_taken_for_finished(tmp_path):
    Stage("s", tmp_path, {"a": 1}).run(Work())
    with pytest.raises(KeyboardInterrupt):
        Stage("s", tmp_path, {"a": 1}, force=True).run(Work(die=True))
    assert not Stage("s", tmp_path, {"a": 1}).done


def test_a_folder_that_no_stage_made_is_left_alone(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("years of work")
    with pytest.raises(StageError, match="no stage made it"):
        Stage("s", tmp_path, {}).run(Work())
    assert (tmp_path / "s" / "thesis.tex").exists()


def test_the_summary_of_an_unfinished_stage_is_an_error(tmp_path):
    with pytest.raises(StageError, match="run it first"):
        _ = Stage("s", tmp_path, {}).summary


def test_a_follower_of_rank_0_does_not_do_the_work_twice(tmp_path, monkeypatch):
    leader, follower = Work(), Work()
    Stage("s", tmp_path, {}).run(leader)
    monkeypatch.setenv("RANK", "1")
    assert Stage("s", tmp_path, {}).run(follower) == {"calls": 1}
    assert follower.calls == 0


def test_an_object_without_a_plain_form_cannot_be_fingerprinted():
    with pytest.raises(TypeError, match="can't be written as JSON"):
        plain({"model": object()})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4), st.randoms())
def test_the_fingerprint_ignores_the_order_of_keys(config, random):
    items = list(config.items())
    random.shuffle(items)
    assert fingerprint(dict(items), {}, "") == fingerprint(config, {}, "")
