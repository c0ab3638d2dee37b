"""How a model sees an image, in a few numbers: activations of a late layer, averaged over the image and folded.

The folding is a projection by fixed random signs (Achlioptas, "Database-friendly random projections", JCSS 2003): it
keeps distances between images, and its signs hang on nothing but the two sizes, so that numbers of different years,
machines and library versions can be compared.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np

LONGEST = 64  # numbers of a folded embedding, at most


def fold(activations: np.ndarray, size: int = LONGEST) -> tuple[float, ...]:
    """Mean activations (channels) as at most `size` numbers, rounded to six digits; not folded where there are no
    more. Raises ValueError for numbers that are not finite."""
    flat = np.asarray(activations, np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        raise ValueError("an embedding holds values that are not numbers")
    folded = flat if flat.size <= size else signs(flat.size, size) @ flat / math.sqrt(size)
    return tuple(float(f"{value:.6g}") for value in folded)


@lru_cache(maxsize=8)
def signs(inputs: int, outputs: int) -> np.ndarray:
    """The projection (outputs, inputs) of -1 and +1, from SHAKE-256 of the two sizes."""
    count = inputs * outputs
    drawn = hashlib.shake_256(f"overread embedding {inputs} {outputs}".encode()).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8))[:count]
    return (2.0 * bits - 1.0).reshape(outputs, inputs)
