"""`reid-lse preview`: one picture of what is extracted from some images."""

from __future__ import annotations

from pathlib import Path

from reid_lse.atomic import atomic
from reid_lse.extraction import Extraction


def preview(images: str, out: str, extraction: Extraction, count: int = 16) -> int:
    """Draw crops with their keypoints, prompts, masks and regions into one PNG.

    Args:
        images: folder of images, or Parquet file with a column path
        out: *.png to write
        extraction: how masks are made.
        count: images to draw, evenly spread over all

    Returns:
        Images drawn; those that can't be read are left out.

    Raises:
        FileNotFoundError: no such images, keypoints or weights.
        OSError: out can't be written.
        ValueError: options that don't fit, no readable image, a name that doesn't end in .png.
    """
    from reid_lse.drawing import draw
    from reid_lse.files import UnreadableImage, list_images, read_image
    from reid_lse.shards import build_extractor, known_keypoints

    path = Path(out)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{out}: expected a name that ends in .png")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    source = list_images(images)
    known = known_keypoints(extraction)
    extractor = build_extractor(extraction, known)
    last = len(source.paths) - 1
    rows = sorted({round(last * place / max(1, count - 1)) for place in range(count)})
    names, crops = [], []
    for row in rows:
        try:
            crops.append(read_image(source.root / source.paths[row]))
            names.append(source.paths[row])
        except UnreadableImage:
            continue
    if not crops:
        raise ValueError(f"{images}: none of {len(rows)} images could be read")
    picture = draw(extractor, crops, known.of(names) if known else None)
    with atomic(path) as temporary:
        temporary.write_bytes(picture)
    return len(crops)
