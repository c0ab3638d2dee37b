"""What every request passes before anything reads it: is the path known, who calls, may they, how often, how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from node import logs
from node.errors import ConfigError
from node.web.limits import Rate, Refusals
from node.web.tokens import Caller, Tokens

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logs.get(__name__)
MOST_BYTES = 1 << 20  # of a request's body
TOO_LARGE = (413, f"the body is larger than {MOST_BYTES} bytes; send it in parts")
BODY_TIME = 10.0  # seconds that a caller has to send it
FAILURES = 20  # in a minute, after which an address is not listened to
SAFE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
# Every path there is, with the method it takes and the right that it wants. Others are answered 404.
PATHS: Mapping[str, tuple[str, str]] = {
    "/healthz": ("GET", "metrics"), "/metrics": ("GET", "metrics"),
    "/api/labels": ("POST", "labels"), "/api/reviews": ("POST", "reviews"),
}  # fmt: skip


class Door:
    """An ASGI application in front of `app`. Whom it lets in stands in the scope's `state` as `caller`; None: anybody
    may (`open_metrics`)."""

    def __init__(
        self, app: App, tokens: Tokens, refusals: Refusals, requests_per_minute: int, open_metrics: bool
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._refusals = refusals
        self._rate = Rate(requests_per_minute)
        self._failures = Rate(FAILURES)
        self._open = open_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            refused = self._refuse(scope)
            if refused is None and scope["method"] == "POST":
                body = await _body(receive)
                if isinstance(body, bytes):
                    receive = _again(body, receive)
                else:
                    refused = body
            if refused is None:
                await self._app(scope, receive, send)
            else:
                await say(send, *refused)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:  # no web sockets here
            await send({"type": "websocket.close", "code": 1008})

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        """The status and line that turn a request away; None lets it in."""
        address = (scope.get("client") or ("?",))[0]
        known = PATHS.get(scope["path"])
        if known is None:
            return 404, "there is no such path"
        method, right = known
        if scope["method"] != method:
            return 405, f"{scope['path']} takes {method} only"
        if not self._failures.left(address, cost=0):
            return 429, "too many requests with a wrong token came from this address; wait a minute"
        caller = None
        if not (self._open and right == "metrics"):
            try:
                caller, status, why = self._admit(scope, right)
            except (ConfigError, OSError) as error:
                log.error("the token file cannot be used; nobody is let in", reason=str(error))
                return 503, "the token file cannot be used; the node's log says why"
            if why:
                self._failures.left(address)
                self._refusals.add(address, scope["path"], why)
                return status, why
        if not self._rate.left(caller.name if caller else f"address {address}"):
            return 429, "more than requests-per-minute; wait"
        size = _header(scope, b"content-length")
        if method == "POST" and size.isdigit() and int(size) > MOST_BYTES:
            return TOO_LARGE
        scope.setdefault("state", {})["caller"] = caller
        return None

    def _admit(self, scope: Scope, right: str) -> tuple[Caller | None, int, str]:
        scheme, _, token = _header(scope, b"authorization").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None, 401, "a bearer token is wanted (header Authorization)"
        caller = self._tokens.who(token.strip())
        if caller is None:
            return None, 401, "the token is not known"
        if right not in caller.rights:
            return caller, 403, f"the token of {caller.name} does not give the right {right!r}"
        return caller, 200, ""


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


async def _body(receive: Receive) -> bytes | tuple[int, str]:
    """A request's body, read within its limits; or the status and line that turn it away."""
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIME):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return 400, "the caller left"
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > MOST_BYTES:
                    return TOO_LARGE
    except TimeoutError:
        return 408, f"the body did not come within {BODY_TIME:g} s"
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already to who asks for it, then what comes after it."""
    given = False

    async def first_the_body() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body


async def say(send: Send, status: int, why: str) -> None:
    """Answer with one line."""
    content = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *SAFE]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 429:
        headers.append((b"retry-after", b"60"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
