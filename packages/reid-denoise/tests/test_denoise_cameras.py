"""Centering by camera: what cameras add to features goes, people stay, and long tracklets don't dominate."""

from __future__ import annotations

import numpy as np
import pytest

from reid_denoise import calibrate_criteria, center_by_camera, denoise, score

PEOPLE, LENGTH, WIDTH = 60, 6, 32


def two_cameras(bias: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Everybody once before each of two cameras, each of which adds its own vector to the features."""
    rng = np.random.default_rng(seed)
    tracklet = np.arange(2 * PEOPLE * LENGTH) // LENGTH
    camera, person = tracklet // PEOPLE, tracklet % PEOPLE
    people, cameras = rng.normal(size=(PEOPLE, WIDTH)), rng.normal(size=(2, WIDTH))
    features = people[person] + bias * cameras[camera] + 0.5 * rng.normal(size=(len(tracklet), WIDTH))
    return {"features": features, "tracklet": tracklet, "camera": camera, "person": person}


def centered(world: dict[str, np.ndarray], **more: object) -> np.ndarray:
    return center_by_camera(world["features"], world["tracklet"], world["camera"], **({"valid": None} | more))


def linked_f1(features: np.ndarray, world: dict[str, np.ndarray]) -> float:
    given = (features, world["tracklet"], world["tracklet"] // 12)
    criteria, _ = calibrate_criteria(*given, valid=None, linking="average")
    found = denoise(*given, criteria, valid=None, linking="average")
    return score(found.identity, world["person"]).f1


def test_people_are_found_across_cameras_that_differ() -> None:
    world = two_cameras(bias=2.0)
    assert linked_f1(centered(world), world) > linked_f1(world["features"], world) + 0.2


def test_every_row_has_unit_length_and_rows_without_a_feature_are_zero() -> None:
    world = two_cameras(bias=1.0)
    valid = np.arange(len(world["tracklet"])) % 7 != 0
    world["features"][~valid] = np.nan
    lengths = np.linalg.norm(centered(world, valid=valid), axis=1)
    np.testing.assert_allclose(lengths, valid.astype(float), atol=1e-6)


def test_a_tracklet_counts_once_however_long_it_is() -> None:
    world = two_cameras(bias=1.0)
    longer = {
        name: np.concatenate([column, np.repeat(column[:1], 5000, axis=0)]) for name, column in world.items()
    }
    longer["features"][:LENGTH] = longer["features"][0]
    world["features"][:LENGTH] = world["features"][0]
    size = len(world["tracklet"])
    np.testing.assert_allclose(centered(longer)[:size], centered(world), atol=1e-3)


def test_one_person_alone_before_a_camera_keeps_a_direction_of_their_own() -> None:
    world = two_cameras(bias=0.0)
    alone = np.flatnonzero((world["camera"] == 0) | (world["person"] == 3))
    few = {name: column[alone] for name, column in world.items()}
    rows = centered(few)
    person, camera = few["person"], few["camera"]
    own, others = rows[camera == 1].mean(axis=0), rows[(camera == 0)]
    similar = np.array([others[person[camera == 0] == one].mean(axis=0) @ own for one in range(PEOPLE)])
    assert similar.argmax() == 3


def test_what_is_written_to_out_is_what_is_returned_without(tmp_path: object) -> None:
    world = two_cameras(bias=1.0)
    out = np.lib.format.open_memmap(f"{tmp_path}/c.npy", "w+", np.float32, world["features"].shape)
    assert centered(world, out=out) is out
    np.testing.assert_array_equal(np.load(f"{tmp_path}/c.npy"), centered(world))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"camera": np.array([-1] * 720)}, "row 0: cameras is -1"),
        ({"tracklet": np.array([-1] * 720)}, "every image is left out"),
        ({"features": np.zeros((720, 4))}, "row 0 is zero"),
    ],
)
def test_bad_input_is_named(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        centered(two_cameras(bias=1.0) | changed)


def test_another_shape_of_out_is_refused() -> None:
    with pytest.raises(ValueError, match="out has shape"):
        centered(two_cameras(bias=1.0), out=np.empty((2, 2)))
