"""VILLS' pre-training helps on real images: PKU-Reid, 42/20 identities, 3 seeds. Needs --data.root PATH."""

import sys

from _pretraining_gain import main
from _record import RESULTS, ROOT

if not any(word.startswith("--data.root") for word in sys.argv):
    print("skipped: give --data.root, the folder of PKU-Reid (it can't be part of the repository)")
    sys.exit()
main(
    ROOT / "apps/vills/configs/pku_reid.yaml",
    RESULTS / "vills_pku_reid.json",
    targets={"video/rank_1": 90, "image/mAP": 60, "image/mAP gain": 8},
    seeded=("data.image.options.seed", "data.video.options.seed"),
)
