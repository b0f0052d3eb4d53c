"""Keypoint R-CNN takes the best person, keypoint files mean what COCO means, parsing needs no prompts."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from reid_lse import (
    LIP,
    KeypointRCNNPredictor,
    LocalSemanticExtractor,
    Parsing,
    build_keypoints,
    build_segmenter,
    load_keypoint_rcnn,
    read_keypoints,
)
from reid_lse.predictors.keypoint_rcnn import build_keypoint_rcnn
from reid_lse.segmenters.sam import SamSegmenter


class Detections(nn.Module):
    """Stands for a detector: nobody in black pictures, else two people, the second one the better."""

    def forward(self, images):
        self.shapes = [tuple(image.shape) for image in images]
        found = []
        for image in images:
            people = 2 if image.any() else 0
            points = torch.arange(people * 51.0).reshape(people, 17, 3)
            logits = torch.full((people, 17), 2.0)
            scores = torch.tensor([0.3, 0.8])[:people]
            found.append({"scores": scores, "keypoints": points, "keypoints_scores": logits})
        return found


def test_the_best_person_of_each_crop_is_taken_and_nobody_has_no_confidence():
    images = [torch.zeros(3, 40, 20).byte(), torch.full((3, 30, 20), 255, dtype=torch.uint8)]
    nobody, somebody = KeypointRCNNPredictor(Detections())(images)
    assert not nobody.any()
    assert torch.equal(somebody[:, :2], torch.arange(51.0, 102.0).reshape(17, 3)[:, :2])
    assert torch.allclose(somebody[:, 2], torch.tensor(0.5 * 0.8))


def test_slivers_are_padded_before_they_are_resized():
    detector = Detections()
    KeypointRCNNPredictor(detector)([torch.ones(3, 160, 1).byte(), torch.ones(3, 8, 8).byte()])
    assert detector.shapes == [(3, 160, 10), (3, 8, 8)]


COCO = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b/c.jpg"}],
    "annotations": [
        {"image_id": 7, "area": 5, "keypoints": [1, 2, 2] * 17},
        {"image_id": 7, "area": 50, "keypoints": [3, 4, 1] * 17},
        {"image_id": 9, "area": 5, "keypoints": [5, 6, 2] * 17},
    ],
}


def test_cocos_visibility_becomes_confidence_and_the_largest_person_is_taken(tmp_path):
    file = tmp_path / "person_keypoints.json"
    file.write_text(json.dumps(COCO))
    keypoints = read_keypoints(file).of(["b/c.jpg", "a.jpg"])
    assert keypoints.shape == (2, 17, 3)
    assert keypoints[0, 0].tolist() == [5, 6, 1]
    assert keypoints[1, 0].tolist() == [3, 4, 0.5]


def test_cocos_results_keep_their_confidences(tmp_path):
    file = tmp_path / "results.json"
    people = [{"image_id": "a.jpg", "score": s, "keypoints": [1, 2, s] * 17} for s in (0.25, 0.75)]
    file.write_text(json.dumps(people))
    assert read_keypoints(file).of(["a.jpg"])[0, 0].tolist() == [1, 2, 0.75]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected COCO keypoints as JSON"),
        ("{}", "expected COCO keypoints: images with id"),
        ("[1]", "expected COCO keypoints: images with id"),
        ('[{"image_id": "a", "keypoints": [1, 2, 3]}]', "annotation 0: expected 51 finite numbers"),
    ],
)
def test_other_files_are_refused_by_entry(tmp_path, content, message):
    file = tmp_path / "keypoints.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_keypoints(file)


def test_parquet_needs_its_columns(tmp_path):
    file = tmp_path / "keypoints.parquet"
    pq.write_table(pa.table({"path": ["a"], "keypoints": [[1.0] * 50]}), file)
    with pytest.raises(ValueError, match="row of 'a': expected 51 finite numbers"):
        read_keypoints(file)
    pq.write_table(pa.table({"path": ["a"]}), file)
    with pytest.raises(ValueError, match="columns path and keypoints"):
        read_keypoints(file)
    with pytest.raises(FileNotFoundError, match="no such file of keypoints"):
        read_keypoints(tmp_path / "none.json")


def test_a_parsing_model_gives_the_masks_whatever_the_prompts():
    def model(images):
        """Logits at half the size: hair above, trousers below."""
        return [torch.eye(20)[[2, 9]].T[:, :, None].repeat(1, 1, 4) for _ in images]

    areas = {name: LIP[name] for name in ("head", "legs")}
    images = torch.full((2, 3, 8, 4), 50, dtype=torch.uint8)
    regions = LocalSemanticExtractor(segmenter=Parsing(model, areas), areas=("head", "legs"))(images)
    assert torch.equal(regions.masks[0, 0], (torch.arange(8) < 4)[:, None].expand(8, 4))
    assert torch.equal(regions.masks[0, 1], ~regions.masks[0, 0])
    with pytest.raises(ValueError, match=r"has areas \('head', 'legs'\), but 3 areas"):
        LocalSemanticExtractor(segmenter=Parsing(model, areas))(images)


def test_a_segmenter_that_forgets_an_area_is_named():
    def one_mask(images, keypoints, prompts):
        return [torch.ones(1, *image.shape[1:], dtype=torch.bool) for image in images]

    with pytest.raises(ValueError, match=r"gave masks \(1, 8, 4\) for images\[0\]"):
        LocalSemanticExtractor(segmenter=one_mask)(torch.zeros(1, 3, 8, 4).byte())


@pytest.mark.slow
def test_the_full_sized_models_run_and_their_checkpoints_come_back(tmp_path):
    torch.manual_seed(0)
    images = [torch.randint(256, (3, 96, 48), dtype=torch.uint8) for _ in range(2)]
    detector = build_keypoint_rcnn()
    torch.save(detector.state_dict(), tmp_path / "rcnn.pth")
    predict = build_keypoints("keypointrcnn_resnet50_fpn", checkpoint=tmp_path / "rcnn.pth")
    keypoints = predict(images)
    assert keypoints.shape == (2, 17, 3)
    assert torch.equal(keypoints, KeypointRCNNPredictor(detector)(images))
    with pytest.raises(ValueError, match="expected the weights of sam_vit_b, but it holds no official SAM"):
        build_segmenter("sam_vit_b", checkpoint=tmp_path / "rcnn.pth")

    from segment_anything import sam_model_registry

    sam = sam_model_registry["vit_b"]()
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="these weights do not fit KeypointRCNN"):
        load_keypoint_rcnn(tmp_path / "sam.pth")
    segment = build_segmenter("sam_vit_b", checkpoint=tmp_path / "sam.pth")
    extract = LocalSemanticExtractor(segmenter=segment)
    together = extract(images).masks
    assert together.shape == (2, 3, 96, 48)
    alone = LocalSemanticExtractor(segmenter=SamSegmenter(sam))(images[1:]).masks[0]
    union = (alone | together[1]).sum()
    assert (alone & together[1]).sum() >= 0.99 * union
    packed = LocalSemanticExtractor(segmenter=SamSegmenter(sam, pack=32))(images).masks
    assert packed.shape == together.shape


def test_keypoints_given_are_not_predicted_again():
    def never(images):
        raise AssertionError("predicted")

    images = torch.zeros(1, 3, 16, 8).byte()
    keypoints = torch.rand(1, 17, 3)
    regions = LocalSemanticExtractor(keypoints=never)(images, keypoints)
    assert np.array_equal(regions.keypoints, keypoints)
    with pytest.raises(ValueError, match="expected keypoints of 1 images, got 2 rows"):
        LocalSemanticExtractor()(images, keypoints.repeat(2, 1, 1))
