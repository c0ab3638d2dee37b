"""The errors of the node: the place that fails classifies, the loop decides what follows."""

from __future__ import annotations

from pipelines.base import Unsuitable

__all__ = ["Away", "ConfigError", "GiveUp", "IllegalMove", "OverreadError", "Refused", "TryAgain", "Unsuitable"]


class OverreadError(Exception):
    """Base of every error that the node raises on purpose; its text is one readable line without patient data."""


class Refused(OverreadError):
    """A DIMSE request that we answer with a failure status (PS3.4 annex B.2.3); nothing was kept."""

    def __init__(self, status: int, reason: str, database_away: bool = False) -> None:
        """`database_away`: it will not take the record of this refusal either, which is for later."""
        super().__init__(f"0x{status:04X}: {reason}")
        self.status = status
        self.reason = reason
        self.database_away = database_away


class TryAgain(OverreadError):
    """Something outside is away or busy; the row goes back to due. `after`: seconds, or None for the usual backoff."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Away(TryAgain):
    """A peer cannot be reached, or takes no association: nothing that waits for it is at fault, or uses up attempts."""


class GiveUp(OverreadError):
    """Trying again cannot help: the row fails and a person must look."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConfigError(OverreadError):
    """The configuration is wrong; start-up ends with exit code 2 and one line: where, and what to do."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class IllegalMove(OverreadError):
    """A state change that the tables of node.states do not allow: a defect of ours; the row stays as it was."""
