"""Model folders: what is saved is what is loaded, in a bare process; anything else is refused by name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from reid_core.models import (
    Embedder,
    ModelConfig,
    Preprocessing,
    ReIDModel,
    build_backbone,
    embedder,
    folder,
    load,
    save,
)
from reid_core.models.builders import build
from reid_core.models.parts import BranchedModel, ClassFeature, MGNExtractor, TransReIDExtractor

SIZE = (64, 32)
FACTS = {"training_data": ["nobody"], "license": "apache-2.0"}
TINY = {"backbone": "vit_nano_patch8", "image_size": SIZE, "options": {"depth": 1}}
RESNET = {"backbone": "resnet18", "image_size": SIZE}
BACKBONES = {
    "vit_nano_patch8": {"depth": 1},
    "vit_pico_conv8": {"depth": 1},
    "vit_tiny": {"depth": 1},
    "resnet18_ibn": {},
    "ghostnet_0_5": {},
    "edgenext_x_small": {},
    "repvit_m0_9": {},
    "swin_tiny": {"depths": (2, 2, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)},
    "convnext_atto": {},
    "mobilenetv3_small_050": {},
}
"""Of ReIDZoo, of our own and of timm."""
LOAD = """
import sys
from pathlib import Path
import numpy as np
from reid_core.models import load

images = sorted(Path(sys.argv[1]).iterdir())
for folder in sys.argv[2:]:
    np.save(folder + ".npy", load(folder).embed(images, device="cpu"))
loaded = {name.partition(".")[0] for name in sys.modules}
sys.exit(", ".join(loaded & {"lightning", "pytorch_lightning", "mlflow", "sklearn"}) or 0)
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 20, 3), dtype=np.uint8)


def random_model(builder: str = "bnneck", arguments: dict | None = None) -> nn.Module:
    """With every weight and statistic away from its initial value."""
    torch.manual_seed(1)
    model = build(builder, TINY if arguments is None else arguments)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return model


