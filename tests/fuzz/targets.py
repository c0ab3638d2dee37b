"""Every target by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fuzz.files import Files
from tests.fuzz.talk import Commitment, Identity, Talk
from tests.fuzz.target import Target
from tests.fuzz.wire import Wire

TARGETS: Mapping[str, Callable[[], Target]] = {one.name: one for one in (Files, Wire, Talk, Identity, Commitment)}
