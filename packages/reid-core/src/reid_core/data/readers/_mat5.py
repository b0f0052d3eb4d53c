"""The structure of a MATLAB 5 file, checked before SciPy reads it, where damaged ones may end the process."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

HEADER, TAG = 128, 8
"""Bytes of the file's header and of an element's tag ("MAT-File Format", The MathWorks)."""
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
"""End of the header of version 5 -> order of bytes."""
MATRIX, COMPRESSED, INT32, UINT32 = 14, 15, 5, 6
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
"""Type of an element -> bytes of one of its values."""
CELL, STRUCTURE, TEXT = 1, 2, 4
NUMBERS = range(6, 16)
"""Classes of arrays that are numbers: double, single and integers."""
LARGEST = 1 << 30
"""Bytes that a compressed element may unpack to."""


def check_structure(data: bytes) -> None:
    """Refuse a MATLAB 5 file whose parts don't fit their sizes.

    Args:
        data: the file; one of another format passes, for SciPy to judge.

    Raises:
        ValueError: it is damaged or cut short.
    """
    order = ORDERS.get(data[HEADER - 4 : HEADER])
    if order is None:
        return
    for kind, content in _elements(data[HEADER:], order):
        inner = _elements(_unpack(content), order) if kind == COMPRESSED else [(kind, content)]
        for inner_kind, array in inner:
            if inner_kind != MATRIX:
                raise ValueError(f"an element of type {inner_kind}, where an array should be")
            _check_array(array, order)


def _unpack(content: bytes) -> bytes:
    try:
        worker = zlib.decompressobj()
        unpacked = worker.decompress(content, LARGEST)
    except zlib.error as error:
        raise ValueError(f"a compressed element is damaged ({error})") from error
    if not worker.eof:
        raise ValueError(f"a compressed element is cut short, or of more than {LARGEST:,} bytes")
    return unpacked


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements that follow each other."""
    at = 0
    while at < len(data):
        if at + TAG > len(data):
            raise ValueError(f"{len(data) - at} bytes are left over where an element should begin")
        kind, size = struct.unpack(f"{order}II", data[at : at + TAG])
        if kind >> 16:  # a small one: size and type in the first word, content in the second
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, TAG
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            start = at + TAG
            step = TAG + size + (0 if kind == COMPRESSED else -size % TAG)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes, of which {len(data) - start} are there")
        yield kind, data[start : start + size]
        at += step


def _check_array(content: bytes, order: str) -> None:
    parts = list(_elements(content, order))
    kinds = tuple(kind for kind, _ in parts[:2])
    if (
        len(parts) < 4
        or kinds not in ((UINT32, INT32), (UINT32, UINT32))
        or len(parts[0][1]) != 8
        or len(parts[1][1]) % 4
    ):
        raise ValueError("an array without class, shape, name or values")
    kind = parts[0][1][0 if order == "<" else 3]  # the class: the flags' lowest byte
    shape = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    if min(shape, default=-1) < 0 or kind not in (CELL, STRUCTURE, TEXT, *NUMBERS):
        raise ValueError(f"an array of class {kind} and shape {shape}; expected a matrix of numbers")
    for content_kind, values in parts[3:]:
        if content_kind == MATRIX and kind in (CELL, STRUCTURE):
            _check_array(values, order)
        elif content_kind not in SIZES:
            raise ValueError(f"an element of type {content_kind} in an array of class {kind}")
        elif kind in NUMBERS and math.prod(shape) * SIZES[content_kind] != len(values):
            raise ValueError(f"an array of shape {shape} with {len(values)} bytes of values")
