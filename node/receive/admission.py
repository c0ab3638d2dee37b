"""Who may talk to us: a calling AE title together with an address; others are refused, and told how to get in."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from node import logs
from node.sections import Peer

_log = logs.get(__name__)
_RESOLVE_AGAIN = 60.0  # seconds that a host name's addresses are believed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Allowlist:
    """The peers of the configuration, asked by AE title and address."""

    def __init__(self, peers: Sequence[Peer], clock: Callable[[], float] = time.monotonic) -> None:
        self._peers = tuple(peers)
        self._clock = clock
        self._lock = threading.Lock()
        self._resolved = {peer.host: (clock(), _resolve(peer.host)) for peer in peers if not peer.addresses}

    def knows_address(self, address: str) -> bool:
        """Whether any peer may call from `address`: asked before a byte is read."""
        return any(self._calls_from(peer, address) for peer in self._peers)

    def find(self, calling_ae: str, address: str, certificate: frozenset[str] | None = None) -> Peer | None:
        """The peer with that AE title that may call from that address, under that certificate (None: plain text)."""
        return next((peer for peer in self._called(calling_ae, address) if _shows(peer, certificate)), None)

    def wanted(self, calling_ae: str, address: str) -> tuple[str, ...]:
        """The certificate names that would admit that AE title from that address; empty where none would."""
        return tuple(name for peer in self._called(calling_ae, address) for name in peer.certificate_names)

    def _called(self, calling_ae: str, address: str) -> Iterator[Peer]:
        title = calling_ae.strip()
        return (peer for peer in self._peers if peer.ae_title.strip() == title and self._calls_from(peer, address))

    def _calls_from(self, peer: Peer, address: str) -> bool:
        asked = plain_address(address)
        return any(asked in network for network in self._networks(peer))

    def _networks(self, peer: Peer) -> tuple[Network, ...]:
        if peer.addresses:
            return tuple(ipaddress.ip_network(text, strict=False) for text in peer.addresses)
        with self._lock:
            at, networks = self._resolved[peer.host]
            stale = self._clock() - at > _RESOLVE_AGAIN
            if stale:
                self._resolved[peer.host] = (self._clock(), networks)
        if stale:  # a slow name server must not hold up the door: the old answer serves until the new one is here
            threading.Thread(target=self._resolve_again, args=(peer.host,), daemon=True).start()
        return networks

    def _resolve_again(self, host: str) -> None:
        networks = _resolve(host)
        with self._lock:
            self._resolved[host] = (self._clock(), networks)


def _shows(peer: Peer, certificate: frozenset[str] | None) -> bool:
    return not peer.certificate_names or not (certificate or frozenset()).isdisjoint(peer.certificate_names)


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address without a zone, and an IPv4 address that came in over IPv6 as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _resolve(host: str) -> tuple[Network, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        _log.warning("a peer's host has no address; it cannot call us until it has", host=host, error=str(error))
        return ()
    return tuple(ipaddress.ip_network(plain_address(str(entry[4][0]))) for entry in found)


def how_to_admit(calling_ae: str, address: str) -> str:
    """One line of TOML that would let the caller in."""
    return (
        f'[[peer]] name = "{_name(calling_ae)}", ae-title = "{printable(calling_ae)}", host = "{address}", '
        'port = 104, may = ["echo", "store"]   (each key on its own line)'
    )


def printable(text: str, longest: int = 16) -> str:
    """Received text as it may stand in a log line: printable ASCII, no quotes, bounded."""
    kept = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text.strip()[:longest])
    return kept or "?"


def _name(calling_ae: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in calling_ae.strip()[:16].lower()).strip("-")
    return kept or "my-pacs"


@dataclass
class _Told:
    at: float
    untold: int = 0


class Refusals:
    """Tells of refusals without letting a burst fill the log or the database.

    The same refusal (kind, AE title, address, reason) is told at once and then at most once a minute, with the
    number that came in between; all together at most `most` a minute, the rest as one line when the minute is over.
    """

    def __init__(
        self,
        tell: Callable[[str, str, str, str, str, int, bool], None],
        clock: Callable[[], float] = time.monotonic,
        every: float = 60.0,
        most: int = 30,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._every = every
        self._most = most
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()
        self._minute = float("-inf")
        self._in_minute = 0
        self._dropped = 0

    def refuse(
        self, kind: str, calling_ae: str, called_ae: str, address: str, reason: str, hint: str = "", later: bool = False
    ) -> None:
        """Log and record one refusal, or only count it. `kind`: see Store.refuse; `later`: the database is away."""
        calling, called = printable(calling_ae), printable(called_ae)
        with self._lock:
            dropped, count = self._count((kind, calling, address, reason))
        if dropped:
            _log.warning("more refusals than are told one by one", dropped=dropped)
        if not count:
            return
        told = {"calling_ae": calling, "called_ae": called, "address": address, "reason": reason, "count": count}
        _log.warning(f"{kind} refused", **told, **({"hint": hint} if hint else {}))
        self._tell(kind, calling, called, address, reason, count, later)

    def _count(self, key: tuple[str, ...]) -> tuple[int, int]:
        """(refusals dropped in the minute that just ended, how many to tell of now: 0 for none)."""
        now, dropped = self._clock(), 0
        if now - self._minute >= self._every:
            dropped, self._dropped = self._dropped, 0
            self._minute, self._in_minute = now, 0
        told = self._told.get(key)
        if told is not None and now - told.at < self._every:
            told.untold += 1
            return dropped, 0
        if self._in_minute >= self._most:
            self._dropped += 1
            return dropped, 0
        count = 1 + (told.untold if told is not None else 0)
        self._told[key] = _Told(now)
        self._told.move_to_end(key)
        while len(self._told) > 1024:
            self._told.popitem(last=False)
        self._in_minute += 1
        return dropped, count
