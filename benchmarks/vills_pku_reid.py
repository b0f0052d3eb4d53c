"""VILLS' pre-training helps on real images: PKU-Reid, 42/20 identities, 3 seeds. Needs --data.root PATH.

`--small` has the synthetic demo's settings and sizes, six minutes of one core per seed in place of an hour.
"""

import sys

from _pretraining_gain import main
from _record import RESULTS, ROOT

if not any(word.startswith("--data.root") for word in sys.argv):
    print("skipped: give --data.root, the folder of PKU-Reid (it can't be part of the repository)")
    sys.exit()
small = "--small" in sys.argv
name = "pku_reid_small" if small else "pku_reid"
main(
    ROOT / f"apps/vills/configs/{name}.yaml",
    RESULTS / f"vills_{name}.json",
    targets={f"{mode}/mAP gain": 0 for mode in ("image", "video", "image_to_video")}
    if small
    else {"video/rank_1": 90, "image/mAP": 60, "image/mAP gain": 8},
    seeded=("data.image.options.seed", "data.video.options.seed"),
)
