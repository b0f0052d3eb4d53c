"""`reid-lse extract` killed with -9 three times at random moments: its files beside an undisturbed run's.

The crops are a synthetic world's, one in a hundred of them cut short so that it can't be read.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _record import RESULTS, write_record

from reid_core.synthetic import World, write_folder

CAMERAS, PER_CAMERA = 4, 10
KILLS = 3
BROKEN = 100
"""One image in so many is cut short."""


def write_images(root: Path, images: int, height: int) -> set[str]:
    """Write the crops into `root`: the names of those that can't be read."""
    world = World(
        identities=images // (CAMERAS * PER_CAMERA), cameras=CAMERAS, height=height, width=height // 2
    )
    write_folder(world, root, tracklets_per_camera=0, images_per_camera=PER_CAMERA)
    files = sorted(root.rglob("*.jpg"))
    broken = random.Random(0).sample(files, len(files) // BROKEN)
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    return {path.relative_to(root).as_posix() for path in broken}


def killed(command: list[str], out: Path, shards: int) -> list[int]:
    """Kill the command three times at random shards, then let it end: the shards found at each kill."""
    chance = random.Random(1)
    found = []
    for goal in sorted(chance.sample(range(1, shards - 1), KILLS)):
        process = subprocess.Popen(command)
        while process.poll() is None and _shards(out) < goal:
            time.sleep(0.02)
        time.sleep(chance.random())
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise RuntimeError(f"{' '.join(command)} ended before it was killed: give it more images")
        found.append(_shards(out))
    subprocess.run(command, check=True)
    return found


def _shards(out: Path) -> int:
    return len(list(out.glob("*.parquet")))


def run(images: int, height: int, shard: int, workers: int) -> dict[str, object]:
    """Extract undisturbed and killed, and compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = write_images(folder / "images", images, height)
        outs = folder / "whole", folder / "killed"
        commands = [
            [sys.executable, "-m", "reid_lse.cli", "extract", str(folder / "images"), str(out)]
            + ["--segmenter", "crf", "--shard", str(shard), "--workers", str(workers)]
            for out in outs
        ]
        subprocess.run(commands[0], check=True)
        kills = killed(commands[1], outs[1], _shards(outs[0]))
        whole, again = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
        with (outs[1] / "_errors.csv").open(encoding="utf-8") as lines:
            listed = [row["path"] for row in csv.DictReader(lines)]
        return {
            "images": images,
            "height": height,
            "shards": _shards(outs[0]),
            "shards_written_at_each_kill": kills,
            "unreadable": len(broken),
            "unreadable_listed": len(broken & set(listed)),
            "others_listed": len(set(listed) - broken),
            "files": len(whole),
            "files_equal": sum(whole[name] == again.get(name) for name in whole),
            "met": whole == again and sorted(listed) == sorted(broken),
        }


def main() -> None:
    """Print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--height", type=int, default=64, help="of the crops, twice their width")
    parser.add_argument("--shard", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "lse_resume.json")
    arguments = parser.parse_args()
    measured = run(arguments.images, arguments.height, arguments.shard, arguments.workers)
    write_record(
        arguments.output,
        "`reid-lse extract` killed with -9 three times beside an undisturbed run",
        **measured,
    )
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
