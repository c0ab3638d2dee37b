"""Asks an ASGI application without a network, and fills a store with what happens in a node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any, method: str, path: str, token: str | None = None, body: Any = None, raw: bytes | None = None,
    address: str = "10.0.0.9", parts: int = 1, headers: Mapping[str, str] | None = None,
) -> Reply:  # fmt: skip
    """One request, its body in `parts` pieces."""
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    given |= {} if token is None else {"authorization": f"Bearer {token}"}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "root_path": "", "scheme": "http", "query_string": b"", "client": (address, 5000), "server": ("127.0.0.1", 80),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    size = max(1, -(-len(content) // parts))
    pieces = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        try:
            await app(scope, receive, send)
        except RuntimeError as error:
            if "on purpose" not in str(error):  # the application answers 500 and raises again, for the server's log
                raise

    asyncio.run(run())
    start = next(message for message in sent if message["type"] == "http.response.start")
    answered = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Reply(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, answered)


def samples(text: bytes | str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample of a /metrics page: {name: {labels: value}}; the library's own parser reads it."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text.decode() if isinstance(text, bytes) else text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found
