"""A web server on 127.0.0.1 with OHIF's files and, under /dicom-web, Orthanc's DICOMweb."""

from __future__ import annotations

import contextlib
import http.client
import mimetypes
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIG = Path(__file__).with_name("app-config.js")
TYPES = {".wasm": "application/wasm", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}
# OHIF's decoders share memory with their workers, which browsers allow only to isolated pages.
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PASSED_ON = ("accept", "content-type")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: Path
    orthanc_port: int

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(("/dicom-web", "/wado")):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", CONFIG.read_bytes())
        else:
            self._file(path)

    def do_POST(self) -> None:
        self._pass_on()

    def _file(self, path: str) -> None:
        """A file of the build; its start page for the addresses that the page makes up itself."""
        file = (self.files / path.lstrip("/")).resolve()
        if not (file.is_relative_to(self.files) and file.is_file()):
            file = self.files / "index.html"
        type_ = TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self._answer(200, type_, file.read_bytes())

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {key: value for key, value in self.headers.items() if key.lower() in PASSED_ON}
        # Orthanc writes addresses of bulk data into its answers: they must be ours, not its own.
        host = self.headers["Host"]
        headers |= {"Host": host, "Forwarded": f"host={host};proto=http"}
        connection = http.client.HTTPConnection("127.0.0.1", self.orthanc_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            type_ = answer.headers.get("Content-Type", "application/octet-stream")
            self._answer(answer.status, type_, answer.read())

    def _answer(self, status: int, type_: str, body: bytes) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": type_, "Content-Length": str(len(body)), **ISOLATED}.items():
            self.send_header(key, value)
        self.end_headers()
        # A page that is left behind hangs up on what it no longer wants.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: addresses hold UIDs, and the test's output is read by people."""


@contextlib.contextmanager
def serving(ohif: Path, orthanc_port: int) -> Iterator[str]:
    """The viewer's address while it is served. `ohif`: the folder of the build, with its index.html."""
    handler = type("Handler", (_Handler,), {"files": ohif.resolve(), "orthanc_port": orthanc_port})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
