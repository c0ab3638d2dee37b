"""A process of ours never outlives the one that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # prctl(2)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)


def end_with_parent(watch: bool = True) -> None:
    """End this process at once when its parent ends, however the parent ended.

    Linux tells us by signal; elsewhere, and should the parent die before this call, a thread looks twice a second
    (`watch`).
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if watch:
        threading.Thread(target=look, name="end-with-parent", daemon=True).start()


def keep_memory() -> None:
    """Let this process use memory that it freed again, rather than give it back and ask for it anew.

    Arrays of a slice come and go by the thousand, and a system hands out fresh pages more slowly than they are filled.
    Arrays above 32 MB are given back as ever. Without effect where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_M_MMAP_THRESHOLD, 2**25), (_M_TRIM_THRESHOLD, 2**30), (_M_TOP_PAD, 2**26)):
            mallopt(option, value)


def first_to_go() -> None:
    """Let a system that runs out of memory end this process before others: a job is run again, but a listener or a
    database that ends takes everything with it. Only on Linux (proc(5), oom_score_adj)."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def limit_memory(size: int) -> None:
    """Let this process allocate at most `size` bytes (0: any); beyond, it gets MemoryError instead of the system's last
    memory. What devices and files map is not counted (setrlimit(2), RLIMIT_DATA)."""
    if size:
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
