"""The recipe layer on a toy recipe: what is redone and what is not, who may write; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid_core.cli import housekeeping
from reid_core.files import OwnershipLost, write_atomically
from reid_core.recipe import (
    Busy,
    Recipe,
    RecipeConfig,
    Source,
    Sources,
    Stage,
    StageError,
    Synthetic,
    part,
    run,
    store,
)
from reid_core.recipe.lease import hold, lock_file
from reid_core.recipe.sources import scan
from reid_core.recipe.tables import Found, Row, Table, ablate, heat_map, write

WORLD = Synthetic(
    {"identities": 4, "cameras": 2, "height": 16, "width": 8},
    {"market1501": {"train_identities": 2, "images_per_camera": 2, "progress": False}},
)


@dataclass
class Config(RecipeConfig):
    experiment: str = "toy"
    data: Source = field(default_factory=lambda: Source("market1501"))
    synthetic: Synthetic | None = field(default_factory=lambda: WORLD)
    factor: int = 2
    fails: bool = False
    versions: dict[str, int] = field(default_factory=dict)


calls: list[str] = []


def count(job):
    calls.append("count")
    rows = job.manifest("data", "train")
    write_atomically(job.folder / "images.txt", "\n".join(rows.table["path"]))
    return {"images": len(rows), "root": rows.root.name}


def multiply(job):
    calls.append("multiply")
    if job.section["fails"]:
        write_atomically(job.folder / "half.txt", "half")
        raise FloatingPointError("the loss is not finite")
    lines = (job.inputs["count"] / "images.txt").read_text().splitlines()
    return {
        "product": len(lines) * job.section["factor"],
        "found": sorted(p.name for p in job.folder.iterdir()),
    }


def peek(job):
    return {"rows": len(job.manifest("data", "query"))}


def stages(config):
    version = config.versions.get
    return [
        sources(config).stage(),
        Stage("count", count, {}, {"prepare": [part("data", "train")]}, version=version("count", 1)),
        Stage(
            "multiply",
            multiply,
            {"factor": config.factor, "fails": config.fails},
            {"count": None},
            version=version("multiply", 1),
        ),
        Stage("test", lambda job: {"x": 1}, {}, {"prepare": [part("data", "gallery")], "multiply": None}),
    ]


def sources(config):
    return Sources({"data": config.data}, "", config.synthetic, {"data": ("train", "query", "gallery")})


TOY = Recipe(
    "toy", "toy.cli", sources, stages, results=lambda summaries: {"product": summaries["multiply"]["product"]}
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The synthetic world on disk, once."""
    from reid_core.recipe.sources import write_world

    folder = tmp_path_factory.mktemp("world")
    write_world(WORLD, folder, 1)
    return folder / "market1501"


@pytest.fixture()
def config(tmp_path, world):
    import shutil

    calls.clear()
    data = Path(shutil.copytree(world, tmp_path / "data"))
    nobody = "http://127.0.0.1:9"  # events stay in the run folder, and no test waits for MLflow
    return Config(
        runs=str(tmp_path / "runs"),
        tracking_uri=nobody,
        data=Source("market1501", str(data)),
        synthetic=None,
    )


def done(config):
    """Stages that a call runs."""
    calls.clear()
    run(TOY, config)
    return list(calls)


def test_a_second_call_runs_nothing_and_going_back_finds_the_old_output(config):
    assert done(config) == ["count", "multiply"]
    assert done(config) == []
    assert done(replace(config, factor=3)) == ["multiply"]
    assert done(config) == []
    products = {entry["summary"]["product"] for entry in map(store.record, _stages(config, "multiply"))}
    assert products == {8 * 2, 8 * 3}


def test_what_changes_no_result_redoes_nothing(config):
    done(config)
    runtime = replace(config.runtime, workers=3, log_every=1, checkpoint_every=7, batch_size=5)
    assert done(replace(config, runtime=runtime)) == []
    assert done(replace(config, name="another")) == []  # two names share their stages


def test_a_raised_version_redoes_that_stage_and_those_behind_it(config):
    done(config)
    assert done(replace(config, versions={"multiply": 2})) == ["multiply"]
    assert done(replace(config, versions={"count": 2})) == ["count", "multiply"]


