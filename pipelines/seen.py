"""One digest for the pixels that a model was given: what it saw, after all reading, sorting and rescaling."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_THREADS = 2  # hashlib lets go of the interpreter for long inputs


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 (hex) over, for each array, the line "dtype shape", such as `int16 300x512x512`, and the SHA-256 of each
    of its parts along the first axis (slices, or rows of an image): their values in C order, little-endian."""
    hashed = hashlib.sha256()
    with ThreadPoolExecutor(_THREADS) as threads:
        for array in arrays:
            hashed.update(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
            for part in threads.map(_part, array):
                hashed.update(part)
    return hashed.hexdigest()


def _part(values: np.ndarray) -> bytes:
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.data).digest()
