"""Embed a folder of people, make a gallery of it, and search for the person of one image.

    python examples/search_gallery.py CROPS MODEL QUERY OUT

CROPS holds a folder per person, or images of unknown people.

MODEL is a model folder, or an exported file with its config.json. Called again after being cut off, embedding
resumes. Searches are kept in OUT/gallery/searches.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reid_gallery.embedding import Settings, embed_rows, read_source
from reid_gallery.indexing import create_gallery
from reid_gallery.searching import Options, search_gallery


def main() -> None:
    """Embed, index, search and print the answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("crops", "model", "query"):
        parser.add_argument(name)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--answers", type=int, default=5)
    arguments = parser.parse_args()

    features, gallery = arguments.out / "features", arguments.out / "gallery"
    rows = read_source(arguments.crops, None, None, None)
    made = embed_rows(rows, features, Settings(arguments.model, {}))
    print(f"{features}: {made.images} images, {made.unreadable} unreadable")
    if not gallery.exists():
        create_gallery(features, gallery)

    (result,) = search_gallery(gallery, [arguments.query], Options(k=arguments.answers))
    for answer in result["answers"]:
        print(f"{answer['score']:.3f}  {answer['person']}  {answer['path']}")


if __name__ == "__main__":
    main()
