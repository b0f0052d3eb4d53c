"""The random field's masks, the quality of any mask, and areas on other keypoint sets."""

import numpy as np
import pytest
import torch

from reid_lse import (
    BLAZEPOSE_LANDMARKS,
    COCO_KEYPOINTS,
    CRFOptions,
    CRFSegmenter,
    LocalSemanticExtractor,
    Pose,
    grabcut,
    indicator,
    make_prompts,
    mask_quality,
    prior,
)
from reid_lse.keypoint_sets import COCO_WHOLEBODY, HALPE_26, coco_first
from reid_lse.random_field import contrast_edges, mean_field


def person(height=128, width=64, shade=200):
    """A person in three colours on noise, and which pixel is which."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 60, (3, height, width), generator=generator, dtype=torch.uint8)
    label = torch.full((height, width), -1)
    for part, (top, bottom, half) in enumerate(((0.03, 0.17, 0.055), (0.18, 0.5, 0.11), (0.5, 0.96, 0.09))):
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(width / 2 - half * height), round(width / 2 + half * height))
        colour = torch.tensor([shade - 30 * part, 80 + 50 * part, 60], dtype=torch.uint8)
        image[:, rows, columns] = colour[:, None, None]
        label[rows, columns] = part
    return image, label


def overlap(mask, truth):
    return ((mask & truth).sum() / (mask | truth).sum()).item()


def test_mean_field_updates_are_their_equation():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (4, 5, 3)).astype(np.uint8)
    unary = rng.normal(size=(4, 5)).astype(np.float32)
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if dy * dy + dx * dx in (1, 2, 5)]
    pairs = [
        (y, x, y + dy, x + dx) for y in range(4) for x in range(5) for dy, dx in steps
        if 0 <= y + dy < 4 and 0 <= x + dx < 5
    ]  # fmt: skip
    square = {pair: float(((image[pair[:2]] * 1.0 - image[pair[2:]]) ** 2).sum()) for pair in pairs}
    mean = np.mean(list(square.values()))
    state = np.tanh(unary / 2)
    pull = np.zeros_like(unary)
    for y, x, v, u in pairs:
        pull[y, x] += np.exp(-square[y, x, v, u] / (2 * mean)) / np.hypot(y - v, x - u) * state[v, u]
    assert np.allclose(mean_field(unary, contrast_edges(image), 1.5, 1), unary + 1.5 * pull, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(128, 64), (256, 128), (64, 40)])
def test_the_field_finds_the_areas_of_a_plain_person(height, width):
    image, label = person(height, width)
    regions = LocalSemanticExtractor(segmenter="crf")(image[None])
    assert regions.valid.all()
    for area in range(3):
        assert overlap(regions.masks[0, area], label == area) > 0.75


def test_masks_of_a_batch_are_those_of_single_crops():
    images = [person(128, 64)[0], person(96, 80)[0], person(128, 64, 120)[0]]
    keypoints = prior(images)
    together = CRFSegmenter()(images, keypoints, make_prompts(keypoints))
    for row, image in enumerate(images):
        points = keypoints[row : row + 1]
        alone = CRFSegmenter()([image], points, make_prompts(points))
        assert torch.equal(alone.masks[0], together.masks[row])
        assert torch.equal(alone.quality[0], together.quality[row])


def test_a_person_mask_says_where_the_person_is():
    """On a picture of one colour, nothing else could."""
    image = torch.full((3, 128, 64), 120, dtype=torch.uint8)
    person_mask = torch.zeros(128, 64)
    person_mask[4:124, 20:44] = 1.0
    keypoints = prior([image])

    def predict(images):
        return Pose(keypoints, [person_mask] * len(images))

    masks = LocalSemanticExtractor(predict)(image[None]).masks[0].any(dim=0)
    assert overlap(masks, person_mask > 0.5) > 0.9


def test_a_segmenter_that_takes_no_person_mask_is_not_given_one():
    image, _ = person()
    keypoints = prior([image])
    extract = LocalSemanticExtractor(lambda images: Pose(keypoints, [torch.ones(128, 64)]), "grabcut")
    assert torch.equal(extract(image[None]).masks[0], grabcut([image], keypoints, make_prompts(keypoints))[0])


def test_parts_of_a_mask_that_touch_no_limb_are_dropped():
    image, _ = person()
    image[:, 60:80, 0:6] = image[:, 40:41, 32:33]  # the torso's colour, far from any limb
    masks = LocalSemanticExtractor()(image[None]).masks[0]
    assert not masks[1][62:78, 0:4].any()


def test_quality_is_higher_where_outline_and_limbs_agree_with_the_mask():
    image, label = person()
    keypoints = prior([image])
    prompts = make_prompts(keypoints)
    truth = torch.stack([label == area for area in range(3)])
    moved = truth.roll(10, dims=2)
    good = mask_quality([image], [truth], keypoints, prompts)
    bad = mask_quality([image], [moved], keypoints, prompts)
    assert (good > bad + 0.05).all()
    assert not mask_quality([image], [torch.zeros_like(truth)], keypoints, prompts).any()
    unsure = keypoints * torch.tensor([1, 1, 0.6])
    assert (mask_quality([image], [truth], unsure, make_prompts(unsure, thresholds=0.1)) < good).all()


def test_the_fields_own_quality_is_that_of_its_masks():
    image, _ = person()
    keypoints = prior([image])
    prompts = make_prompts(keypoints)
    found = CRFSegmenter()([image], keypoints, prompts)
    assert torch.allclose(found.quality, mask_quality([image], found.masks, keypoints, prompts), atol=1e-4)


def test_areas_below_the_least_quality_are_invalid_and_keep_their_masks():
    image, _ = person()
    regions = LocalSemanticExtractor(min_quality=1.0)(image[None])
    assert regions.masks.any(dim=(2, 3)).all()
    assert not regions.valid.any() and not regions.crops.any()


def test_options_of_the_field_change_its_masks():
    image, _ = person()
    assert not torch.equal(
        LocalSemanticExtractor()(image[None]).masks,
        LocalSemanticExtractor(segmenter=CRFSegmenter(CRFOptions(colour=0.0, coupling=0.0)))(
            image[None]
        ).masks,
    )


@pytest.mark.parametrize("names", [BLAZEPOSE_LANDMARKS, COCO_WHOLEBODY, HALPE_26])
def test_named_areas_take_the_points_that_belong_to_them_on_any_set(names):
    inside = dict(zip(("head", "legs", "feet"), indicator(("head", "legs", "feet"), names), strict=True))
    heels = [index for index, name in enumerate(names) if "heel" in name]
    assert inside["feet"][heels].all() and inside["legs"][heels].all() and not inside["head"][heels].any()
    body = [names.index(name) for name in COCO_KEYPOINTS]
    assert torch.equal(inside["head"][body], indicator(("head",))[0])


def test_more_keypoints_find_the_same_areas():
    image, label = person()
    points = torch.zeros(1, len(HALPE_26), 3)
    points[0, :17] = prior([image])[0]

    def predict(images):
        return points

    predict.names = HALPE_26
    regions = LocalSemanticExtractor(
        predict,
        areas={
            "head": COCO_KEYPOINTS[:5],
            "legs": ("left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
        },
    )(image[None])
    assert overlap(regions.masks[0, 0], label == 0) > 0.7
    with pytest.raises(ValueError, match="area 'face': unknown keypoint 'chin'"):
        LocalSemanticExtractor(predict, areas={"face": ("chin",)})


def test_sets_that_lack_keypoints_are_brought_into_cocos_order():
    columns = coco_first(("left_heel", "right_ankle", "nose"))
    assert columns[0] == 2 and columns[16] == 1 and columns[1] == -1 and columns[17:] == (0,)
