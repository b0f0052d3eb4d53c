"""The world: who is where in which frame, drawn on demand with the truth beside the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from reid_core.synthetic import camera as optics
from reid_core.synthetic import scene
from reid_core.synthetic.draw import STRETCH, SUPERSAMPLE, Canvas
from reid_core.synthetic.figure import LABEL_OF_IDENT, OCCLUDER, PARTS, Placed, draw_person, keypoints, place
from reid_core.synthetic.person import generator, sample_body, sample_outfit
from reid_core.synthetic.pose import View, project, walk
from reid_core.synthetic.texture import floats, textures, with_ones

BYSTANDERS = 10_000_000  # people of this number and above only pass by; they are never anybody's identity
_OCCLUDERS = ("pillar", "person", "person", "thing", "thing")


class Crop(NamedTuple):
    """One picture of one person, and the truth about it."""

    image: np.ndarray  # uint8 [h w 3], RGB
    keypoints: np.ndarray  # float32 [17 3], COCO order: x, y in pixels, visible 0 or 1
    labels: np.ndarray  # uint8 [h w], indices into PARTS of what can be seen of the person
    identity: int  # who it truly is
    camera: int
    tracklet: int
    frame: int
    clothes: int  # 0 first outfit, 1 second
    platform: str  # ground, aerial
    occlusion: float  # share of the person's pixels that something hides

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Part name -> bool [h w], for every part but the background."""
        return {name: self.labels == number for number, name in enumerate(PARTS) if number}


class _Track(NamedTuple):
    """What stays the same over a tracklet."""

    yaw: float
    drift: float  # of the yaw, radians a frame
    phase: float
    cadence: float  # radians a frame
    effort: float
    ground: tuple[float, float, float]  # where in the panorama: x, bottom, height of the window
    flow: float  # pixels of the panorama a frame
    exposure: float
    shadow: tuple[float, float]  # length and strength
    occluder: str  # "" none
    occluder_seed: int
    reach: float  # share of the crop that the occluder takes
    from_left: bool
    bystander: int  # -1 none
    bystander_at: float
    clothes: int
    switch_at: int  # frame from which it is `switch_to`; -1 never
    switch_to: int


