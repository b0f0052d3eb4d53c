"""The command line without labels: configs are read, bad input is an error before any long work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cion.cli import UNSUPERVISED_APP, main
from cion.unsupervised.config import Config, resolve_clusters
from reid_core.cli.recipes import parse_config
from reid_core.data.readers import READERS
from reid_core.data.readers.sources import MANIFEST_SUFFIXES
from reid_eval import PROTOCOLS, find_protocol
from reid_eval.protocols import MANIFEST_SUFFIXES as EVAL_SUFFIXES

CONFIGS = Path(__file__).parents[1] / "configs"


def parse(*arguments):
    return parse_config(UNSUPERVISED_APP, ["run", *arguments])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("u[sd]?_*.yaml")), ids=lambda path: path.stem)
def test_a_config_names_a_run_of_its_own(path):
    chosen = parse("--config", str(path))
    assert chosen.experiment == path.stem and (chosen.data.source is None) == path.stem.startswith("usl")
    assert chosen.clusters.rounds * chosen.train.steps > 0


def test_the_defaults_are_cluster_contrasts():
    config = Config()
    assert (config.clusters.rounds, config.clusters.identities * config.clusters.instances) == (50, 256)
    assert (config.train.steps, config.train.lr, config.train.weight_decay) == (200, 3.5e-4, 5e-4)


def test_options_override_the_file_and_keep_the_rest():
    chosen = parse("--config", str(CONFIGS / "usl_pku_reid.yaml"), "--train.steps", "7", "--data.root", "x")
    assert (chosen.train.steps, chosen.train.lr, chosen.data.root) == (7, 2e-3, "x")
    assert chosen.data.target.options["seed"] == 0 and chosen.data.target.name == "pku_reid"


def test_an_option_of_a_dictionary_is_a_number_beside_what_the_file_says():
    chosen = parse("--config", str(CONFIGS / "usl_pku_reid.yaml"), "--data.target.options.seed", "3")
    assert chosen.data.target.options == {"train_fraction": 42 / 62, "seed": 3}
    chosen = parse("--recipe", "released", "--changes.clusters.rounds", "2", "--changes.train.lr", "1e-4")
    found = resolve_clusters(chosen)
    assert (found.clusters.rounds, found.clusters.instances, found.train.lr) == (2, 8, 1e-4)


def test_every_reader_and_manifest_has_a_protocol_of_its_name():
    names = {name for reader in READERS.values() for name in reader.counts}
    assert set(READERS) <= names <= set(PROTOCOLS)
    assert find_protocol("mine.csv") is PROTOCOLS["manifest"] and set(MANIFEST_SUFFIXES) == set(EVAL_SUFFIXES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data.target.root and data.root are empty: give the folder of market1501"),
        (["--data.target.root", "nowhere"], "data.target.root: there is no folder nowhere"),
        (
            ["--data.target.root", ".", "--data.source.name", "msmt17"],
            "data.source.root and data.root are empty: give the folder of msmt17",
        ),
        (["--data.root", ".", "--model.weights", "none.pth"], "model.weights: there is no file none.pth"),
        (["--data.root", ".", "--evaluate.protocol", "duke"], "protocol=duke: expected one of market1501"),
        (["--data.root", ".", "--supervised.method", "mgn"], "Cluster Contrast compares one feature"),
        (["--data.root", ".", "--runtime.devices", "2"], "torchrun --nproc_per_node 2"),
    ],
)
def test_bad_input_is_one_line_and_status_1(arguments, message, tmp_path, capsys):
    assert main(["unsupervised", "run", "--runs", str(tmp_path / "runs"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cion unsupervised: ") and message in error and error.count("\n") == 1


def test_an_unknown_key_is_an_error(tmp_path, capsys):
    (tmp_path / "typo.yaml").write_text("clusters: {epsilon: 0.5}\n")
    assert main(["unsupervised", "run", "--config", str(tmp_path / "typo.yaml")]) == 1
    assert "epsilon" in capsys.readouterr().err


HELP = """
import sys
from cion.cli import main

for command in (["--help"], ["run", "--help"], ["tsne", "--help"], ["ablate", "--help"], ["zoo", "--help"],
                ["unsupervised", "--help"], ["unsupervised", "target", "--help"]):
    assert main(command) == 0
heavy = {"torch", "lightning", "sklearn", "pandas", "mlflow"} & set(sys.modules)
sys.exit(f"{heavy} were imported" if heavy else 0)
"""


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "sigma_cst" in done.stdout and "source" in done.stdout