def test_a_new_release_of_a_package_redoes_nothing(config, monkeypatch):
    done(config)
    monkeypatch.setattr("reid_core.recipe.runner.packages", lambda: {"reid-core": "9.9"})
    assert done(config) == []


def test_a_gallery_image_less_redoes_no_training(config):
    done(config)
    next((Path(config.data.root) / "bounding_box_test").glob("*.jpg")).unlink()
    assert done(config) == []
    assert len(list(_stages(config, "prepare"))) == len(list(_stages(config, "test"))) == 2


def test_another_training_image_redoes_it(config):
    done(config)
    some = next((Path(config.data.root) / "bounding_box_train").glob("*.jpg"))
    some.with_name(f"{some.stem[:-2]}77.jpg").write_bytes(some.read_bytes())
    assert done(config) == ["count", "multiply"]


@pytest.mark.faults
def test_a_moved_data_set_redoes_no_training_and_is_read_where_it_lies_now(config, tmp_path):
    import shutil

    done(config)
    shutil.copytree(config.data.root, tmp_path / "copied")  # other times, other place
    shutil.rmtree(config.data.root)
    moved = replace(config, data=Source("market1501", str(tmp_path / "copied")))
    assert done(moved) == []
    assert done(replace(moved, versions={"count": 2})) == ["count", "multiply"]
    roots = {record["summary"]["root"] for record in map(store.record, _stages(config, "count"))}
    assert roots == {"data", "copied"}


def test_a_stage_may_not_read_what_it_does_not_name(config):
    sneaky = replace(
        TOY,
        stages=lambda c: [sources(c).stage(), Stage("peek", peek, {}, {"prepare": [part("data", "train")]})],
    )
    with pytest.raises(ValueError, match="reads data/query without saying so"):
        run(sneaky, config)


