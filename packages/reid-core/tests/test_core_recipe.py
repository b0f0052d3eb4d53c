"""The recipe layer on a toy recipe: what is redone and what is not, and what is refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.recipe import Recipe, Source, Stage, part, run, store


def peek(job):
    return {"rows": len(job.manifest("data", "query"))}


def test_a_second_call_runs_nothing_and_going_back_finds_the_old_output(toy, config):
    assert toy.run(config) == ["count", "multiply"]
    assert toy.run(config) == []
    assert toy.run(replace(config, factor=3)) == ["multiply"]
    assert toy.run(config) == []
    products = {entry["summary"]["product"] for entry in map(store.record, toy.folders(config, "multiply"))}
    assert products == {8 * 2, 8 * 3}


def test_what_changes_no_result_redoes_nothing(toy, config):
    toy.run(config)
    runtime = replace(config.runtime, workers=3, log_every=1, checkpoint_every=7, batch_size=5)
    assert toy.run(replace(config, runtime=runtime)) == []
    assert toy.run(replace(config, name="another")) == []  # two names share their stages


def test_a_raised_version_redoes_that_stage_and_those_behind_it(toy, config):
    toy.run(config)
    assert toy.run(replace(config, versions={"multiply": 2})) == ["multiply"]
    assert toy.run(replace(config, versions={"count": 2})) == ["count", "multiply"]


def test_a_new_release_of_a_package_redoes_nothing(toy, config, monkeypatch):
    toy.run(config)
    monkeypatch.setattr("reid_core.recipe.runner.packages", lambda: {"reid-core": "9.9"})
    assert toy.run(config) == []


def test_a_stage_may_not_read_what_it_does_not_name(toy, config):
    sneaky = replace(
        toy.recipe,
        stages=lambda c: [
            toy.sources(c).stage(),
            Stage("peek", peek, {}, {"prepare": [part("data", "train")]}),
        ],
    )
    with pytest.raises(ValueError, match="reads data/query without saying so"):
        run(sneaky, config)


def test_nothing_is_written_for_settings_that_cannot_work(toy, config):
    for bad, said in (
        (replace(config, name="../x"), "name="),
        (replace(config, experiment="stages"), "experiment="),
        (replace(config, data=Source("market1501", "nowhere")), "nowhere"),
        (replace(config, data=Source("market", config.data.root)), "no reader for 'market'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            run(toy.recipe, bad)
    assert not Path(config.runs).exists()


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(toy, config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"runtime.accelerator=gpu, but torch sees no GPU here"):
        run(toy.recipe, replace(config, runtime=replace(config.runtime, accelerator="gpu")))
    assert not Path(config.runs).exists()


def test_force_does_a_stage_again_and_keeps_what_it_had(toy, config):
    toy.run(config)
    toy.calls.clear()
    run(toy.recipe, config, force=["multiply"])
    assert toy.calls == ["multiply"]
    assert [entry.state for entry in store.entries(Path(config.runs)) if "multiply" in entry.folder.name] == [
        "done",
        "replaced",
    ]
    with pytest.raises(ValueError, match="no such stage"):
        run(toy.recipe, config, force=["multiplication"])


def test_finished_output_without_the_report_of_its_stage_says_what_makes_one(toy, config, capsys):
    def work(job):
        (job.folder / "report.html").write_text("<!doctype html>")
        return {}

    recipe = replace(
        toy.recipe,
        stages=lambda one: [toy.sources(one).stage(), Stage("score", work, {}, {"prepare": []}, report=True)],
        results=lambda summaries: {},
    )
    run(recipe, config)
    run(recipe, config)
    assert "report.html" not in capsys.readouterr().err
    [folder] = toy.folders(config, "score")
    (folder / "report.html").unlink()
    run(recipe, config)
    assert (
        "score: an earlier version has left no report.html: the same command with --force score"
        in " ".join(capsys.readouterr().err.split())
    )
    run(recipe, config, force=["score"])
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(("main", "chosen"), [("dino", "finetune-dino"), ("target/dino", "finetune-dino")])
def test_the_main_model_is_registered_also_where_there_are_several_data_sets(main, chosen, tmp_path):
    from reid_core.recipe.record import record_models

    folders = {}
    for stage in ("finetune/none", "finetune/dino", "finetune/none.msmt17", "finetune/dino.msmt17"):
        folders[stage] = tmp_path / stage
        (folders[stage] / "model").mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (folders[stage] / "model" / name).touch()
    logged: dict[str, str | None] = {}
    tracker = SimpleNamespace(model=lambda path, name, version: logged.update({name: version}))
    record_models(tracker, folders, "people", main)
    assert len(logged) == 4
    assert [name for name, version in logged.items() if version == "people"] == [chosen]


@pytest.mark.faults
def test_an_interrupted_stage_resumes_in_its_own_folder(toy, config):
    with pytest.raises(FloatingPointError):
        run(toy.recipe, replace(config, fails=True))
    [unfinished] = [entry for entry in store.entries(Path(config.runs)) if entry.state == "unfinished"]
    assert "multiply" in unfinished.folder.name
    assert (unfinished.folder / "half.txt").exists()


def test_a_stage_that_reads_no_data_runs_without_them(toy, config):
    alone = Recipe(
        name="toy",
        module="toy.cli",
        sources=toy.sources,
        stages=lambda config: [*toy.stages(config), Stage("alone", peek_at_roots, {})],
    )
    assert run(alone, config, "alone") == {"alone": {"roots": 0}}


def peek_at_roots(job):
    return {"roots": len(job.roots)}
