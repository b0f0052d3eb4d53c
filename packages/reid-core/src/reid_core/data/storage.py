"""Storage that fails during long work: told from broken images, and from a few lost files."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from reid_core.data.decoding import UnreachableImage, UnreadableImage, decode, reach

MOST_IN_A_ROW = 64
"""Images that the storage did not give, one after the other, before it is taken for gone."""


class StorageGone(OSError):
    """The folder of images or videos is not there any more, or nothing in it can be reached."""


class StorageWatch:
    """Ends work on images that are read one after the other where it is the storage that fails.

    Args:
        root: the images' folder.

    Example:
        >>> watch = StorageWatch(Path("/renamed"))
        >>> watch.see(UnreachableImage("1.jpg: can't be read"), unit=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        reid_core.data.storage.StorageGone: /renamed: the folder of the images is gone (1.jpg: can't be ...
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._in_a_row = 0
        self._units: set[Hashable] = set()

    def see(self, error: UnreachableImage | None, unit: Hashable) -> None:
        """Take note of the next image.

        Args:
            error: why it could not be reached; None where it could.
            unit: what may well be missing as a whole, such as a tracklet: that is no failure of the storage.

        Raises:
            StorageGone: the root is gone, or MOST_IN_A_ROW images of more than one unit can't be reached.
        """
        if error is None:
            self._in_a_row = 0
            self._units.clear()
            return
        again = "bring it back, and the same command resumes"
        if not self.root.is_dir():
            raise StorageGone(f"{self.root}: the folder of the images is gone ({error}); {again}")
        self._in_a_row += 1
        self._units.add(unit)
        if self._in_a_row >= MOST_IN_A_ROW and len(self._units) > 1:
            raise StorageGone(
                f"{self.root}: {self._in_a_row} images in a row can't be reached, the last of them {error}; "
                f"has the storage failed? {again[0].upper()}{again[1:]}"
            )


def read_intact(root: Path, path: str) -> bytes | UnreadableImage:
    """An image's bytes where they can be decoded.

    Args:
        root: the images' folder.
        path: relative to it.

    Returns:
        the bytes, or why there are none, in words that don't depend on where the root lies; its cause is the
        storage's own error.
    """
    try:
        data = reach(f"{root}/{path}")
        decode(data, path)
    except UnreadableImage as error:
        found = type(error)(str(error).replace(f"{root}/", ""))
        found.__cause__ = error.__cause__
        return found
    return data
