"""How much memory of a GPU the models of this process have needed."""

from __future__ import annotations

import sys


def begin() -> None:
    """Forget the peak until now."""
    torch = sys.modules.get("torch")  # a process that never loaded a model has used none
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """The most bytes that were allocated at once since `begin`; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.max_memory_allocated())
