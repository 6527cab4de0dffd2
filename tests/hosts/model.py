"""A model that hosts believe in: it refuses every request, after noting what it was sent.

A host's own `mcp list` says at most that a server answered. What its model is offered is what counts, and hosts say
that to nobody but the model.
"""

from __future__ import annotations

import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Model(BaseHTTPRequestHandler):
    """Answers 400, which no host tries again."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, 31)
        with Path(sys.argv[1]).open("ab") as log:
            log.write(body + b"\n")
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        content = (
            b'{"type": "error", "error": {"type": "invalid_request_error", "code": 400, "message": "no model here"}}'
        )
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: what matters is in the file."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    print(server.server_port, flush=True)
    server.serve_forever()
