"""`reid-gallery forget`: people leave a gallery."""

from __future__ import annotations


def forget(gallery: str, people: list[str]) -> int:
    """Take people out of a gallery: index, rows, features, thumbnails, pages, searches and decisions.

    Nothing is built anew. The images themselves are not touched. The same command resumes after a cut.

    Args:
        gallery: folder that `reid-gallery index` wrote
        people: names or pids, as `search` prints them
    """
    from reid_gallery.forgetting import forget_people

    gone = forget_people(gallery, people)
    counts = ", ".join(f"{count} {what}" for what, count in gone.counts.items())
    print(f"{gallery}: forgot {counts}")
    print(f"the images are still there, such as {gone.example}: remove them before you embed again")
    return 0
