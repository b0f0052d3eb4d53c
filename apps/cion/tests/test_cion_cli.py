"""The command line: configs are read, bad input is an error that names it before any long work."""

from __future__ import annotations

from pathlib import Path

import pytest

from cion.cli import build_parser, main
from cion.config import Config, Evaluation, check
from reid_core.data.readers import READERS
from reid_core.data.readers.sources import MANIFEST_SUFFIXES
from reid_eval import PROTOCOLS, find_protocol
from reid_eval.protocols import MANIFEST_SUFFIXES as EVAL_SUFFIXES

CONFIGS = Path(__file__).parents[1] / "configs"


def parse(*arguments):
    parser = build_parser()
    return parser.instantiate(parser.parse_args(["unsupervised", *arguments])).unsupervised


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("u[sd]?_*.yaml")), ids=lambda path: path.stem)
def test_a_config_names_a_run_of_its_own(path):
    chosen = parse("--config", str(path))
    assert chosen.experiment == path.stem and (chosen.source is None) == path.stem.startswith("usl")
    assert chosen.clusters.rounds * chosen.train.steps > 0


def test_the_defaults_are_cluster_contrasts():
    config = Config()
    assert (config.clusters.rounds, config.clusters.identities * config.clusters.instances) == (50, 256)
    assert (config.train.steps, config.train.lr, config.train.weight_decay) == (200, 3.5e-4, 5e-4)


def test_options_override_the_file_and_keep_the_rest():
    chosen = parse("--config", str(CONFIGS / "usl_pku_reid.yaml"), "--train.steps", "7", "--target.root", "x")
    assert (chosen.train.steps, chosen.train.lr, chosen.target.root) == (7, 2e-3, "x")
    assert chosen.target.options["seed"] == 0 and chosen.evaluate.protocol == "pku_reid"


def test_every_reader_and_manifest_has_a_protocol_of_its_name():
    names = {name for reader in READERS.values() for name in reader.counts}
    assert set(READERS) <= names <= set(PROTOCOLS)
    assert find_protocol("mine.csv") is PROTOCOLS["manifest"] and set(MANIFEST_SUFFIXES) == set(EVAL_SUFFIXES)


def test_an_unknown_protocol_is_refused_with_the_list():
    with pytest.raises(ValueError, match="protocol=duke: expected one of market1501, .*people"):
        check(Config(evaluate=Evaluation(protocol="duke")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "target.root is empty: give the folder of market1501"),
        (["--target.root", "nowhere"], "target.root: there is no folder nowhere"),
        (
            ["--target.root", ".", "--source.name", "msmt17"],
            "source.root is empty: give the folder of msmt17",
        ),
        (["--target.root", ".", "--model.weights", "none.pth"], "model.weights: there is no file none.pth"),
        (["--target.root", ".", "--train.devices", "2"], "runs on one device"),
    ],
)
def test_bad_input_is_one_line_and_status_1(arguments, message, tmp_path, capsys):
    assert main(["unsupervised", "--runs", str(tmp_path / "runs"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cion: ") and message in error and error.count("\n") == 1


def test_an_unknown_key_is_an_error(tmp_path, capsys):
    (tmp_path / "typo.yaml").write_text("clusters: {epsilon: 0.5}\n")
    with pytest.raises(SystemExit) as ended:
        main(["unsupervised", "--config", str(tmp_path / "typo.yaml")])
    assert ended.value.code == 2 and "epsilon" in capsys.readouterr().err
