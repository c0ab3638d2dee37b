"""What can go wrong with a model, in one line each: what, where, what to do."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be used, or could not finish."""


class BadModel(ModelError):
    """A package's card or weights are not what they must be."""


class OutOfMemory(ModelError):
    """Even the smallest tile does not fit into the device's memory."""
