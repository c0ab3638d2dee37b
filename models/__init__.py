"""Arrays in, arrays out: the only package that imports torch, and only when a model is really loaded."""

from __future__ import annotations

import os

# Read by OpenMP when torch is loaded. Threads that spin while they wait for each other make a network several times
# slower as soon as anything else wants the cores, and the node's other processes do.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
