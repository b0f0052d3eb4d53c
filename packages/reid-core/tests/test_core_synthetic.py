"""The synthetic world: determinism, truth and dials."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from reid_core.synthetic import BYSTANDERS, PARTS, World
from reid_core.synthetic.figure import IDENT, SEGMENTS
from reid_core.synthetic.person import sample_body
from reid_core.synthetic.pose import INDEX, View, project, walk

SMALL = dict(identities=8, cameras=3, seed=5)
CLEAR = dict(occlusion=0.0, clutter=0.0, box_jitter=0.0)


def test_a_frame_is_a_pure_function_of_its_arguments_and_the_seed():
    asked = [(identity, camera, 1, frame) for identity in (0, 3) for camera in (0, 2) for frame in (0, 7)]
    forwards = [World(**SMALL).render(*arguments) for arguments in asked]
    backwards = [World(**SMALL).render(*arguments) for arguments in reversed(asked)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("place", range(4))
def test_every_argument_changes_the_picture(place):
    asked = [1, 1, 1, 1]
    other = list(asked)
    other[place] += 1
    world = World(**SMALL)
    assert np.any(world.render(*asked).image != world.render(*other).image)


def test_the_seed_changes_the_people():
    assert np.any(World(seed=1).render(0, 0, 0, 0).image != World(seed=2).render(0, 0, 0, 0).image)


@pytest.mark.parametrize("size", [(128, 64), (64, 32), (256, 128)])
def test_crops_have_the_asked_size(size):
    crop = World(**SMALL, height=size[0], width=size[1]).render(0, 0, 0, 0)
    assert crop.image.shape == (*size, 3) and crop.image.dtype == np.uint8
    assert crop.labels.shape == size and crop.labels.dtype == np.uint8
    assert crop.keypoints.shape == (17, 3) and crop.keypoints.dtype == np.float32


# What a visible keypoint can lie on, in COCO order.
ON = [{"head"}] * 5 + [{"arms", "torso"}] * 2 + [{"arms"}] * 4 + [{"legs", "torso"}] * 2 + [{"legs"}] * 4


@pytest.mark.parametrize("dials", [{}, CLEAR, {"occlusion": 1.0}, {"aerial_cameras": (0, 1, 2)}])
def test_visible_keypoints_lie_on_their_part(dials):
    world = World(**SMALL, **dials)
    for identity in range(8):
        for camera in range(3):
            crop = world.render(identity, camera, 0, identity)
            for (x, y, visible), parts in zip(crop.keypoints, ON, strict=True):
                if visible:
                    assert PARTS[crop.labels[int(y), int(x)]] in parts


def test_the_parts_of_an_unhidden_person_are_all_seen():
    world = World(**SMALL, **CLEAR)
    for identity in range(8):
        masks = world.render(identity, 0, 0, 0).masks
        for part in ("head", "torso", "arms", "legs"):
            assert masks[part].sum() > 20, (identity, part)
        rows = {part: np.nonzero(mask)[0].mean() for part, mask in masks.items() if mask.any()}
        assert rows["head"] < rows["torso"] < rows["legs"]


def test_masks_are_disjoint_and_cover_a_natural_share_of_the_crop():
    world = World(**SMALL, **CLEAR)
    shares = [(world.render(identity, 1, 0, 0).labels > 0).mean() for identity in range(8)]
    assert min(shares) > 0.2 and max(shares) < 0.7


def test_every_painted_part_has_a_number_and_a_label():
    assert sorted(IDENT.values()) == list(range(1, len(SEGMENTS) + 1))
    assert set(SEGMENTS.values()) == set(range(1, len(PARTS)))


def test_the_nose_is_seen_from_the_front_and_not_from_behind():
    world = World(identities=20, cameras=2, **CLEAR)
    seen = [world.render(i, c, t, 0).keypoints[0, 2] for i in range(20) for c in range(2) for t in range(2)]
    assert 0.15 < np.mean(seen) < 0.85


def test_a_person_facing_the_camera_has_the_left_shoulder_on_the_right_of_the_picture():
    joints = walk(sample_body(0, 0), phase=0.0)
    left, right = INDEX["left_shoulder"], INDEX["right_shoulder"]
    front, _ = project(joints, View(0.0, 0.0, 8.0))
    back, _ = project(joints, View(np.pi, 0.0, 8.0))
    _, depth = project(joints, View(np.pi / 2, 0.0, 8.0))
    assert front[left, 0] > front[right, 0] and back[left, 0] < back[right, 0]
    assert depth[right] > depth[left]  # walking to the right shows the right side


def test_legs_swing_in_turn_and_feet_stay_on_the_ground():
    body = sample_body(0, 3)
    step = [walk(body, phase) for phase in np.linspace(0, 2 * np.pi, 24)]
    gap = np.array([joints[INDEX["left_ankle"], 2] - joints[INDEX["right_ankle"], 2] for joints in step])
    assert gap.max() > 0.3 and gap.min() < -0.3
    feet = [INDEX[f"{side}_{end}"] for side in ("left", "right") for end in ("toe", "heel")]
    for joints in step:
        assert joints[feet, 1].min() == pytest.approx(0.006 * body.stature, abs=1e-6)


def test_limbs_keep_their_length_while_walking():
    body = sample_body(0, 3)
    for phase in np.linspace(0, 6, 7):
        joints = walk(body, phase)
        length = np.linalg.norm(joints[INDEX["left_hip"]] - joints[INDEX["left_knee"]])
        assert length == pytest.approx((body.leg - 0.278) * body.stature, rel=0.01)


def test_occlusion_hides_keypoints_and_pixels():
    free, hidden = World(**SMALL, occlusion=0.0), World(**SMALL, occlusion=1.0)
    asked = [(identity, camera, 0, 0) for identity in range(8) for camera in range(3)]
    seen_free = sum(free.render(*a).keypoints[:, 2].sum() for a in asked)
    seen_hidden = sum(hidden.render(*a).keypoints[:, 2].sum() for a in asked)
    assert seen_hidden < 0.85 * seen_free
    assert all(free.render(*a).occlusion == 0 for a in asked)
    assert np.mean([hidden.render(*a).occlusion for a in asked]) > 0.1


def test_the_casts_of_cameras_differ_unless_turned_off():
    def spread(cast: float) -> float:
        world = World(identities=10, cameras=4, colour_cast=cast, **CLEAR)
        means = [[world.render(i, c, 0, 0).image.mean((0, 1)) for i in range(10)] for c in range(4)]
        return float(np.mean(means, axis=1).std(0).mean())

    assert spread(3.0) > 1.3 * spread(0.0)


def test_blur_takes_detail_away():
    def detail(blur: float) -> float:
        image = World(**SMALL, blur=blur, noise=0.0).render(0, 0, 0, 0).image
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

    assert detail(3.0) < 0.7 * detail(0.0)


def test_clutter_changes_the_place_and_not_the_person():
    bare, full = World(**SMALL, clutter=0.0, occlusion=0.0), World(**SMALL, clutter=1.0, occlusion=0.0)
    one, other = bare.render(2, 1, 0, 0), full.render(2, 1, 0, 0)
    assert np.any(one.image != other.image)
    np.testing.assert_array_equal(one.keypoints[:, :2], other.keypoints[:, :2])


def test_clothing_change_gives_the_second_outfit_to_the_same_body():
    before, after = World(**SMALL, clothing_change=0.0), World(**SMALL, clothing_change=1.0)
    one, other = before.render(2, 1, 0, 0), after.render(2, 1, 0, 0)
    assert (one.clothes, other.clothes) == (0, 1)
    assert np.any(one.image != other.image)
    assert one.identity == other.identity


def test_an_aerial_camera_sees_people_foreshortened():
    ground, aerial = World(**SMALL, **CLEAR), World(**SMALL, **CLEAR, aerial_cameras=(1,))
    assert (ground.render(0, 1, 0, 0).platform, aerial.render(0, 1, 0, 0).platform) == ("ground", "aerial")

    def legs(world: World) -> float:
        crops = [world.render(identity, 1, 0, 0) for identity in range(8)]
        return float(np.mean([crop.masks["legs"].sum() / (crop.labels > 0).sum() for crop in crops]))

    assert legs(aerial) < 0.9 * legs(ground)


def test_box_jitter_moves_the_person_in_the_crop():
    steady, shaky = World(**SMALL, box_jitter=0.0), World(**SMALL, box_jitter=0.1)
    moved = [
        steady.render(0, 0, 0, f).keypoints[:, :2] - shaky.render(0, 0, 0, f).keypoints[:, :2]
        for f in range(4)
    ]
    assert np.abs(moved).mean() > 2


def test_the_switch_dial_changes_the_true_identity_in_mid_tracklet():
    world = World(**SMALL, switch=1.0, tracklet_length=10)
    for identity in range(8):
        found = [world.render(identity, 0, 0, frame).identity for frame in range(10)]
        assert found[0] == identity and found[-1] != identity
        assert np.count_nonzero(np.diff(found)) == 1
        assert found == [world.true_identity(identity, 0, 0, frame) for frame in range(10)]
    assert World(**SMALL).render(3, 0, 0, 99).identity == 3


def test_the_background_does_not_know_who_walks_there():
    world = World(identities=2, cameras=1, **CLEAR, noise=0.0)
    # People of one camera stand at places drawn apart from who they are: no walk repeats another's place.
    corners = {world.render(i, 0, t, 0).image[:4, :4].tobytes() for i in range(2) for t in range(3)}
    assert len(corners) == 6


@pytest.mark.parametrize(
    "dials",
    [
        {"occlusion": 1.5},
        {"switch": -0.1},
        {"identities": 0},
        {"blur": -1.0},
        {"cameras": 2, "aerial_cameras": (2,)},
    ],
)
def test_dials_out_of_range_are_named(dials):
    with pytest.raises(ValueError, match=list(dials)[-1]):
        World(**dials)


@pytest.mark.parametrize("asked", [(8, 0, 0, 0), (0, 3, 0, 0), (0, 0, -1, 0)])
def test_who_or_what_does_not_exist_cannot_be_drawn(asked):
    with pytest.raises(ValueError, match="expected"):
        World(**SMALL).render(*asked)
    assert World(**SMALL).render(BYSTANDERS, 0, 0, 0).identity == BYSTANDERS


def _stripes(image: np.ndarray) -> np.ndarray:
    """Six stripes' joint HSV histograms, with square roots: the usual colour baseline."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    found = []
    for stripe in np.array_split(hsv, 6):
        count = cv2.calcHist(
            [np.ascontiguousarray(stripe)], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]
        )
        found.append(np.sqrt(count.ravel() / count.sum()))
    return np.concatenate(found)


def test_colours_alone_do_not_identify_across_cameras():
    world = World(identities=30, cameras=3)
    features = np.array([[_stripes(world.render(i, c, 0, 0).image) for c in range(3)] for i in range(30)])
    hits = []
    for query in range(3):
        for gallery in range(3):
            if query != gallery:
                similarity = features[:, query] @ features[:, gallery].T
                hits += (similarity.argmax(1) == np.arange(30)).tolist()
    assert 2 / 30 < np.mean(hits) < 0.6  # better than guessing, far from enough
