"""A server on this machine for a folder of static files."""

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from keras_inat.errors import UserError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Sends files with the types that browsers require, whatever this system maps their endings to."""

    extensions_map = {  # noqa: RUF012, as the standard library has it
        "": "application/octet-stream",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".webmanifest": "application/manifest+json",
    }

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


def build_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Returns a server of the files in `folder` that only this machine reaches. Port 0 chooses a free one.

    Raises:
        UserError: Another program uses the port.
    """
    try:
        return ThreadingHTTPServer((HOST, port), functools.partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({error.strerror}): give another one, as app.port={port + 1}, or app.port=0 "
            "for any free one"
        ) from None
