"""How many threads NumPy's matrix products may take."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager:
    """Within it, NumPy's matrix products run in one thread.

    Those of a crop's colours are too small for more: waiting for one another takes five times as long, and
    crops are spread over threads already.

    Example:
        >>> import numpy as np
        >>> with one_blas_thread():
        ...     (np.eye(2) @ np.eye(2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return _controller().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    # Finding the libraries takes milliseconds, so it is done once.
    return ThreadpoolController()
