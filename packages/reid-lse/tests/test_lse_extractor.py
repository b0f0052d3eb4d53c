"""The whole path, from crops to regions, with the weight-free default and with anything a user passes."""

import pytest
import torch

from reid_lse import COCO_KEYPOINTS, LocalSemanticExtractor, grabcut, make_prompts, prior

SKIN, SHIRT, TROUSERS = (220, 170, 140), (200, 30, 40), (30, 40, 180)


def pedestrian(height=128, width=64, shift=0):
    """A person of flat colours on noisy green: head, shirt and trousers, and which pixel is which."""
    noise = torch.randint(0, 30, (3, height, width), generator=torch.Generator().manual_seed(shift + 50))
    image = (noise + torch.tensor([60, 140, 70])[:, None, None]).to(torch.uint8)
    label = torch.full((height, width), -1)
    middle = width // 2 + shift
    parts = ((0.03, 0.17, 0.055, SKIN), (0.18, 0.50, 0.11, SHIRT), (0.50, 0.96, 0.09, TROUSERS))
    for part, (top, bottom, half, colour) in enumerate(parts):
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(middle - half * height), round(middle + half * height))
        image[:, rows, columns] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
        label[rows, columns] = part
    return image, label


def overlap(mask, truth):
    return ((mask & truth).sum() / (mask | truth).sum()).item()


@pytest.mark.parametrize(("height", "width"), [(128, 64), (128, 48), (256, 128), (64, 44)])
def test_head_torso_and_legs_are_found_on_a_plain_pedestrian(height, width):
    image, label = pedestrian(height, width)
    regions = LocalSemanticExtractor()(image[None])
    assert regions.valid.all()
    for area in range(3):
        assert overlap(regions.masks[0, area], label == area) > 0.6


def test_true_keypoints_find_a_person_who_stands_aside():
    image, label = pedestrian(128, 96, shift=24)

    def aside(images):
        keypoints = prior([torch.zeros_like(image) for image in images])
        keypoints[..., 0] += 24
        return keypoints

    with_truth = LocalSemanticExtractor(keypoints=aside)(image[None]).masks[0]
    for area in range(3):
        assert overlap(with_truth[area], label == area) > 0.6


def test_a_batch_equals_its_crops_one_by_one():
    images = torch.stack([pedestrian(shift=shift)[0] for shift in (-6, 0, 5)])
    extract = LocalSemanticExtractor()
    batch = extract(images)
    for row, image in enumerate(images.flip(0)):
        alone = extract(image[None])
        assert torch.equal(alone.masks[0], batch.masks[2 - row])
        assert torch.equal(alone.crops[0], batch.crops[2 - row])


def test_a_list_of_sizes_is_padded_and_otherwise_the_same():
    images = [pedestrian(128, 64)[0], pedestrian(96, 80)[0]]
    extract = LocalSemanticExtractor()
    regions = extract(images)
    assert regions.masks.shape == (2, 3, 128, 80)
    assert not regions.masks[0, :, :, 64:].any()
    assert not regions.masks[1, :, 96:].any()
    for row, image in enumerate(images):
        _, height, width = image.shape
        alone = extract([image])
        assert torch.equal(regions.masks[row, :, :height, :width], alone.masks[0])
        assert torch.equal(regions.crops[row], alone.crops[0])


def test_default_areas_do_not_overlap_much_and_stay_on_the_person():
    image, label = pedestrian()
    masks = LocalSemanticExtractor()(image[None]).masks[0]
    assert (masks.sum(dim=0) > 1).float().mean() < 0.02
    assert (masks.any(dim=0) & (label < 0)).float().mean() < 0.1


def test_an_area_without_positives_is_invalid_and_the_others_stay():
    def headless(images):
        keypoints = prior(images)
        keypoints[:, :5, 2] = 0.1
        return keypoints

    regions = LocalSemanticExtractor(keypoints=headless)(pedestrian()[0][None])
    assert regions.valid.tolist() == [[False, True, True]]
    assert not regions.masks[0, 0].any()


def test_the_prior_moves_to_where_the_person_stands():
    image, _ = pedestrian(128, 96, shift=16)
    assert prior(image[None])[0, 0, 0].item() == pytest.approx(48 + 16, abs=2)
    assert prior(torch.full_like(image, 90)[None])[0, 0, 0] == 48


def test_no_keypoint_over_its_threshold_gives_no_region():
    regions = LocalSemanticExtractor(thresholds=0.99)(pedestrian()[0][None])
    assert not regions.valid.any()
    assert not regions.masks.any()
    assert not regions.crops.any()


def test_sides_are_the_persons_own():
    image, _ = pedestrian()
    left, right = LocalSemanticExtractor(areas=("left_leg", "right_leg"))(image[None]).masks[0]
    columns = torch.arange(64.0)
    # The prior sees people from the front: their left is the picture's right.
    assert (
        (left.sum(dim=0) * columns).sum() / left.sum() > 32 > (right.sum(dim=0) * columns).sum() / right.sum()
    )


