"""One HTML file: who was where and when, and the uncertain links, to confirm or refuse. It asks no server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from reid_core.data.decoding import UnreadableImage, read_image
from reid_core.files import write_atomically
from reid_gallery.identities.quality import Quality
from reid_gallery.identities.tracklets import Tracklets
from reid_gallery.identities.uncertain import Link

THUMBNAIL = (48, 96)
"""Largest width and height of a picture, pixels."""
JPEG_QUALITY = 80
PEOPLE, PICTURES, LINK_PICTURES = 200, 8, 4
"""People that are shown, of most cameras first, and pictures of each and of a link."""
DECIMALS = 1

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
  color: #222 }
h2 { margin: 2rem 0 .5rem } h3 { font-size: 1em; margin: 1.2rem 0 .2rem }
.strip { display: flex; flex-wrap: wrap; gap: 3px } .pair { display: flex; gap: 1.5rem; flex-wrap: wrap }
img, .missing { height: 96px; max-width: 64px; background: #eee } .missing { width: 48px }
.line { position: relative; height: 14px; background: #f2f2f2; margin: 2px 0 2px 9rem }
.line b { position: absolute; left: -9rem; width: 8.5rem; font-weight: 400; font-size: 12px; overflow: hidden;
  white-space: nowrap; text-overflow: ellipsis; line-height: 14px }
.line i { position: absolute; top: 1px; height: 12px; min-width: 2px; background: #0072B2 }
.note { border-left: 4px solid #D55E00; padding-left: .7em }
button[aria-pressed=true] { outline: 3px solid #009E73; font-weight: 600 }
textarea { width: 100%; height: 7rem; font: 12px monospace }
"""
SCRIPT = """
const HEADER = ["first", "second", "answer"];
const answers = new Map();
const key = (first, second) => JSON.stringify([first, second].sort());
const quoted = text => /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
const csv = document.getElementById("csv");
function show() {
  const rows = [HEADER, ...answers.values()];
  csv.value = rows.map(row => row.map(quoted).join(",") + "\\n").join("");
  for (const button of document.querySelectorAll("button[data-answer]")) {
    const row = answers.get(key(button.dataset.first, button.dataset.second));
    button.setAttribute("aria-pressed", String(Boolean(row) && row[2] === button.dataset.answer));
  }
}
for (const row of JSON.parse(document.body.dataset.answers)) answers.set(key(row[0], row[1]), row);
document.addEventListener("click", event => {
  const chosen = event.target.dataset;
  if (chosen.answer) {
    const pair = key(chosen.first, chosen.second), row = answers.get(pair);
    if (row && row[2] === chosen.answer) answers.delete(pair);
    else answers.set(pair, [chosen.first, chosen.second, chosen.answer]);
    show();
  } else if (event.target.id === "download") {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv.value], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
  }
});
show();
"""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Who is who</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src
 'unsafe-inline'; script-src 'sha256-{digest}'"><style>{style}</style>
<body data-answers="{answers}">
<h1>Who is who</h1>
{body}
<script>{script}</script>
</body></html>
"""


class Found(NamedTuple):
    """What the page shows.

    Attributes:
        tracklets: all of them.
        person: int64 [tracklets].
        links: the uncertain ones.
        answered: pairs that people have answered: two names, and same or different.
        quality: without labels.
        notes: what looks wrong, a sentence each.
    """

    tracklets: Tracklets
    person: np.ndarray
    links: Sequence[Link]
    answered: Sequence[tuple[str, str, str]]
    quality: Quality
    notes: Sequence[str]


def write_page(path: Path, found: Found, root: Path) -> int:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        found: what it shows.
        root: folder of the images' paths.

    Returns:
        Number of pictures that could not be read; they are shown as missing.
    """
    album = Album(found.tracklets, root)
    body = "\n".join([*_summary(found), *_links(found, album), *_people(found, album)])
    if album.unreadable:
        body = f"<p>{album.unreadable} pictures could not be read and are shown as missing.</p>{body}"
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    answers = escape(json.dumps(list(found.answered)))
    write_atomically(path, PAGE.format(digest=digest, style=STYLE, answers=answers, body=body, script=SCRIPT))
    return album.unreadable


