"""Release modes: what becomes of the results of a route. Pure.

Of each route there are two modes, the one that the configuration says and the one that a person or a stop-rule has set
since; the stricter is in force. So neither a file that is put back nor a restart undoes what was set with a name and a
reason, and no command goes further than the configuration of the site allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

Mode = Literal["off", "shadow", "review", "live"]  # from the strictest on
MODES: tuple[Mode, ...] = get_args(Mode)

SAYS: Mapping[Mode, str] = {
    "off": "takes no study",
    "shadow": "runs and records, sends nothing",
    "review": "each result waits until a person accepts it",
    "live": "results are sent",
}


def strictest(modes: Iterable[Mode]) -> Mode:
    """The strictest of some modes; live when there are none."""
    return min(modes, key=MODES.index, default="live")


def in_force(configured: Mapping[str, Mode], stored: Mapping[str, Mode]) -> dict[str, Mode]:
    """Route -> mode, for the routes of `configured`. `stored`: what was set since, for whatever routes."""
    return {route: strictest((mode, stored.get(route, "live"))) for route, mode in configured.items()}


def for_peer(configured: Mapping[str, Mode], stored: Mapping[str, Mode]) -> Mode:
    """The mode of one pipeline's results for one peer. `configured`: the routes that asked for them there.

    The strictest of those routes: what one of them must not send, another one must not send in its place. A route that
    is off counts as one that is not there; when all are, the results are for nobody.
    """
    modes = in_force(configured, stored).values()
    return strictest(mode for mode in modes if mode != "off") if set(modes) - {"off"} else "off"
