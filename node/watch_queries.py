"""What monitoring has on record: alarms, states of its detectors, baselines."""

from __future__ import annotations

from typing import Any

from node import alarms
from node.log_queries import LogQueries


class WatchQueries(LogQueries):
    """The read side of monitoring."""

    def alarms(self, open_only: bool = False) -> list[dict[str, Any]]:
        """See node.alarms.listed."""
        with self._read() as connection:
            return alarms.listed(connection, open_only)

    def alarm(self, key: int) -> dict[str, Any] | None:
        """See node.alarms.one."""
        with self._read() as connection:
            return alarms.one(connection, key)

    def watch_states(self) -> list[dict[str, Any]]:
        """See node.alarms.states."""
        with self._read() as connection:
            return alarms.states(connection)

    def baselines(self, family: str | None = None) -> list[dict[str, Any]]:
        """See node.alarms.baselines_of."""
        with self._read() as connection:
            return alarms.baselines_of(connection, family)