def test_nothing_is_written_for_settings_that_cannot_work(config):
    for bad, said in (
        (replace(config, name="../x"), "name="),
        (replace(config, experiment="stages"), "experiment="),
        (replace(config, data=Source("market1501", "nowhere")), "nowhere"),
        (replace(config, data=Source("market", config.data.root)), "no reader for 'market'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            run(TOY, bad)
    assert not Path(config.runs).exists()


@pytest.mark.faults
def test_prepare_says_what_differs_from_the_published_counts(config, capsys):
    found = run(TOY, config)["prepare"]["sources"]["data"]["differs"]
    assert found[0] == "train images 12,936 expected, 8 found"
    assert f"data: differs from the published: {found[0]}; " in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"runtime.accelerator=gpu, but torch sees no GPU here"):
        run(TOY, replace(config, runtime=replace(config.runtime, accelerator="gpu")))
    assert not Path(config.runs).exists()


@pytest.mark.faults
def test_the_tracking_servers_password_is_in_no_file_of_a_run(config, monkeypatch):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    run(TOY, replace(config, tracking_uri="http://me:swordfish@127.0.0.1:9"))
    written = b"".join(path.read_bytes() for path in Path(config.runs).rglob("*") if path.is_file())
    assert b"http://me:***@127.0.0.1:9" in written and b"swordfish" not in written


@pytest.mark.faults
def test_a_run_and_a_tables_row_with_too_many_unreadable_images_are_marked(config, monkeypatch, capsys):
    monkeypatch.setattr("reid_core.tracking.journal.LAST_TRY_SECONDS", 0.1)
    counted = {"mAP": 0.5, "num_unreadable_gallery": 2, "num_gallery": 100}
    score = Stage("score", lambda job: counted, {}, {"prepare": [part("data", "query")]})
    recipe = Recipe(
        "toy",
        "toy.cli",
        sources,
        lambda config: [sources(config).stage(), score],
        results=lambda summaries: {"mAP": 0.5} if "score" in summaries else {},
    )
    found = ablate(recipe, config, Table("k", "Tab. 9", [Row("one")], ["mAP"]))
    assert [row.incomplete for row in found] == [True]
    lines = (config.folder / "tables" / "k.csv").read_text().splitlines()
    assert [line.endswith("(incomplete)") for line in lines] == [False, True]
    said = capsys.readouterr().err
    assert said.count("incomplete: score: 2 of 100 gallery could not be read") == 1
    tags = (config.folder.with_name(f"{config.name}.k.one") / "tracking.jsonl").read_text()
    assert '"incomplete": "score: 2 of 100 gallery could not be read"' in tags


def test_force_does_a_stage_again_and_keeps_what_it_had(config):
    done(config)
    calls.clear()
    run(TOY, config, force=["multiply"])
    assert calls == ["multiply"]
    assert [entry.state for entry in store.entries(Path(config.runs)) if "multiply" in entry.folder.name] == [
        "done",
        "replaced",
    ]
    with pytest.raises(ValueError, match="no such stage"):
        run(TOY, config, force=["multiplication"])


@pytest.mark.faults
def test_an_interrupted_stage_resumes_in_its_own_folder(config):
    with pytest.raises(FloatingPointError):
        run(TOY, replace(config, fails=True))
    [unfinished] = [entry for entry in store.entries(Path(config.runs)) if entry.state == "unfinished"]
    assert "multiply" in unfinished.folder.name
    assert (unfinished.folder / "half.txt").exists()


@pytest.mark.faults
def test_files_of_something_else_are_not_taken_for_a_stages(config):
    done(config)
    [folder] = _stages(config, "multiply")
    (folder / "started.json").unlink()
    (folder / "stage.json").unlink()
    (folder / "mine.txt").write_text("x")
    with pytest.raises(StageError, match="no stage made it"):
        run(TOY, config)
    assert (folder / "mine.txt").exists()


@pytest.mark.faults
def test_a_damaged_record_is_named(config):
    done(config)
    [folder] = _stages(config, "multiply")
    (folder / "stage.json").write_text("{")
    with pytest.raises(StageError, match="stage.json is damaged"):
        run(TOY, config)


def test_a_run_folder_links_to_its_stages_and_moves_with_its_runs(config, tmp_path):
    done(config)
    link = config.folder / "multiply"
    assert link.is_symlink() and not os.path.isabs(os.readlink(link))
    Path(config.runs).rename(tmp_path / "elsewhere")
    assert done(replace(config, runs=str(tmp_path / "elsewhere"))) == []


def test_where_links_fail_a_text_file_points_to_the_stage(config, monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    done(config)
    assert (config.folder / "multiply.pointer").read_text().startswith("../../stages/toy-multiply-")
    assert {name for _, name, _ in store.links(Path(config.runs))} == {"prepare", "count", "multiply", "test"}


def test_gc_removes_what_no_run_refers_to_and_nothing_else(config, capsys):
    done(config)
    done(replace(config, factor=3))
    housekeeping.gc(SimpleNamespace(runs=config.runs, yes=False))
    assert "--yes removes them" in capsys.readouterr().out
    assert len(list(_stages(config, "multiply"))) == 2
    housekeeping.gc(SimpleNamespace(runs=config.runs, yes=True))
    assert len(list(_stages(config, "multiply"))) == 1
    assert done(replace(config, factor=3)) == []
    assert done(config) == ["multiply"]


def test_status_lists_every_stage_without_a_lock(config, capsys):
    done(config)
    with hold(config.folder, "run toy/run", wait=False):
        housekeeping.status(SimpleNamespace(runs=config.runs))
    said = capsys.readouterr().out
    assert said.count("toy/run") == said.count("done") == 4


def test_the_record_tells_what_a_result_came_from(config):
    done(config)
    [folder] = _stages(config, "multiply")
    record = store.record(folder)
    assert record["section"] == {"factor": 2, "fails": False}
    assert record["digest"].startswith(folder.name.rsplit("-", 1)[1])
    assert record["inputs"].keys() == {"count"} and "reid-core" in record["packages"]


def test_the_resolved_configuration_lies_in_the_run_folder(config):
    import yaml

    done(config)
    assert yaml.safe_load((config.folder / "config.yaml").read_text())["factor"] == 2


def test_scan_sees_names_sizes_and_times_at_any_depth_but_no_hidden_file(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x").write_text("1")
    seen = [scan(tmp_path)]
    (deep / ".hidden").write_text("1")
    assert scan(tmp_path) == seen[-1]
    for change in (
        lambda: (deep / "y").write_text("1"),
        lambda: (deep / "y").rename(deep / "z"),
        lambda: (deep / "z").write_text("22"),
        lambda: os.utime(deep / "z", ns=(1, 1)),
        lambda: (deep / "z").unlink(),
    ):
        change()
        seen.append(scan(tmp_path))
    assert len(set(seen[:-1])) == len(seen) - 1 and seen[-1] == seen[0]
    (tmp_path / "loop").symlink_to(tmp_path)
    scan(tmp_path)  # ends


OWNER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from reid_core.recipe.lease import hold

    with hold(Path(sys.argv[1]), "run toy/run", wait=False):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
    """
)


def owner(folder, seconds, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.faults
def test_a_living_owner_on_this_machine_is_named_at_once_and_a_dead_one_taken_over(tmp_path):
    folder = tmp_path / "run"
    process = owner(folder, 60)
    began = time.monotonic()
    with (
        pytest.raises(Busy, match=f"being written by process {process.pid} on this machine"),
        hold(folder, "run toy/run", wait=False),
    ):
        pass
    assert time.monotonic() - began < 5
    process.kill()
    process.wait()
    with hold(folder, "run toy/run", wait=False):
        assert time.monotonic() - began < 20


def test_who_waits_for_a_stage_gets_it_when_its_owner_ends(tmp_path, capsys):
    process = owner(tmp_path / "stage", 1.5)
    with hold(tmp_path / "stage", "stage s", wait=True):
        assert process.wait() == 0
    assert "waiting until it ends" in " ".join(capsys.readouterr().err.split())


@pytest.mark.faults
def test_an_owner_whose_lock_is_gone_writes_nothing_more(tmp_path):
    with (
        pytest.raises(OwnershipLost, match="the lock of run r was removed"),
        hold(tmp_path / "run", "run r", wait=False),
    ):
        write_atomically(tmp_path / "before.txt", "x")
        lock_file(tmp_path / "run").unlink()
        write_atomically(tmp_path / "after.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["before.txt"]


def test_unlock_refuses_a_living_owner_and_removes_a_dead_ones_lock(tmp_path):
    process = owner(tmp_path / "run", 60)
    with pytest.raises(ValueError, match="being written by"):
        housekeeping.unlock(SimpleNamespace(folder=str(tmp_path / "run")))
    process.kill()
    process.wait()
    assert housekeeping.unlock(SimpleNamespace(folder=str(tmp_path / "run"))) == 0
    assert not lock_file(tmp_path / "run").exists()


STOPPED = textwrap.dedent(
    """
    import os, signal, socket, sys
    from pathlib import Path

    socket.gethostname = lambda: "elsewhere"
    import filelock._identity
    filelock._identity.socket = socket
    from reid_core.files import OwnershipLost, write_atomically
    from reid_core.recipe.lease import hold

    folder = Path(sys.argv[1])
    try:
        with hold(folder, "run toy/run", wait=False):
            write_atomically(folder / "first.txt", "x")
            print("held", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            write_atomically(folder / "late.txt", "x")
    except OwnershipLost as error:
        print(error, flush=True)
        sys.exit(3)
    """
)


@pytest.mark.faults
def test_an_owner_elsewhere_that_stopped_is_waited_for_one_lease_and_writes_nothing_when_it_wakes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("reid_core.recipe.lease.LEASE_SECONDS", 2.0)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "REID_LEASE_SECONDS": "2"},
    )
    assert process.stdout.readline() == "held\n"
    began = time.monotonic()
    with hold(folder, "run toy/run", wait=False):
        assert time.monotonic() - began >= 1
        process.send_signal(signal.SIGCONT)
        assert process.wait(20) == 3
        assert "taken over by" in process.stdout.read()
        write_atomically(folder / "mine.txt", "x")
    assert sorted(path.name for path in folder.iterdir()) == ["first.txt", "mine.txt"]


@pytest.mark.faults
def test_nested_runs_that_a_kill_left_running_are_ended(config):
    """Their events say so to whichever server gets them."""
    with pytest.raises(FloatingPointError):
        run(TOY, replace(config, fails=True))
    path = config.folder / "tracking.jsonl"
    lines = path.read_text().splitlines()
    ends = [line for line in lines if json.loads(line)["event"] == "end"]
    path.write_text("\n".join(line for line in lines if line not in ends) + "\n")  # as a kill -9 leaves it
    run(TOY, config)
    state = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["event"] in ("start", "resume", "end"):
            state[event["run"]] = event["event"]
    assert set(state.values()) == {"end"}


def _stages(config, name):
    folder = Path(config.runs) / "stages"
    return sorted(
        path for path in folder.glob(f"*{name}-*") if path.is_dir() and ".replaced-" not in path.name
    )


@pytest.mark.faults
def test_a_copied_project_reads_its_own_images_and_not_the_old_places(config, tmp_path, monkeypatch):
    import shutil

    from reid_core.data import read

    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(config.data.root, old / "data")
    read("market1501", old / "data").table.to_csv(old / "data" / "mine.csv", index=False)
    mine = replace(config, runs="runs", data=Source("data/mine.csv"), synthetic=None)
    monkeypatch.chdir(old)
    run(TOY, mine)
    shutil.copytree(old, new, symlinks=True)
    monkeypatch.chdir(new)
    seen = []
    recipe = replace(TOY, check_data=lambda _, rows: seen.append(rows("data", "train").root))
    calls.clear()
    run(recipe, mine)
    assert calls == []  # all of it is done
    assert seen == [new / "data"]


@pytest.mark.faults
def test_a_root_that_only_a_manifest_file_knows_is_said(config, tmp_path, capsys):
    from reid_core.data import read

    file = read("market1501", config.data.root).save(tmp_path / "mine.parquet")
    for _ in range(2):
        run(TOY, replace(config, data=Source(str(file))))
        assert f"data: images in {config.data.root}, as {file} says" in capsys.readouterr().err


def test_a_manifest_file_is_a_source_and_its_content_decides(config, tmp_path):
    from reid_core.data import Manifest, read

    manifest = read("market1501", config.data.root)
    mine = replace(config, data=Source(str(manifest.save(tmp_path / "mine.parquet"))))  # it knows its root
    assert done(mine) == ["count", "multiply"]
    assert done(mine) == []
    fewer = manifest.where(manifest.table["path"] != manifest.select("train").table["path"].iat[0])
    Manifest(fewer.table, fewer.root, fewer.name).save(tmp_path / "mine.parquet")
    assert done(mine) == ["count", "multiply"]


def test_a_stage_that_reads_no_data_runs_without_them(config):
    alone = Recipe(
        "toy", "toy.cli", sources, lambda config: [*stages(config), Stage("alone", peek_at_roots, {})]
    )
    assert run(alone, config, "alone") == {"alone": {"roots": 0}}


def peek_at_roots(job):
    return {"roots": len(job.roots)}


def test_a_table_of_two_settings_is_drawn_as_a_heat_map_of_their_values(tmp_path):
    pairs = [(depth, length) for depth in (1, 3) for length in (4, 8, 16)]
    rows = [Row(f"{pair}", {"depth": pair[0], "length": pair[1]}) for pair in pairs]
    table = Table("figure_4", "Fig. 4", rows, ["mAP"], grid=("depth", "length"))
    found = [Found(row, "run", {"mAP": None if row is rows[0] else 70.0}) for row in rows]
    assert {path.suffix for path in write(table, found, tmp_path)} == {".csv", ".md", ".html", ".png"}
    (axes,) = heat_map(table, found, "depth", "length").axes
    (image,) = axes.images
    assert image.get_array().shape == (2, 3) and image.get_array().mask.sum() == 1
    assert len(axes.texts) == 5 and [label.get_text() for label in axes.get_xticklabels()] == ["4", "8", "16"]