def test_own_areas_and_any_segmenter_fit():
    def halves(images, keypoints, prompts):
        assert prompts.positive.shape == (len(images), 1, len(COCO_KEYPOINTS))
        masks = [torch.zeros(1, *image.shape[1:], dtype=torch.bool) for image in images]
        for mask in masks:
            mask[:, :64] = True
        return masks

    extract = LocalSemanticExtractor(
        segmenter=halves, areas={"face": ("nose",)}, size=(32, 32), min_quality=0
    )
    regions = extract(torch.full((2, 3, 128, 64), 9, dtype=torch.uint8))
    assert regions.crops.shape == (2, 1, 3, 32, 32)
    assert (regions.crops == 9).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 5), (700, 300)])
def test_odd_sizes_are_segmented_too(shape):
    regions = LocalSemanticExtractor()(torch.full((1, 3, *shape), 127, dtype=torch.uint8))
    assert regions.masks.shape == (1, 3, *shape)


def test_negatives_keep_an_area_from_its_neighbours():
    image, label = pedestrian()
    keypoints = prior(image[None])
    both = make_prompts(keypoints, ("torso",))
    without = both._replace(negative=torch.zeros_like(both.negative))
    spill = [grabcut(image[None], keypoints, p)[0][0][label == 2].sum().item() for p in (both, without)]
    assert spill[0] < spill[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: LocalSemanticExtractor(keypoints="magic"),
            ValueError,
            "unknown keypoints 'magic'; known are prior",
        ),
        (
            lambda: LocalSemanticExtractor(segmenter="sam"),
            ValueError,
            "unknown segmenter 'sam'; known are crf",
        ),
        (lambda: LocalSemanticExtractor(areas=("tail",)), ValueError, "unknown area 'tail'"),
        (
            lambda: LocalSemanticExtractor()(torch.zeros(1, 3, 8, 8)),
            TypeError,
            r"images\[0\] must be a uint8",
        ),
        (
            lambda: LocalSemanticExtractor()(torch.zeros(1, 1, 8, 8).byte()),
            ValueError,
            r"images\[0\] must be RGB",
        ),
        (
            lambda: LocalSemanticExtractor()(torch.zeros(3, 8, 8).byte()),
            ValueError,
            r"images must be \[b 3 h w\]",
        ),
        (lambda: LocalSemanticExtractor()([]), ValueError, "images is empty"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_dropping_low_confidence_beats_keeping_it_when_a_third_of_the_keypoints_is_wrong():
    """The point of Eq. 4."""
    generator = torch.Generator().manual_seed(0)
    dropped, kept = [], []
    for shift in (-4, 0, 4):
        image, label = pedestrian(shift=shift)
        keypoints = prior(image[None])
        wrong = torch.randperm(17, generator=generator)[:6]
        keypoints[0, wrong, :2] = torch.rand(6, 2, generator=generator) * torch.tensor([63.0, 127.0])
        keypoints[0, wrong, 2] = 0.25
        for overlaps, threshold in ((dropped, 0.3), (kept, 0.0)):
            masks = LocalSemanticExtractor(thresholds=threshold)(image[None], keypoints).masks[0]
            overlaps += [overlap(masks[area], label == area) for area in range(3)]
    assert sum(dropped) > sum(kept) + 0.5


def test_the_hidden_half_of_somebody_seen_from_the_side_is_not_background():
    image, label = pedestrian()
    keypoints = prior(image[None])
    keypoints[0, [COCO_KEYPOINTS.index(f"right_{joint}") for joint in ("shoulder", "hip")], 2] = 0
    keypoints[0, [COCO_KEYPOINTS.index(f"{side}_knee") for side in ("left", "right")], 2] = 0
    masks = LocalSemanticExtractor()(image[None], keypoints).masks[0]
    assert (masks[2] & (label == 2)).sum() > 0.6 * (label == 2).sum()


def test_a_hidden_shoulder_lies_across_the_trunk_where_the_hips_are_apart():
    """Seen from the front: taken to be where its counterpart is, it would cut the trunk slantwise."""
    image, label = pedestrian()
    keypoints = prior(image[None])
    keypoints[0, COCO_KEYPOINTS.index("right_shoulder"), 2] = 0
    torso = LocalSemanticExtractor()(image[None], keypoints).masks[0, 1]
    assert overlap(torso, label == 1) > 0.6


def test_feet_are_below_the_ankles():
    image, _ = pedestrian()
    keypoints = prior(image[None])
    feet, legs = LocalSemanticExtractor(areas=("feet", "legs"))(image[None], keypoints).masks[0]
    ankle = keypoints[0, COCO_KEYPOINTS.index("left_ankle"), 1]
    rows = feet.any(dim=1).nonzero()
    assert ankle - 6 < rows.min() < ankle + 4 < rows.max()
    assert legs.sum() > 3 * feet.sum()
