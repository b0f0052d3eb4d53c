"""`reid-gallery index`: a gallery to search."""

from __future__ import annotations


def index(features: str, *, out: str, add: bool = False, exact: bool | None = None, seed: int = 0) -> int:
    """Make a gallery of features, or add them to one.

    Up to 200,000 rows the index is exact. Beyond it is of inverted lists and product quantisation, and its
    candidates are scored exactly from the features, which stay where they are.

    Args:
        features: folder that `reid-gallery embed` wrote
        out: the gallery's folder
        add: add to the gallery that is there, without building it anew
        exact: an exact index (true) or a compressed one (false); chosen by size where it is not given
        seed: number that seeds the draw of the rows that a compressed index is trained on
    """
    from reid_gallery.indexing import add_to_gallery, create_gallery

    made = add_to_gallery(features, out) if add else create_gallery(features, out, exact, seed)
    print(f"{out}: {made.size} rows of {made.people} people, {made.facts.kind}")
    return 0
