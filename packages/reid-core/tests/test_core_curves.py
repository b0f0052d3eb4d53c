"""Curves are read from the log of the run that trained, also where another run reuses the stage."""

import json

import pytest

from reid_core.recipe import store
from reid_core.recipe.curves import draw_curves, read_curves, save_curves


def run(runs, name, log, stages):
    """A run folder with a log, and stages that some run's log is of: stage -> (run, key)."""
    folder = runs / "toy" / name
    folder.mkdir(parents=True)
    lines = [
        {"run": key, "event": "metrics", "time": 0, "values": {"loss": value, "lr": 0.1}, "step": step}
        for key, curve in log.items()
        for step, value in curve
    ]
    (folder / "tracking.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for stage, (owner, key) in stages.items():
        place = runs / "stages" / f"{stage.replace('/', '-')}-{owner}"
        if store.record(place) is None:
            place.mkdir(parents=True)
            store.finish(place, {"digest": "0", "log": {"run": f"toy/{owner}", "key": key}, "summary": {}})
        store.link(folder, stage, place)
    return folder


@pytest.fixture()
def folders(tmp_path):
    curve = [(1, 3.0), (3, 1.0), (2, 2.0)]
    log = {"pretrain": curve, "finetune/scratch#2": curve[:1], "finetune/scratch": [(9, 9.0)]}
    first = run(
        tmp_path, "a", log, {"pretrain": ("a", "pretrain"), "finetune/scratch": ("a", "finetune/scratch#2")}
    )
    second = run(tmp_path, "b", {}, {"pretrain": ("a", "pretrain")})
    return first, second


def test_steps_are_in_order_and_a_stage_begun_anew_has_the_last_attempt_alone(folders):
    assert read_curves(folders[0]) == {
        "finetune/scratch": ([1], [3.0]),
        "pretrain": ([1, 2, 3], [3.0, 2.0, 1.0]),
    }


def test_a_reused_stage_has_the_curve_of_the_run_that_trained_it(folders):
    assert read_curves(folders[1]) == {"pretrain": ([1, 2, 3], [3.0, 2.0, 1.0])}


def test_several_runs_are_lines_of_one_panel_per_kind_of_stage(folders, tmp_path):
    figure = draw_curves({folder.name: read_curves(folder) for folder in folders})
    lines = {axes.get_title(): [line.get_label() for line in axes.lines] for axes in figure.axes}
    assert lines == {"finetune": ["a, scratch"], "pretrain": ["a", "b"]}
    styles = [
        (line.get_color(), line.get_linestyle()) for line in figure.axes[list(lines).index("pretrain")].lines
    ]
    assert len({colour for colour, _ in styles}) == len({dash for _, dash in styles}) == 2
    save_curves(figure, tmp_path / "figures" / "losses.png")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["losses.png"]


def test_what_was_not_logged_and_folders_that_are_no_runs_are_named(folders, tmp_path):
    with pytest.raises(ValueError, match="b: no stage has logged 'accuracy'"):
        draw_curves({"b": read_curves(folders[1], "accuracy")}, "accuracy")
    with pytest.raises(FileNotFoundError, match="give runs/EXPERIMENT/NAME"):
        read_curves(tmp_path / "nowhere")