class Album:
    """Thumbnails of tracklets.

    Args:
        tracklets: all of them.
        root: folder of the images' paths.
    """

    def __init__(self, tracklets: Tracklets, root: Path) -> None:
        self.root, self.unreadable = root, 0
        self.paths = tracklets.images["path"].to_numpy()
        self.begin = np.searchsorted(tracklets.of_image, np.arange(len(tracklets.table) + 1))

    def strip(self, tracklet: int, count: int) -> str:
        """Some pictures of a tracklet, evenly spread over it.

        Args:
            tracklet: its number.
            count: of pictures.
        """
        first, last = int(self.begin[tracklet]), int(self.begin[tracklet + 1])
        chosen = np.linspace(first, last - 1, min(count, last - first)).round().astype(int)
        return f"<div class=strip>{''.join(self._picture(self.paths[row]) for row in chosen)}</div>"

    def _picture(self, path: str) -> str:
        try:
            pixels = read_image(self.root / path)
        except UnreadableImage:
            self.unreadable += 1
            return "<div class=missing></div>"
        thumbnail = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        thumbnail.thumbnail(THUMBNAIL)
        buffer = io.BytesIO()
        thumbnail.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _summary(found: Found) -> Iterator[str]:
    table = found.tracklets.table
    cameras = pd.Series(table["camera"].to_numpy()).groupby(found.person).nunique()
    yield (
        f"<p>People: {len(cameras)}, of whom {int((cameras > 1).sum())} were seen by more than one camera. "
        f"Tracklets: {len(table)}. Videos: {len(found.tracklets.videos)}. "
        f"Cameras: {len(found.tracklets.cameras)}.</p>"
    )
    yield f"<p id=verdict class=note>{escape(found.quality.verdict)}</p>"
    yield from (f"<p class=note>{escape(note)}.</p>" for note in found.notes)


def _links(found: Found, album: Album) -> Iterator[str]:
    yield "<h2>Uncertain links</h2><p>Confirm that both are one person, or refuse it; then save the answers "
    yield "as decisions.csv in the output's folder and run the same command again.</p>"
    names = found.tracklets.table["name"].tolist()
    for link in found.links:
        first, second = names[link.first], names[link.second]
        state = "taken for one person" if link.joined else "taken for two people"
        yield f"<h3>{escape(first)} and {escape(second)}: {state}, distance {link.distance:.3f}</h3>"
        both = "".join(album.strip(tracklet, LINK_PICTURES) for tracklet in (link.first, link.second))
        yield f"<div class=pair>{both}</div>"
        yield _button(first, second, "same", "Confirm") + _button(first, second, "different", "Refuse")
    yield '<h3>Answers</h3><textarea id=csv readonly aria-label="decisions.csv"></textarea>'
    yield "<button id=download>Save decisions.csv</button>"


def _button(first: str, second: str, answer: str, text: str) -> str:
    pair = f'data-first="{escape(first)}" data-second="{escape(second)}"'
    return f"<button {pair} data-answer={answer} aria-pressed=false>{text}</button> "


def _people(found: Found, album: Album) -> Iterator[str]:
    table = found.tracklets.table.assign(person=found.person)
    start, stop = float(table["start"].min()), float(table["stop"].max())
    span = max(stop - start, 1e-9)
    sizes = table.groupby("person").agg(cameras=("camera", "nunique"), tracklets=("camera", "size"))
    order = sizes.sort_values(["cameras", "tracklets"], ascending=False, kind="stable").head(PEOPLE)
    when = f"from {start:.{DECIMALS}f} to {stop:.{DECIMALS}f} s"
    yield f"<h2>People</h2><p>{len(order)} of {len(sizes)}, {when}.</p>"
    for person in order.index.tolist():
        own = table[table["person"] == person]
        yield f"<h3>Person {person}</h3>"
        for camera, rows in own.groupby("camera"):
            name = escape(found.tracklets.cameras[int(camera)])
            yield f'<div class=line><b title="{name}">{name}</b>{"".join(_bars(rows, start, span))}</div>'
        shown = own.iloc[np.linspace(0, len(own) - 1, min(PICTURES, len(own))).round().astype(int)]
        each = max(1, PICTURES // len(shown))
        yield f"<div class=strip>{''.join(album.strip(int(row), each) for row in shown.index)}</div>"


def _bars(rows: pd.DataFrame, start: float, span: float) -> Iterable[str]:
    for name, begin, end in rows[["name", "start", "stop"]].itertuples(index=False):
        left, width = 100 * (begin - start) / span, 100 * (end - begin) / span
        title = escape(f"{name}: {begin:.{DECIMALS}f} to {end:.{DECIMALS}f} s")
        yield f'<i style="left:{left:.3f}%;width:{width:.3f}%" title="{title}"></i>'
