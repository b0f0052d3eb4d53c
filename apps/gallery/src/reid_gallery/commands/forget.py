"""`reid-gallery forget`: a person leaves a gallery."""

from __future__ import annotations


def forget(gallery: str, person: str) -> int:
    """Take a person out of a gallery: index, rows, features, thumbnails, pages, searches and decisions.

    Nothing is built anew. The images themselves are not touched. The same command resumes after a cut.

    Args:
        gallery: folder that `reid-gallery index` wrote
        person: name or pid
    """
    from reid_gallery.forgetting import forget_person

    gone = forget_person(gallery, person)
    counts = ", ".join(f"{count} {what}" for what, count in gone.counts.items())
    print(f"{gallery}: forgot {counts}")
    print(f"the images are still there, such as {gone.example}: remove them before you embed again")
    return 0
