"""Matrices of MATLAB files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from reid_core.data.readers._files import ReaderError
from reid_core.data.readers._mat5 import check_structure

LARGEST = 2**53
"""Integers up to it are all doubles, as MATLAB saves them."""


def matrix(path: Path, variable: str | None = None) -> np.ndarray:
    """A matrix of a .mat file.

    Args:
        path: the file, up to MATLAB 7; version 7.3 (HDF5) needs h5py.
        variable: its name; the file's only variable where None (names differ among copies of releases).

    Returns:
        the matrix, int64.

    Raises:
        ReaderError: a damaged file, no such variable, several where one is expected, a value that is no
            integer, or a 7.3 file without h5py.
    """
    try:
        data = path.read_bytes()
        check_structure(data)
        values = {key: value for key, value in loadmat(BytesIO(data)).items() if not key.startswith("__")}
    except NotImplementedError:  # how SciPy says "version 7.3"
        values = _hdf5(path)
    except OSError:
        raise
    except Exception as error:  # of any kind: SciPy parses damaged files as they come
        reason = str(error) or type(error).__name__
        raise ReaderError(f"{path}: can't be read as a MATLAB file ({reason}); fetch it again") from error
    if variable is None and len(values) == 1:
        variable = next(iter(values))
    if variable not in values:
        wanted = f"the variable {variable!r}" if variable else "one matrix"
        raise ReaderError(f"{path}: holds {', '.join(values) or 'nothing'}; expected {wanted}")
    return integers(np.asarray(values[variable]), f"{path}, {variable!r}")


def integers(values: np.ndarray, where: str) -> np.ndarray:
    """The values as int64 (MATLAB saves integers as doubles).

    Args:
        values: an array.
        where: what holds them, for the error.

    Raises:
        ReaderError: a value is no integer, or too large for one that a double holds exactly.

    >>> integers(np.array([[1.0, 2.0]]), "queries")
    array([[1, 2]])
    >>> integers(np.array([[1.0, 3.7]]), "queries")
    Traceback (most recent call last):
    reid_core.data.readers._files.ReaderError: queries: value 2 is 3.7; expected integers
    """
    if values.dtype.kind not in "iuf":
        raise ReaderError(f"{where}: holds values of type {values.dtype}; expected integers")
    flat = values.reshape(-1)
    bad = np.flatnonzero(~np.isfinite(flat) | (flat != np.floor(flat)) | (np.abs(flat) > LARGEST))
    if len(bad):
        raise ReaderError(f"{where}: value {bad[0] + 1} is {flat[bad[0]]}; expected integers")
    return values.astype(np.int64)


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise ReaderError(
            f"{path}: is a MATLAB 7.3 file, which h5py reads; install it (pip install h5py), or save the "
            "matrix in MATLAB with the option -v7"
        ) from error
    with h5py.File(path, "r") as file:  # MATLAB's matrices lie transposed in HDF5
        return {key: value[()].T for key, value in file.items() if isinstance(value, h5py.Dataset)}
