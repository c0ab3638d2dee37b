"""An alarm when one address is refused again and again: a scan, a guess at AE titles, or a sender set up wrongly."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from node import logs
from node.errors import TryAgain

_log = logs.get(__name__)
_EVERY = 60.0  # seconds: in which refusals are counted, and between two alarms about one address
_ADDRESSES = 1024  # that are watched at a time; the one that was refused longest ago is forgotten
_ALARMS = 30  # in a minute, about all addresses together


@dataclass
class _Watched:
    times: deque[float]
    count: int = 0  # refusals of the last minute; within a burst, all since the last alarm
    alarm: float = field(default=float("-inf"))


class Bursts:
    """Counts refusals by address. `tell` (address, count, reason) puts an alarm on record.

    More than `most` refusals of one address within a minute are an alarm: an error in the log and an event, at most
    once a minute for each address.
    """

    def __init__(
        self, tell: Callable[[str, int, str], None], most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: OrderedDict[str, _Watched] = OrderedDict()
        self._alarms: deque[float] = deque(maxlen=_ALARMS)

    def refused(self, address: str, reason: str) -> None:
        """Count a refusal; `reason` is that of the last one, for the alarm."""
        with self._lock:
            count = self._count(address, self._clock())
        if not count:
            return
        _log.error("refusals come in a burst", address=address, count=count, reason=reason)
        try:
            self._tell(address, count, reason)
        except TryAgain as away:
            _log.error("the burst of refusals is not in the audit log", reason=away.reason)

    def _count(self, address: str, now: float) -> int:
        """The refusals to raise an alarm about; 0 for none."""
        one = self._watched.setdefault(address, _Watched(deque(maxlen=self._most + 1)))
        self._watched.move_to_end(address)
        while len(self._watched) > _ADDRESSES:
            self._watched.popitem(last=False)
        one.times.append(now)
        burst = len(one.times) > self._most and now - one.times[0] <= _EVERY
        one.count = one.count + 1 if burst else sum(now - at <= _EVERY for at in one.times)
        told = now - one.alarm < _EVERY or (len(self._alarms) == _ALARMS and now - self._alarms[0] < _EVERY)
        if not burst or told:
            return 0
        count, one.count, one.alarm = one.count, 0, now
        self._alarms.append(now)
        return count
