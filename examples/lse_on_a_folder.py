"""Semantic regions of a folder of person crops: masks, a table of what was found, label maps and a picture.

    python examples/lse_on_a_folder.py CROPS OUT
    python examples/lse_on_a_folder.py CROPS OUT --keypoints blazepose     after `reid-lse weights blazepose`

Called again after being cut off, it resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_lse import Extraction, RegionDataset, extract
from reid_lse.export import export
from reid_lse.preview import preview


def main() -> None:
    """Extract, tell what was found, and write it in other tools' formats."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crops", help="folder of images")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--keypoints", default="prior", help="prior, blazepose, ...")
    parser.add_argument("--segmenter", default="crf", help="crf, grabcut, sam_vit_b, ...")
    arguments = parser.parse_args()

    how = Extraction(keypoints=arguments.keypoints, segmenter=arguments.segmenter)
    masks = str(arguments.out / "masks")
    summary = extract(arguments.crops, masks, how)
    for area, share in summary.found.items():
        low, middle, high = summary.quality[area]
        print(f"{area}: valid in {share:.1%}; quality {low:.2f}, {middle:.2f}, {high:.2f} (10, 50, 90 %)")

    export(masks, str(arguments.out / "areas.csv"), "table")
    export(masks, str(arguments.out / "labels"), "labels")
    preview(arguments.crops, str(arguments.out / "preview.png"), how, count=8)

    # What a training loop reads: the regions of one image, cut on the fly.
    item = RegionDataset(masks, size=(128, 64), fill="mean")[0]
    print(f"{summary.images} images; regions {tuple(item['regions'].shape)}, valid {item['valid'].tolist()}")


if __name__ == "__main__":
    main()
