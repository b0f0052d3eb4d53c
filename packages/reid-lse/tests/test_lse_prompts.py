"""Eqs. 2 and 4 of VILLS, and the names they are asked with."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lse import AREAS, COCO_KEYPOINTS, indicator, make_prompts, prior

AREA_SETS = st.lists(st.sampled_from(sorted(AREAS)), min_size=1, max_size=4, unique=True)
CONFIDENCES = st.lists(st.sampled_from([0.0, 0.2, 0.3, 0.5, 0.9]), min_size=17, max_size=17)


def keypoints_of(confidences):
    keypoints = torch.zeros(1, 17, 3)
    keypoints[0, :, 2] = torch.tensor(confidences)
    return keypoints


@given(AREA_SETS)
def test_indicator_is_one_exactly_on_the_areas_keypoints(areas):
    v = indicator(areas)
    for row, area in enumerate(areas):
        assert [COCO_KEYPOINTS[i] in AREAS[area] for i in range(17)] == v[row].tolist()


@settings(deadline=None)
@given(AREA_SETS, CONFIDENCES, st.data())
def test_filtering_is_equation_4(areas, confidences, data):
    tau = {area: data.draw(st.sampled_from([0.1, 0.3, 0.6])) for area in areas}
    confidences = torch.tensor(confidences).tolist()  # as float32 holds them
    prompts = make_prompts(keypoints_of(confidences), areas, tau)
    literal = make_prompts(keypoints_of(confidences), areas, tau, literal=True)
    threshold = {area: torch.tensor(value).item() for area, value in tau.items()}
    for row, area in enumerate(areas):
        for i, name in enumerate(COCO_KEYPOINTS):
            v = name in AREAS[area] and confidences[i] > threshold[area]
            owners = [threshold[other] for other in areas if name in AREAS[other]] or [threshold[area]]
            against = name not in AREAS[area] and confidences[i] > min(owners)
            assert prompts.positive[0, row, i] == literal.positive[0, row, i] == v
            assert prompts.negative[0, row, i] == against
            assert literal.negative[0, row, i] == (not v)
    assert not (prompts.positive & prompts.negative).any()


def test_the_prior_prompts_every_default_area_and_drops_the_wrists():
    prompts = make_prompts(prior(torch.zeros(1, 3, 128, 64, dtype=torch.uint8)))
    assert prompts.positive.any(dim=2).all()
    wrists = [COCO_KEYPOINTS.index("left_wrist"), COCO_KEYPOINTS.index("right_wrist")]
    assert not (prompts.positive | prompts.negative)[..., wrists].any()


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_prior_stays_inside_any_crop_and_keeps_the_bodys_order(height, width):
    keypoints = prior([torch.zeros(3, height, width, dtype=torch.uint8)])[0]
    x, y, confidence = keypoints.unbind(dim=1)
    assert ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).all()
    assert ((confidence > 0) & (confidence < 1)).all()
    nose, shoulder, hip, ankle = (
        y[COCO_KEYPOINTS.index(n)] for n in ("nose", "left_shoulder", "left_hip", "left_ankle")
    )
    assert nose <= shoulder <= hip <= ankle


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: indicator(("head", "tail")), ValueError, "unknown area 'tail'; known are head"),
        (lambda: indicator({"tail": ("tail_tip",)}), ValueError, "area 'tail': unknown keypoint 'tail_tip'"),
        (lambda: indicator({"tail": ()}), ValueError, "area 'tail' has no keypoints"),
        (lambda: indicator("head"), ValueError, "must be a sequence of names"),
        (lambda: indicator(()), ValueError, "areas is empty"),
        (lambda: indicator(("head", "head")), ValueError, "each area may be named once"),
        (lambda: make_prompts(torch.zeros(1, 17, 3).int()), TypeError, "keypoints must be a floating point"),
        (lambda: make_prompts(torch.zeros(17, 3)), ValueError, r"keypoints must be \[b 17 3\]"),
        (
            lambda: make_prompts(torch.zeros(1, 17, 3), ("head", "legs"), {"head": 0.5}),
            ValueError,
            r"missing \['legs'\]",
        ),
    ],
)
def test_bad_names_and_shapes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
