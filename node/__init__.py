"""The node: receives studies, remembers every step, retries, and shows what happened. It never touches a pixel."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("overread")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"
