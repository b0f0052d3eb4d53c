"""TransReID's side information in fine-tuning: the embedding, the model folder, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.io import read_image

from cion.checks import check_cameras
from cion.cli import main
from cion.config import FinetuneConfig, Network
from cion.networks import build_reid, read_network, save_network
from reid_core.data.manifest import Manifest

NETWORK = Network("vit_nano_patch8", {"depth": 2}, (64, 32))
SETTINGS = FinetuneConfig(
    method="transreid", descriptor="before", jigsaw_shift=4, margin=None, side_information=True
)
COEFFICIENT = 3.0  # lambda of He et al. 2021, section 4.2


@pytest.fixture
def model():
    found = build_reid(NETWORK, SETTINGS, 5, seed=0, camids=[2, 5, 7])
    torch.nn.init.normal_(found.extractor.side.embedding)
    return found.eval()


def test_a_cameras_row_times_three_is_added_to_every_token(model):
    images, camid = torch.rand(3, 3, 64, 32), torch.tensor([7, 2, 5])
    vit, rows = model.extractor.encoder.vit, model.extractor.side.embedding
    z = vit.patch_embed(images).flatten(1, 2)
    z = torch.cat([vit.cls_token.expand(3, -1, -1), z], dim=1) + vit.pos_embed  # eq. 2
    z = z + COEFFICIENT * rows[torch.tensor([2, 0, 1])].unsqueeze(1)  # eq. 6
    for block in vit.blocks:
        z = block(z)
    want = vit.norm(z)[:, 0]
    torch.testing.assert_close(model.features(images, camid)[0], want)
    assert not torch.allclose(model(images, camid), model(images, torch.tensor([2, 2, 2])))


def test_the_model_folder_has_the_cameras_and_the_jigsaws_shift(model, tmp_path):
    save_network(tmp_path, model, NETWORK, ["none"])
    again, _ = read_network(tmp_path / "model")
    images, camid = torch.rand(2, 3, 64, 32), torch.tensor([5, 7])
    torch.testing.assert_close(again(images, camid), model(images, camid))


def test_a_fine_tuning_with_side_information_is_evaluated_with_each_images_camera(tiny):
    side = ["--finetune.method", "transreid", "--finetune.side_information", "true"]
    run = ["evaluate", *tiny.command, "--name", "side", "--variants", "[none]", *side]
    assert main(run) == 0
    folder = tiny.folder.with_name("side")
    trained, transform = read_network(folder / "finetune" / "none" / "model")
    (manifest,) = (folder / "prepare").glob("data.target.parquet")
    rows = Manifest.load(manifest, tiny.data / "target").select("query")
    assert trained.camids.tolist() == sorted(set(rows.camids.tolist()))
    images = torch.stack([transform(read_image(str(file))) for file in rows.files])
    with torch.inference_mode():
        want = trained(images, torch.from_numpy(rows.camids))
    found = np.load(folder / "evaluate" / "none" / "query.npy")
    np.testing.assert_allclose(found, want.numpy(), rtol=1e-4, atol=1e-5)


def test_a_test_camera_that_is_none_of_the_trainings_is_refused(tmp_path):
    def rows(split, camids):
        paths = [f"{split}{camid}" for camid in camids]
        return Manifest(
            pd.DataFrame({"path": paths, "pid": 1, "camid": camids, "split": split}), tmp_path, "mine"
        )

    train = rows("train", [1, 2])
    check_cameras("finetune", SETTINGS, train, rows("query", [1]), rows("gallery", [2]))
    with pytest.raises(ValueError, match=r"mine has camera 3, the training images have \[1, 2\]"):
        check_cameras("finetune", SETTINGS, train, rows("query", [3]))
    check_cameras("finetune", replace(SETTINGS, side_information=False), train, rows("query", [3]))


@pytest.mark.parametrize(
    "backbone, method", [("resnet18", "transreid"), ("vit_nano_patch8", "bag_of_tricks")]
)
def test_side_information_goes_with_transreid_on_a_vision_transformer(backbone, method):
    network = Network(backbone, image_size=(64, 32))
    with pytest.raises(ValueError, match="side_information goes with method=transreid"):
        build_reid(network, replace(SETTINGS, method=method), 5, seed=0, camids=[1])
