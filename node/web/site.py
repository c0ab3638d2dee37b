"""The web application: its paths, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from node import logs
from node.errors import GiveUp, TryAgain
from node.web import api
from node.web.door import SAFE

log = logs.get(__name__)


def make(
    store: api.Takes, registry: CollectorRegistry, reasons: Callable[[], list[str]], clock: Callable[[], float]
) -> FastAPI:
    """The application over `store`. `reasons`: what is wrong with the node, for /healthz."""
    site = FastAPI(title="Overread", openapi_url=None, docs_url=None, redoc_url=None)
    safe = {name.decode(): value.decode() for name, value in SAFE}

    @site.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=safe)

    @site.get("/healthz")
    def healthz() -> Response:
        found = reasons()
        body = {"status": "unwell" if found else "ok", "reasons": found}
        return JSONResponse(body, status_code=503 if found else 200, headers=safe)

    site.include_router(api.router(store, clock))

    @site.exception_handler(RequestValidationError)
    async def shape(request: Request, error: RequestValidationError) -> Response:
        return _not_taken(request, _first(error))

    @site.exception_handler(GiveUp)
    async def given_up(request: Request, error: GiveUp) -> Response:
        return _not_taken(request, error.reason)

    @site.exception_handler(TryAgain)
    async def away(_: Request, error: TryAgain) -> Response:
        return _line(503, f"{error.reason}; try again", {"Retry-After": "10"})

    @site.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        log.error("a request failed", path=request.url.path, error=type(error).__name__, where=logs.where(error))
        return _line(500, "something failed here; the node's log says where")

    return site


def _not_taken(request: Request, why: str) -> Response:
    log.warning("a request was not taken", path=request.url.path, by=f"rest/{request.state.caller.name}", reason=why)
    return _line(422, why)


def _line(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    given = {name.decode(): value.decode() for name, value in SAFE} | (headers or {})
    return JSONResponse({"error": why}, status_code=status, headers=given)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong with a body, in one line and without what it holds."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the body is not JSON"
    known = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]  # the rest is the caller's word
    place = ".".join(str(part) for part in known if part != "body")
    return f"{place or 'the body'}: {first['msg']}"
