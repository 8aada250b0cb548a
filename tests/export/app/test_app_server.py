"""The server of the app."""

import socket
import threading
import urllib.error
import urllib.request

import pytest

from keras_inat.errors import UserError
from keras_inat.export.app.server import build_server


def test_files_have_the_types_that_browsers_require(tmp_path):
    types = {
        "a.js": "text/javascript; charset=utf-8",
        "a.webmanifest": "application/manifest+json",
        "a.svg": "image/svg+xml",
        "a.onnx": "application/octet-stream",
    }
    for name in types:
        (tmp_path / name).write_text(name)
    (tmp_path.parent / "secret.txt").write_text("secret")
    with build_server(tmp_path, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for name, kind in types.items():
            with urllib.request.urlopen(address + name) as answer:
                assert answer.headers["Content-Type"] == kind
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.read().decode() == name
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "../secret.txt")
        server.shutdown()


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} cannot be used .* app.port={port + 1}, or app.port=0"):
            build_server(tmp_path, port)