def embed(model: nn.Module) -> np.ndarray:
    return Embedder(model, Preprocessing(SIZE)).embed(IMAGES, device="cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A whole model folder, to be left as it is."""
    path = tmp_path_factory.mktemp("saved") / "tiny"
    save(path, random_model(), "bnneck", TINY, Preprocessing(SIZE), **FACTS)
    return path


@pytest.fixture
def tiny(saved, tmp_path) -> Path:
    """A whole model folder."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


@pytest.mark.parametrize(
    "names",
    [
        ["vit_nano_patch8", "swin_tiny", "mobilenetv3_small_050"],
        pytest.param([*BACKBONES], marks=pytest.mark.slow, id="ten backbones"),
    ],
    ids=len,
)
def test_backbones_give_the_same_features_in_a_process_without_the_training_stack(tmp_path, names) -> None:
    expected = {}
    for name in names:
        arguments = {"backbone": name, "image_size": SIZE, "options": BACKBONES[name]}
        model = random_model("bnneck", arguments)
        save(tmp_path / name, model, "bnneck", arguments, Preprocessing(SIZE), **FACTS)
        expected[name] = embed(model)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    folders = [str(tmp_path / name) for name in ("images", *names)]
    subprocess.run([sys.executable, "-c", LOAD, *folders], check=True)
    for name, rows in expected.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), rows), name
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        assert files == ["README.md", "config.json", "model.safetensors"]


def trained(method: str) -> tuple[nn.Module, dict]:
    """As cion fine-tunes, with classifiers."""
    arguments = RESNET if method == "mgn" else TINY
    options = arguments.get("options", {})
    encoder = build_backbone(arguments["backbone"], SIZE, **options)
    if method == "bnneck":
        return ReIDModel(ClassFeature(encoder), encoder.dim, num_classes=5), arguments
    part = MGNExtractor if method == "mgn" else TransReIDExtractor
    return BranchedModel(part(encoder), num_classes=5), arguments


@pytest.mark.parametrize("method", ["bnneck", "transreid", "mgn"])
def test_fine_tuned_models_are_saved_without_their_classifiers(tmp_path, method) -> None:
    model, arguments = trained(method)
    with pytest.raises(ValueError, match=r"unexpected: .*classifier.weight.*without_classifier"):
        save(tmp_path, model, method, arguments, Preprocessing(SIZE), **FACTS)
    save(tmp_path, model.without_classifier(), method, arguments, Preprocessing(SIZE), **FACTS)
    assert np.array_equal(load(tmp_path).embed(IMAGES, device="cpu"), embed(model))
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "classifier" in name]


def test_a_backbone_without_a_neck_has_a_builder(tmp_path) -> None:
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=1)
    save(tmp_path, ClassFeature(encoder), "backbone", TINY, Preprocessing(SIZE), **FACTS)
    assert load(tmp_path).dim == encoder.dim


def test_arguments_that_build_something_else_from_the_same_weights_are_refused(tmp_path) -> None:
    model = random_model("bnneck", {**RESNET, "options": {"last_stride": 2}})
    with pytest.raises(ValueError, match="gives other features than the model, with the same weights"):
        save(tmp_path / "a", model, "bnneck", RESNET, Preprocessing(SIZE), **FACTS)
    assert not (tmp_path / "a").exists()


def test_arguments_that_json_has_not_are_refused(tmp_path) -> None:
    with pytest.raises(TypeError, match="can't be written as JSON"):
        arguments = {**TINY, "options": {"act_layer": nn.ReLU}}
        save(tmp_path, random_model(), "bnneck", arguments, Preprocessing(SIZE), **FACTS)


@pytest.mark.faults
def test_an_interrupted_save_leaves_no_model_folder(tiny, monkeypatch) -> None:
    def interrupt(config: ModelConfig) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "model_card", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tiny, random_model(), "bnneck", TINY, Preprocessing(SIZE), **FACTS)
    with pytest.raises(FileNotFoundError, match="no model folder: it has no config.json"):
        load(tiny)


def test_settings_come_back(tmp_path) -> None:
    preprocessing = Preprocessing(
        SIZE, (0.5, 0.5, 0.5), (1, 1, 1), "bicubic", per_image=True, frames=2, frame_size=(16, 8)
    )
    config = save(
        tmp_path, random_model(), "bnneck", TINY, preprocessing, metric="euclidean", flip=True, **FACTS
    )
    model = load(tmp_path)
    assert (model.preprocessing, model.metric, model.flip) == (preprocessing, "euclidean", True)
    assert model.config == config and config.training_data == ("nobody",)


def test_the_card_tells_the_facts(tiny) -> None:
    card = (tiny / "README.md").read_text()
    assert card.startswith("---\n") and "license: apache-2.0" in card
    for fact in ("| nobody |", "| 64 x 32 |", "128 numbers", "`bnneck`", "cosine"):
        assert fact in card


def test_saving_and_loading_draw_nothing_from_the_caller_s_random_numbers(tiny, tmp_path) -> None:
    model = random_model()
    state = torch.get_rng_state()
    load(tiny)
    save(tmp_path / "a", model, "bnneck", TINY, Preprocessing(SIZE), **FACTS)
    assert torch.equal(torch.get_rng_state(), state)


def change_config(tiny: Path, **values) -> None:
    file = tiny / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"builder": "unheard-of"}, "no builder named 'unheard-of': there are .*bnneck.*install the package"),
        ({"builder": "os.system"}, "'os.system' is not a name: .*a path to a class is never imported"),
        ({"builder": "reid_core.models.retrieval:bnneck"}, "is not a name"),
        ({"builder": None}, "names no builder"),
        ({"arguments": {"backbone": "resnet18"}}, "builder 'bnneck' can't build with .*image_size"),
        ({"arguments": {**TINY, "backbone": "resnet1"}}, "no backbone named 'resnet1'"),
        ({"arguments": {**TINY, "options": {"checkpoint_path": "a.pth"}}}, "checkpoint_path of a backbone"),
        ({"arguments": {**TINY, "options": {"pretrained": True}}}, "pretrained of a backbone would fetch"),
        (
            {"arguments": {"backbone": "resnet18", "image_size": SIZE, "options": {"features_only": True}}},
            "can't",
        ),
        ({"arguments": {**TINY, "options": {"depth": 2}}}, r"missing: extractor.encoder.vit.blocks.1.\S+, "),
        ({"arguments": {**TINY, "options": {"depth": 0}}}, r"unexpected: extractor.encoder.vit.blocks.0.\S+"),
        (
            {"arguments": {**TINY, "options": {"depth": 1, "mlp_ratio": 2}}},
            r"of another shape or type: \S+fc1.weight float\[512, 128\] instead of float\[256, 128\], ",
        ),
        ({"dim": 64}, "config.json doesn't fit its model: .*of length 128; expected 64"),
        ({"dim": 0}, "config.json: dim: got 0"),
        ({"format_version": 99}, "format_version 99; this reid-core reads 1: install a newer one"),
        ({"builders": "bnneck"}, "keys of ModelConfig: missing .., unknown .'builders'."),
        ({"preprocessing": {}}, "keys of Preprocessing: missing .'size'."),
        ({"preprocessing": {"size": [64]}}, "config.json: preprocessing.size: got .64."),
        ({"metric": "cosinus"}, "metric: got 'cosinus'"),
        ({"flip": "no"}, "flip: got 'no'"),
        ({"training_data": []}, "training_data: got ..; expected at least one name"),
        ({"license": ""}, "license: got ''"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_refused(tiny, values, message) -> None:
    change_config(tiny, **json.loads(json.dumps(values)))
    with pytest.raises(ValueError, match=message):
        load(tiny)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS, "is a git-LFS pointer, not the file itself"),
        (b"<!DOCTYPE html>\n<html>", "is a web page"),
        (b"\n <html lang='en'>", "is a web page"),
        (b"PK\x03\x04 a pickle", "model.safetensors is not a whole safetensors file|config.json: "),
        (b"", "model.safetensors is not a whole safetensors file|config.json: "),
    ],
)
def test_files_that_are_something_else_are_refused(tiny, name, content, message) -> None:
    (tiny / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load(tiny)
    assert name in str(error.value)


@pytest.mark.faults
def test_truncated_weights_are_refused(tiny) -> None:
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(tiny)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tiny, number) -> None:
    state = load_file(tiny / "model.safetensors")
    state["neck.weight"][3] = number
    save_file(state, tiny / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors: tensors not finite: neck.weight. "):
        load(tiny)
    model = random_model()
    model.neck.weight.data[3] = number
    with pytest.raises(ValueError, match="not finite: neck.weight"):
        save(tiny, model, "bnneck", TINY, Preprocessing(SIZE), **FACTS)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
@pytest.mark.faults
def test_pickled_weights_are_not_looked_at(tiny, name) -> None:
    (tiny / "model.safetensors").rename(tiny / name)
    with pytest.raises(FileNotFoundError, match="it has no model.safetensors"):
        load(tiny)
    with pytest.raises(ValueError, match="is no .onnx, .xml or .torchscript file: give a model folder"):
        load(tiny / name)


def test_a_folder_s_preprocessing_is_its_own(tiny) -> None:
    with pytest.raises(ValueError, match="channels can't be given"):
        load(tiny, channels="BGR")


def test_a_hub_id_is_fetched(tiny, monkeypatch) -> None:
    asked = {}

    def fetch(repo_id: str, **options) -> str:
        asked.update(options, repo_id=repo_id)
        return str(tiny)

    monkeypatch.setattr(embedder, "snapshot_download", fetch)
    model = Embedder.from_pretrained("someone/tiny", revision="v1")
    assert model.dim == 128
    assert asked["repo_id"] == "someone/tiny" and asked["revision"] == "v1"
    assert asked["allow_patterns"] == ["config.json", "model.safetensors"]


def test_a_hub_that_can_t_be_reached_is_said(monkeypatch) -> None:
    def fail(repo_id: str, **options) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(embedder, "snapshot_download", fail)
    message = "no folder someone/tiny here, and as a hub's model it can't be fetched .no route to host"
    with pytest.raises(FileNotFoundError, match=message):
        load("someone/tiny")
    with pytest.raises(FileNotFoundError, match="there is no folder or file a/b/c"):
        load("a/b/c")


def test_a_loaded_model_is_saved_again_and_pushed(tiny, tmp_path, monkeypatch) -> None:
    model = Embedder.from_pretrained(tiny)
    model.save_pretrained(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tiny / name).read_bytes(), name
    pushed = {}

    def upload(self: object, folder_path: Path, **options) -> str:
        pushed.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()})
        return "url"

    repository = type("Repository", (), {"repo_id": "someone/tiny"})
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, **options: repository)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert model.push_to_hub("someone/tiny") == "url"
    assert pushed == {path.name: path.read_bytes() for path in tiny.iterdir()}


def test_a_wrapped_model_without_a_builder_can_t_be_saved(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no builder"):
        Embedder(nn.Flatten(), Preprocessing((2, 1))).save_pretrained(tmp_path)


def test_the_readme_s_example_runs(tmp_path, monkeypatch) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    section = readme[readme.index("## Model folders") :]
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})
