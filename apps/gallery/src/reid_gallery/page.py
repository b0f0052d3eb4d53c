"""Ranked lists as one HTML page: no file beside it, no address in it, names as text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.transforms.functional import to_pil_image

from reid_core.data import UnreadableImage, read_image
from reid_core.files import atomic, write_atomically

GENERATOR = '<meta name="generator" content="reid-gallery">'
THUMBNAIL = (96, 192)
"""Greatest width and height in pixels."""
QUALITY = 85
STYLE = """
:root { color-scheme: light dark; --line: #8886; --accent: #1668dc; }
* { box-sizing: border-box; }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
nav ul, ol { list-style: none; margin: 0; padding: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
nav a { display: inline-block; padding: .5rem 0; }
section { border-top: 1px solid var(--line); margin-top: 1rem; padding-top: 1rem; scroll-margin-top: .5rem; }
.list { display: grid; align-items: start; grid-template-columns: 8rem minmax(0, 1fr); gap: 1rem; }
.list > *, li { min-width: 0; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .75rem; }
figure { margin: 0; border: 2px solid var(--line); border-radius: .5rem; padding: .5rem; height: 100%; }
figure:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
figure img, .none { display: block; height: 8rem; width: 100%; object-fit: contain; }
.none { display: grid; place-items: center; background: #8882; }
figcaption { font-size: .85rem; margin-top: .5rem; }
figcaption b { display: block; font-size: .95rem; }
.query { border-color: var(--accent); height: auto; }
.nobody { border-left: .3rem solid var(--accent); padding: .25rem .75rem; }
@media (max-width: 40rem) {
  .list { grid-template-columns: minmax(0, 1fr); }
  ol { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
}
"""
SCRIPT = """
document.addEventListener("keydown", event => {
  const list = [...document.querySelectorAll("figure[tabindex]")];
  const at = list.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (at < 0 || !step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  list[Math.min(list.length - 1, Math.max(0, at + step))].focus();
});
"""


def write_page(
    path: str | Path, results: Sequence[Mapping[str, Any]], thumbnails: Mapping[str, bytes], title: str
) -> None:
    """Write ranked lists as a page.

    Tab goes from answer to answer, the arrow keys too; on a phone the query stands above its answers.

    Args:
        path: the file.
        results: as `search_gallery` gives them.
        thumbnails: file -> JPEG; a file without one is shown as such.
        title: of the page.
    """
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    links = "".join(
        f'<li><a href="#q{number}">{_text(Path(result["query"]).name)}</a></li>'
        for number, result in enumerate(results, 1)
    )
    sections = "".join(_section(number, result, thumbnails) for number, result in enumerate(results, 1))
    write_atomically(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{GENERATOR}'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><title>{_text(title)}</title>'
        f"<style>{STYLE}</style></head>"
        f'<body><main><h1>{_text(title)}</h1><nav aria-label="Queries"><ul>{links}</ul></nav>{sections}'
        f"</main><script>{SCRIPT}</script></body></html>\n",
    )


def _section(number: int, result: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    query = result["query"]
    if "error" in result:
        body = f"<p>{_text(result['error'])}</p>"
    else:
        answers = "".join(_answer(answer, thumbnails) for answer in result["answers"])
        empty = "" if answers else "<p>The gallery has no answer.</p>"
        body = f'{empty}<ol aria-label="Answers, best first">{answers}</ol>'
    nobody = (
        '<p class="nobody">Nobody here: no answer reaches the threshold.</p>' if result.get("nobody") else ""
    )
    return (
        f'<section id="q{number}" aria-labelledby="h{number}" data-file="{_text(query)}">'
        f'<h2 id="h{number}">{_text(query)}</h2>{nobody}<div class="list">'
        f'<figure class="query">{_image(thumbnails.get(query), "Query")}'
        f"<figcaption>Query</figcaption></figure><div>{body}</div></div></section>"
    )


def _answer(answer: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    person = answer["person"]
    name = "unknown person" if person is None else f"person {person}" if person.isdecimal() else person
    facts = [f"score {answer['score']:.3f}"]
    if answer["probability"] is not None:
        facts.append(f"probability {answer['probability']:.0%}")
    if answer["camid"] >= 0:
        facts.append(f"camera {answer['camid']}")
    if answer.get("decision"):
        facts.append(f"decided: {answer['decision']}")
    marked = "" if person is None else f' data-person="{_text(person)}"'
    image = _image(thumbnails.get(answer["file"]), f"Answer {answer['rank']}: {name}")
    return (
        f'<li><figure tabindex="0"{marked} data-file="{_text(answer["file"])}">{image}<figcaption>'
        f"<b>{answer['rank']}. {_text(name)}</b>{_text(', '.join(facts))}<br>{_text(answer['path'])}"
        "</figcaption></figure></li>"
    )


def _image(jpeg: bytes | None, what: str) -> str:
    if jpeg is None:
        return f'<span class="none" role="img" aria-label="{_text(what)}, no picture">no picture</span>'
    code = base64.b64encode(jpeg).decode()
    return f'<img alt="{_text(what)}" src="data:image/jpeg;base64,{code}">'


def _text(value: object) -> str:
    """A name as text: no markup, and of bytes that are no UTF-8 their replacement."""
    return escape(str(value).encode("utf-8", "replace").decode("utf-8"), quote=True)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def thumbnail_file(gallery: Path, number: int) -> Path:
    """Where a gallery keeps a row's thumbnail.

    Args:
        gallery: its folder.
        number: of the row in the index.
    """
    return gallery / "thumbnails" / f"{number // 1000:06d}" / f"{number:09d}.jpg"


def make_thumbnail(file: str, kept: Path | None = None) -> bytes | None:
    """A small JPEG of an image; None where the image can't be read.

    Args:
        file: the image.
        kept: where it is kept, or None; what is there is used.
    """
    if kept is not None and kept.is_file():
        return kept.read_bytes()
    try:
        image = to_pil_image(read_image(file))
    except UnreadableImage:
        return None
    image.thumbnail(THUMBNAIL, Image.Resampling.BILINEAR)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    if kept is not None:
        with atomic(kept) as temporary:
            temporary.write_bytes(buffer.getvalue())
    return buffer.getvalue()
