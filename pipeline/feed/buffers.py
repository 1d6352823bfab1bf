"""Memory that is filled again when nobody looks at it any more."""

from __future__ import annotations

import math
import mmap
import weakref
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Gives arrays whose memory comes back by itself, once they and all views of them are gone, TensorFlow's included.

    The kernel clears every page that it gives out, which takes about as long as copying rows into it. Addresses are those of pages, so
    TensorFlow takes the arrays as they are and copies none.

    Args:
        most: first dimension of the largest array of each kind, >= 1. All arrays get so much memory; what is not touched costs nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free: defaultdict[int, list[mmap.mmap]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Like np.empty; an array of Python objects is one."""
        if dtype.hasobject:
            return np.empty(shape, dtype)
        size = max(1, max(self._most, shape[0]) * math.prod(shape[1:]) * dtype.itemsize)
        free = self._free[size]
        memory = free.pop() if free else mmap.mmap(-1, size)
        whole = np.frombuffer(memory, np.uint8)  # what is made of it refers to it, and it to no other array
        weakref.finalize(whole, free.append, memory).atexit = False
        return whole[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