@dataclass(frozen=True)
class World:
    """A deterministic world of pedestrians seen by cameras.

    Every picture is a pure function of the dials, the seed and (identity, camera, tracklet, frame), so frames
    can be drawn in any order, in parallel, and again.

    Args:
        identities: people whose identity counts.
        cameras: number of cameras; each has its own place, view angle, colours and faults.
        seed: of everything.
        height, width: of the crops, pixels.
        occlusion: probability that a tracklet is partly hidden by a pillar, a passer-by or a thing.
        clutter: 0 bare places, 1 crowded ones (furniture, people behind).
        clothing_change: probability that a person wears the second outfit in a tracklet.
        colour_cast: factor on the cameras' colour, gain and gamma differences, 0 identical.
        blur: factor on the cameras' loss of sharpness.
        noise: factor on the cameras' grain.
        aerial_cameras: indices of the cameras that look down from above.
        box_jitter: standard deviation of the bounding box's error, as a share of its height.
        switch: probability that a tracklet goes over to another person half-way.
        tracklet_length: frames within which that happens.
        bags: False takes everybody's bags away (for experiments on what identity rests on).

    Raises:
        ValueError: a dial is out of its range.

    Example:
        >>> world = World(identities=4, cameras=2, seed=0)
        >>> crop = world.render(identity=1, camera=0, tracklet=0, frame=3)
        >>> crop.image.shape, crop.keypoints.shape, crop.identity
        ((128, 64, 3), (17, 3), 1)
    """

    identities: int = 100
    cameras: int = 4
    seed: int = 0
    height: int = 128
    width: int = 64
    occlusion: float = 0.2
    clutter: float = 0.4
    clothing_change: float = 0.0
    colour_cast: float = 1.0
    blur: float = 1.0
    noise: float = 1.0
    aerial_cameras: tuple[int, ...] = ()
    box_jitter: float = 0.03
    switch: float = 0.0
    tracklet_length: int = 16
    bags: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "aerial_cameras", tuple(self.aerial_cameras))
        for name in ("identities", "cameras", "height", "width", "tracklet_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"World({name}={getattr(self, name)}): expected at least 1")
        for name in ("occlusion", "clutter", "clothing_change", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"World({name}={getattr(self, name)}): expected a number from 0 to 1")
        for name in ("colour_cast", "blur", "noise", "box_jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"World({name}={getattr(self, name)}): expected a number from 0 up")
        wrong = [c for c in self.aerial_cameras if not 0 <= c < self.cameras]
        if wrong:
            raise ValueError(
                f"World(aerial_cameras={self.aerial_cameras}): {wrong} not in 0..{self.cameras - 1}"
            )

    def true_identity(self, identity: int, camera: int, tracklet: int, frame: int) -> int:
        """Who is in the box in this frame of the tracklet that began with `identity`."""
        track = _track(self, identity, camera, tracklet)
        return track.switch_to if 0 <= track.switch_at <= frame else identity

    def platform(self, camera: int) -> str:
        """ "aerial" or "ground"."""
        return "aerial" if camera in self.aerial_cameras else "ground"

    def render(
        self,
        identity: int,
        camera: int,
        tracklet: int,
        frame: int,
        box: tuple[float, float, float] = (0, 0, 1),
    ) -> Crop:
        """Draw one frame.

        Args:
            identity: person the tracklet began with, 0-based; from BYSTANDERS on it is a passer-by.
            camera: 0-based.
            tracklet: number of the tracklet of this person in this camera.
            frame: number of the frame in the tracklet.
            box: error of the box on top of `box_jitter`: shift right and down in heights, and size.

        Raises:
            ValueError: the identity or the camera does not exist.
        """
        if not (0 <= identity < self.identities or identity >= BYSTANDERS):
            raise ValueError(
                f"identity={identity}: expected 0..{self.identities - 1} or a passer-by (from BYSTANDERS on)"
            )
        if not 0 <= camera < self.cameras:
            raise ValueError(f"camera={camera}: expected 0..{self.cameras - 1}")
        if tracklet < 0 or frame < 0:
            raise ValueError(f"tracklet={tracklet}, frame={frame}: expected numbers from 0 up")
        return _render(self, identity, camera, tracklet, frame, box)


def _canvas_size(world: World) -> tuple[int, int]:
    return world.height * SUPERSAMPLE, max(4, round(world.width * SUPERSAMPLE / STRETCH))


def _lens(world: World, camera: int) -> optics.Camera:
    aerial = camera in world.aerial_cameras
    return optics.sample_camera(world.seed, camera, aerial, world.colour_cast, world.blur, world.noise)


@lru_cache(maxsize=4096)
def _track(world: World, identity: int, camera: int, tracklet: int) -> _Track:
    rng = generator(world.seed, 401, identity, camera, tracklet)
    lens = _lens(world, camera)
    along = lens.direction + math.pi * (rng.random() < 0.5) + rng.normal(0, 0.35)
    yaw = along if rng.random() < 0.75 else rng.uniform(-math.pi, math.pi)
    _, horizon = scene.panorama(world.seed, camera, world.clutter, lens.aerial)
    rows, columns = scene.SCENE
    if lens.aerial:
        height = float(rng.uniform(0.24, 0.36) * rows)
        bottom = float(rng.uniform(height, rows))
    else:
        near = float(rng.uniform(0.1, 0.9))
        bottom = horizon + (0.1 + 0.85 * near) * (rows - horizon)
        height = (0.45 + 0.4 * near) * rows
    # Numbers are drawn whatever the dials, so that turning one leaves the others' draws alone.
    hidden, doubled, changed, switched = rng.random(4)
    other = int(rng.integers(max(1, world.identities - 1)))
    return _Track(
        yaw=float(yaw),
        drift=float(rng.normal(0, 0.02)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        cadence=float(rng.uniform(0.35, 0.6)),
        effort=float(np.clip(rng.normal(0.85, 0.25), 0.05, 1.15)),
        ground=(float(rng.uniform(80, columns - 80)), bottom, height),
        flow=float(1.5 * math.sin(yaw)),
        exposure=float(np.exp(rng.normal(0, 0.07) * min(world.colour_cast, 1.5))),
        shadow=(float(rng.uniform(0.5, 2.0)), float(rng.uniform(0.25, 0.6))),
        occluder=str(rng.choice(_OCCLUDERS)) if hidden < world.occlusion else "",
        occluder_seed=int(rng.integers(1 << 20)),
        reach=float(rng.uniform(0.22, 0.5)),
        from_left=bool(rng.random() < 0.5),
        bystander=int(rng.integers(10_000)) if doubled < 0.25 * world.clutter else -1,
        bystander_at=float(rng.uniform(0.28, 0.7) * rng.choice([-1, 1])),
        clothes=int(changed < world.clothing_change),
        switch_at=int(world.tracklet_length * rng.uniform(0.3, 0.7)) if switched < world.switch else -1,
        switch_to=(other + (other >= identity)) % max(1, world.identities),
    )


def _pose(
    world: World, identity: int, clothes: int, track: _Track, frame: int, lens: optics.Camera,
    pixels: float | None, origin: np.ndarray,
) -> tuple[Placed, np.ndarray, float]:  # fmt: skip
    """The person on the canvas, `pixels` a metre or None to fill it; also the ground point and the scale."""
    body, outfit = sample_body(world.seed, identity), sample_outfit(world.seed, identity, clothes)
    joints = walk(body, track.phase + track.cadence * frame, track.effort, outfit.bag_side, outfit.hem)
    yaw = track.yaw + track.drift * (frame % 64)
    view = View(yaw, lens.pitch, 4.5 if lens.aerial else 8.0)
    flat, depth = project(joints, view)
    if pixels is None:
        rows, columns = _canvas_size(world)
        margin = np.array([0.07, 0.05]) * body.stature
        low, high = flat.min(0) - margin, flat.max(0) + margin
        low[1] -= 0.04 * body.stature  # the crown is above the head's centre
        span = high - low
        pixels = min(0.95 * rows / span[1], 1.2 * columns / span[0])
        origin = np.array([columns / 2, rows / 2]) - pixels * (low + high) / 2
    return place(joints, flat, depth, view, pixels, origin), origin, pixels


def _person(
    world: World,
    canvas: Canvas,
    identity: int,
    clothes: int,
    placed: Placed,
    lens: optics.Camera,
    ident: int | None,
) -> None:
    body, outfit = sample_body(world.seed, identity), sample_outfit(world.seed, identity, clothes)
    if not world.bags and outfit.bag != "none":
        outfit = type(outfit)(**{**outfit.__dict__, "bag": "none"})
    cloth = textures(world.seed, identity, clothes, body, outfit)
    draw_person(canvas, body, outfit, cloth, placed, lens.light, ident)


def _hide(
    world: World, canvas: Canvas, track: _Track, frame: int, lens: optics.Camera, pixels: float
) -> None:
    rows, columns = canvas.ids.shape
    moved = 0.12 * math.sin(0.25 * frame + track.occluder_seed % 7)
    reach = float(np.clip(track.reach + moved, 0.15, 0.55))
    side = -1 if track.from_left else 1
    if track.occluder == "pillar":
        rng = generator(world.seed, 402, track.occluder_seed % 12)
        wide = 0.5 * float(rng.uniform(0.25, 0.5)) * columns
        tone = floats(scene.WALLS[rng.integers(len(scene.WALLS))])
        texture = np.clip(tone + 7 * rng.standard_normal((32, 32, 1), dtype=np.float32), 0, 250) * np.ones(
            3, np.float32
        )
        x = columns / 2 + side * (columns / 2 + wide - reach * columns)
        top, bottom = np.array([x, -4.0]), np.array([x, rows + 4.0])
        canvas.tube(top, bottom, wide, np.ones(32, np.float32), with_ones(texture), 0.0, lens.light, OCCLUDER)
    elif track.occluder == "person":
        other = BYSTANDERS + track.occluder_seed
        near = 1.0 if lens.aerial else 1.08
        origin = np.array(
            [columns / 2 + side * (0.72 - reach) * columns, rows * (0.97 if lens.aerial else 1.0)]
        )
        walker = track._replace(
            yaw=track.yaw + (math.pi if track.occluder_seed % 2 else 0.4), phase=track.phase + 1
        )
        placed, _, _ = _pose(world, other, 0, walker, frame, lens, pixels * near, origin)
        _person(world, canvas, other, 0, placed, lens, OCCLUDER)
    else:
        kind = scene.THINGS[track.occluder_seed % len(scene.THINGS)]
        sprite = scene.thing(kind, track.occluder_seed // 8 % 8)
        tall = (0.30 + 0.6 * reach) * rows * (1.3 if kind in ("sign", "bush") else 1.0)
        step = tall / sprite.shape[0]
        across = columns / 2 + side * (0.1 + moved) * columns - sprite.shape[1] * step / 2
        matrix = np.array([[step, 0, across], [0, step, rows * 1.02 - tall]])
        canvas.stamp(sprite, matrix, OCCLUDER)


def _render(
    world: World, identity: int, camera: int, tracklet: int, frame: int, box: tuple[float, float, float]
) -> Crop:
    track, lens = _track(world, identity, camera, tracklet), _lens(world, camera)
    truth = track.switch_to if 0 <= track.switch_at <= frame else identity
    rng = generator(world.seed, 403, identity, camera, tracklet, frame)
    rows, columns = _canvas_size(world)

    panorama, _ = scene.panorama(world.seed, camera, world.clutter, lens.aerial)
    x, bottom, height = track.ground
    error = rng.standard_normal(3) * world.box_jitter
    zoom = box[2] * math.exp(error[2])
    shift = np.array([box[0] + error[0], box[1] + error[1]]) * rows
    place_x = x + track.flow * frame + shift[0] * height / rows
    canvas = Canvas(
        scene.window(panorama, place_x, bottom + shift[1] * height / rows, height * zoom, (rows, columns))
    )

    placed, origin, pixels = _pose(world, truth, track.clothes, track, frame, lens, None, np.zeros(2))
    middle = np.array([columns / 2, rows / 2])
    points = (placed.points - middle - shift) / zoom + middle
    origin = (origin - middle - shift) / zoom + middle
    placed = placed._replace(points=points, scale=placed.scale / zoom)
    pixels /= zoom

    long, strength = track.shadow
    flat = 0.30 if lens.aerial else 0.05 + 0.3 * math.sin(lens.pitch)
    lean = (1 if lens.light[0] < 0 else -1) * 0.22 * long * pixels
    scene.cast_shadow(
        canvas.image, origin[0] - lean, origin[1], (0.22 + 0.2 * long) * pixels, flat * 0.5 * pixels, strength
    )
    if track.bystander >= 0:
        at = origin + np.array([track.bystander_at * columns * 1.1, -0.07 * rows])
        other = track._replace(yaw=track.yaw + track.bystander % 7, phase=track.phase + 2)
        behind, _, _ = _pose(world, BYSTANDERS + track.bystander, 0, other, frame, lens, pixels * 0.85, at)
        _person(world, canvas, BYSTANDERS + track.bystander, 0, behind, lens, 0)
    _person(world, canvas, truth, track.clothes, placed, lens, None)
    whole = int(np.count_nonzero(LABEL_OF_IDENT[canvas.ids]))
    hidden = 0.0
    if track.occluder:
        _hide(world, canvas, track, frame, lens, pixels)
        hidden = 1 - np.count_nonzero(LABEL_OF_IDENT[canvas.ids]) / max(1, whole)

    pixel = np.array([columns / world.width, rows / world.height])
    ids = cv2.resize(canvas.ids, (world.width, world.height), interpolation=cv2.INTER_NEAREST)
    picture = cv2.resize(canvas.image, (world.width, world.height), interpolation=cv2.INTER_AREA)
    image = optics.expose(
        picture, lens, track.exposure * math.exp(0.02 * rng.standard_normal()), rng, world.seed
    )
    return Crop(
        image=image,
        keypoints=keypoints(placed, ids, pixel),
        labels=LABEL_OF_IDENT[ids],
        identity=truth,
        camera=camera,
        tracklet=tracklet,
        frame=frame,
        clothes=track.clothes,
        platform=world.platform(camera),
        occlusion=float(hidden),
    )
