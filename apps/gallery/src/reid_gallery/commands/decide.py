"""`reid-gallery decide`: what a person decided about an answer."""

from __future__ import annotations

from typing import Literal


def decide(gallery: str, query: str, person: str, decision: Literal["same", "different"]) -> int:
    """Keep what you decided about an answer in GALLERY/decisions.jsonl; later searches show it.

    Args:
        gallery: folder that `reid-gallery index` wrote
        query: image file that was searched for
        person: name or pid of the answer
        decision: same or different
    """
    import os

    from reid_gallery.gallery import Gallery, lock_gallery
    from reid_gallery.log import DECISIONS, append

    there = Gallery(gallery)
    if not there.has_person(person):
        raise ValueError(f"{gallery} has no person {person!r}; give a name or pid as `search` prints it")
    entry = {"query": os.path.abspath(query), "person": person, "decision": decision}
    with lock_gallery(there.folder):
        append(there.folder / DECISIONS, [entry])
    return 0
