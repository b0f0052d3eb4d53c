"""A page of image strips by which a person can judge identities before anything is trained on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from reid_denoise.files import check_paths
from reid_denoise.saved import write_whole

THUMBNAIL = (64, 128)
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26
"""Pixels of an image beyond which it is taken for a decompression bomb: Pillow's limit."""
"""Largest width and height of a picture, pixels."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src
'unsafe-inline'"> <style>
body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color:
#222 }} h2 {{ margin: 2.5rem 0 .5rem }} h3 {{ font-size: 1em; margin: 1.2rem 0 .2rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .15rem .8rem .15rem 0; text-align: right }}
td:first-child, th:first-child {{ text-align: left }}
.strip {{ display: flex; flex-wrap: wrap; gap: 4px }} figure {{ margin: 0; width: 68px }}
img, .missing {{ height: 128px; max-width: 68px; background: #eee; display: block }}
.missing {{ width: 64px }} figcaption {{ font-size: 10px; color: #666; overflow-wrap: anywhere }}
.note {{ border-left: 4px solid #D55E00; padding-left: .7em }}
.apart {{ border-left: 3px solid #D55E00; margin-left: 6px; padding-left: 8px }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def write_inspection(
    path: str | Path,
    table: pd.DataFrame,
    root: str | Path,
    report: Mapping[str, Any] | None = None,
    *,
    count: int = 20,
    images: int = 14,
) -> int:
    """Write one HTML file, pictures included: largest merged identities, borderline links, discarded images.

    Args:
        path: the HTML file; its folder is made, and it is written whole or not at all.
        table: path, tracklet, video and identity; one row per image.
        root: folder of the paths.
        report: `Report.to_dict()`; without it there is no summary and no borderline links.
        count: identities and links shown.
        images: pictures in a strip; four strips of discarded images.

    Returns:
        Number of pictures that could not be read; they are shown as missing.

    Raises:
        ValueError: a path that leaves the root, whose row is named, or a report that is none.

    Example:
        >>> import tempfile
        >>> table = pd.DataFrame({"path": ["a.jpg"], "tracklet": [0], "video": [0], "identity": [0]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_inspection(f"{folder}/page.html", table, folder)
        0
    """
    try:
        summary = _summary(report) if report else ""
        links = [
            (float(link["distance"]), link["tracklets"]) for link in (report or {}).get("borderline", [])
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"report: expected what `run` wrote; {error!r}") from None
    check_paths(table["path"].tolist())
    album = Album(Path(root), images)
    table = table[table["tracklet"] >= 0]
    sections = [
        summary,
        *_merged_section(table, album, count),
        *(_links(table, album, links[:count]) if report else ()),
        *_discarded_section(table, album),
    ]
    if album.unreadable:
        sections.insert(0, f"<p>{album.unreadable} pictures could not be read and are shown as missing.</p>")
    page = PAGE.format(title="Denoised identities", body="\n".join(sections))
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return album.unreadable


class Album:
    """Strips of embedded thumbnails.

    Args:
        root: folder of the paths.
        images: pictures in a strip.
    """

    def __init__(self, root: Path, images: int) -> None:
        self.root, self.images, self.unreadable = root, images, 0

    def strip(self, rows: pd.DataFrame, lines: int = 1, kind: str = "") -> str:
        """Pictures of some rows, spread evenly where there are too many."""
        chosen = rows.iloc[spread(len(rows), self.images * lines)]
        figures = (
            f"<figure>{self._picture(path)}<figcaption>{escape(PurePosixPath(path).name)}<br>"
            f"{escape(f'tracklet {tracklet}, video {video}')}</figcaption></figure>"
            for path, tracklet, video in chosen[["path", "tracklet", "video"]].itertuples(index=False)
        )
        return f'<div class="{kind}"><div class=strip>{"".join(figures)}</div></div>'

    def _picture(self, path: str) -> str:
        try:
            with Image.open(self.root / path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{path}: {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
                thumbnail = image.convert("RGB")
                thumbnail.thumbnail(THUMBNAIL)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            self.unreadable += 1
            return "<div class=missing></div>"
        buffer = io.BytesIO()
        thumbnail.save(buffer, "JPEG", quality=85)
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def spread(size: int, most: int) -> np.ndarray:
    """At most `most` places, spread evenly over `size`.

    Example:
        >>> spread(10, 4).tolist(), spread(2, 4).tolist()
        ([0, 3, 6, 9], [0, 1])
    """
    return np.linspace(0, size - 1, min(size, most)).round().astype(int)


def _summary(report: Mapping[str, Any]) -> str:
    names = ("level", "images", "identities", "removed", "moved", "emptied", "merged")
    head = "".join(f"<th>{name}" for name in (*names, "n_S before", "n_S after"))
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(str(level[name]))}" for name in names)
        + "".join(f"<td>{float(level[side]['n_s']):.3f}" for side in ("before", "after"))
        for level in report["levels"]
    )
    criteria = ", ".join(f"{name} {value}" for name, value in report["criteria"].items())
    given = ", ".join(f"{report[name]} {name}" for name in ("images", "tracklets", "videos"))
    notes = "".join(f"<p class=note>{escape(str(note))}.</p>" for note in report.get("implausible", ()))
    return f"<p>{escape(f'{given}; {criteria}')}.</p>{notes}<table><tr>{head}{rows}</table>"


def _merged_section(table: pd.DataFrame, album: Album, count: int) -> Iterable[str]:
    kept = table[table["identity"] >= 0]
    sizes = kept.groupby("identity").agg(images=("path", "size"), tracklets=("tracklet", "nunique"))
    merged = sizes[sizes["tracklets"] > 1].sort_values("images", ascending=False, kind="stable")
    yield "<h2>Largest merged identities</h2>"
    yield f"<p>{len(merged)} of {len(sizes)} identities hold several tracklets.</p>"
    for identity, images, tracklets in merged.head(count).itertuples():
        yield f"<h3>{escape(f'Identity {identity}')}: {images} images of {tracklets} tracklets</h3>"
        yield album.strip(kept[kept["identity"] == identity].sort_values("tracklet", kind="stable"))


def _links(table: pd.DataFrame, album: Album, links: Sequence[tuple[float, Sequence[int]]]) -> Iterable[str]:
    yield "<h2>Borderline links</h2><p>Tracklets that were linked, and only just so, the nearest to the "
    yield "threshold first. One wrong link joins two people, and everybody linked to them.</p>"
    for distance, tracklets in links:
        yield f"<h3>Distance {distance:.4f}</h3>"
        for tracklet, kind in zip(tracklets, ("", "apart"), strict=True):
            yield album.strip(table[table["tracklet"] == tracklet], kind=kind)


def _discarded_section(table: pd.DataFrame, album: Album) -> Iterable[str]:
    discarded = table[table["identity"] < 0]
    yield f"<h2>Discarded images</h2><p>{len(discarded)} images belong to no identity.</p>"
    yield album.strip(discarded, lines=4)
