"""Who is who before the cameras of the synthetic world: videos in, one number per person out.

    python examples/who_is_who.py MODEL --out runs/who

writes a video for every few people and camera, tracks them by the boxes that the world knows, and runs
`reid-gallery identities` with a model of yours.
Open runs/who/found/page.html, answer the uncertain links, save decisions.csv beside it, and run it again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
import pandas as pd

from reid_core.synthetic import World
from reid_core.video import write_mot
from reid_denoise import Scores, score
from reid_gallery.cli import main as reid_gallery

TOGETHER, FRAMES, GAP, RATE = 5, 16, 24, 10
"""People in a video, its frames, pixels between two people, frames a second."""


def write_videos(world: World, out: Path) -> pd.DataFrame:
    """Videos and boxes of everybody before each camera; who stands where in a video's first frame."""
    truth = []
    for camera in range(world.cameras):
        order = np.random.default_rng(camera).permutation(world.identities)
        for clip, people in enumerate(np.split(order, range(TOGETHER, world.identities, TOGETHER))):
            name = f"camera{camera}/{clip:03}"
            boxes = write_video(world, camera, people.tolist(), out / "videos" / f"{name}.mp4")
            write_mot(out / "boxes" / f"{name}.txt", boxes)
            lefts = boxes["left"][boxes["frame"] == 0].tolist()
            truth += [
                {"video": f"{name}.mp4", "left": left, "identity": who}
                for left, who in zip(lefts, people.tolist(), strict=True)
            ]
    return pd.DataFrame(truth)


def write_video(world: World, camera: int, people: list[int], path: Path) -> pd.DataFrame:
    """People side by side, as the world's camera sees each of them; returns their boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    step, rows = world.width + GAP, []
    height, width = world.height + 2 * GAP, TOGETHER * step + GAP
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 8_000_000
        for frame in range(FRAMES):
            picture = np.full((height, width, 3), 127, np.uint8)
            for place, who in enumerate(people):
                left, top = GAP + place * step + frame // 2, GAP
                shown = world.render(who, camera, 0, frame).image
                picture[top : top + world.height, left : left + world.width] = shown
                rows.append((frame, -1, left, top, left + world.width, top + world.height, 0.95))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return pd.DataFrame(rows, columns=["frame", "track", "left", "top", "right", "bottom", "score"])


def score_people(found: Path, truth: pd.DataFrame) -> Scores:
    """Pairwise F1 of the tracklets' people."""
    tracklets = pd.read_parquet(found / "tracklets.parquet")
    boxes = pd.concat(
        pd.read_parquet(file).assign(video=file.parent.relative_to(found / "videos").as_posix())
        for file in sorted((found / "videos").rglob("boxes.parquet"))
    )
    first = boxes.sort_values("frame").groupby(["video", "track"], as_index=False).first()
    known = tracklets.merge(first, on=["video", "track"])
    # People move by less than half of the gap, so that the nearest place is theirs.
    places = truth.astype({"left": float}).sort_values("left")
    joined = pd.merge_asof(known.sort_values("left"), places, on="left", by="video", direction="nearest")
    return score(joined["person"].to_numpy(), joined["identity"].to_numpy())


def main() -> None:
    """Film, find people, and score them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="model folder or exported file")
    parser.add_argument("--out", type=Path, default=Path("runs/who"))
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preprocessing", default="{}", help="JSON, for an exported model")
    arguments = parser.parse_args()
    world = World(arguments.people, arguments.cameras, arguments.seed, switch=0.0, occlusion=0.0)
    out, found = arguments.out, arguments.out / "found"
    truth_file = out / "truth.parquet"
    if not truth_file.exists():
        write_videos(world, out).to_parquet(truth_file)
    command = ["identities", str(out / "videos"), arguments.model, str(found), "--boxes", str(out / "boxes")]
    if status := reid_gallery([*command, "--preprocessing", arguments.preprocessing]):
        raise SystemExit(status)
    print(score_people(found, pd.read_parquet(truth_file)))


if __name__ == "__main__":
    main()
