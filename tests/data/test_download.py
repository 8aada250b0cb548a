"""Downloads from a server that fails in every way that servers do."""

import http.server
import random
import re
import shutil
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archives import make_archive, read_tree, run_until

from keras_inat.__main__ import main
from keras_inat.data import download as downloads
from keras_inat.data.download import download
from keras_inat.data.unpacking import unpack
from keras_inat.errors import UserError
from keras_inat.files import hold_lock, make_printable
from keras_inat.settings.places import name_url

NUM_ATTEMPTS = 4


@dataclass
class Reply:
    """The answer of the server to one request. The defaults are those of a correct server."""

    status: int | None = None  # without a body
    ignore_range: bool = False
    send: int | None = None  # the number of bytes before `after` happens
    after: str = "close"
    length: int | None = 0  # added to Content-Length; None omits it
    shift: int = 0  # added to the first position in Content-Range
    total: int = 0  # added to the total size in Content-Range
    sends_range: bool = True
    content: bytes | None = None  # instead of the file
    location: str | None = None
    authorization: str | None = None  # that the request must have
    drip_seconds: float = 0.0  # after every 8 KiB


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else None)
        reply = server.next_reply
        del server.script[:1]
        content = server.content if reply.content is None else reply.content
        first = server.asked[-1] or 0
        assert self.headers["Authorization"] == reply.authorization
        partly = wanted is not None and not reply.ignore_range
        if reply.status or reply.location or (partly and first >= len(content)):
            self.send_response(reply.status or (302 if reply.location else 416))
            if not reply.status:
                self.send_header("Location", reply.location or "")
                if not reply.location and reply.sends_range:
                    self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content[first:] if partly else content
        self.send_response(206 if partly else 200)
        if partly and reply.sends_range:
            where = f"bytes {first + reply.shift}-{len(content) - 1}/{len(content) + reply.total}"
            self.send_header("Content-Range", where)
        if reply.length is not None:
            self.send_header("Content-Length", str(len(body) + reply.length))
        self.end_headers()
        self.send_body(body if reply.send is None else body[: reply.send], reply.drip_seconds)
        if reply.send is not None and reply.after == "stall":
            server.closing.wait(5)
        if reply.send is not None and reply.after == "reset":
            time.sleep(0.05)  # The bytes that were sent arrive first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def send_body(self, body, drip_seconds):
        step = 8192 if drip_seconds else len(body) or 1
        for first in range(0, len(body), step):
            self.wfile.write(body[first : first + step])
            time.sleep(drip_seconds)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A local server that answers with the replies of `script`, one per request, and then with `otherwise`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.script = []
        self.otherwise = Reply()
        self.asked = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/photos.zip?dl=1"

    @property
    def next_reply(self):
        return self.script[0] if self.script else self.otherwise

    def handle_error(self, *_):
        pass  # The client was killed or has given up.


@pytest.fixture
def server(monkeypatch):
    urlopen = urllib.request.urlopen

    def open_with_timeout(request, timeout):
        # The timeout is short only for a stalled reply, because a busy machine answers late.
        return urlopen(request, timeout=timeout / 30 if server.next_reply.after == "stall" else timeout)

    monkeypatch.setattr(urllib.request, "urlopen", open_with_timeout)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", (0.01,) * (NUM_ATTEMPTS - 1))


@pytest.fixture
def content(server, tmp_path):
    server.content = make_archive(tmp_path / "original.zip").read_bytes()
    assert len(server.content) > 40_000
    return server.content


CORRECT = Reply()
SOUND = {
    "at once": ([CORRECT], [None]),
    "closed early": ([Reply(send=15_000), Reply(send=5_000)], [None, 15_000, 20_000]),
    "reset": ([Reply(send=15_000, after="reset")], [None, 15_000]),
    "stalled": ([Reply(send=15_000, after="stall")], [None, 15_000]),
    "stalled before the first byte": ([Reply(send=0, after="stall")], [None, None]),
    "busy at first": ([Reply(status=500), Reply(status=503)], [None, None, None]),
    "busy in between": ([Reply(send=15_000), Reply(status=503)], [None, 15_000, 15_000]),
    # In total more failed attempts than are allowed in a row.
    "often": (
        [Reply(send=5_000), Reply(status=500), Reply(status=500)] * 4,
        [None, *(size for size in (5_000, 10_000, 15_000, 20_000) for _ in range(3))],
    ),
    "wrong first position": ([Reply(send=15_000), Reply(shift=-5)], [None, 15_000, None]),
    "no Content-Range": ([Reply(send=15_000), Reply(sends_range=False)], [None, 15_000, None]),
    "another size": ([Reply(send=15_000), Reply(total=7)], [None, 15_000, None]),
    "no ranges": ([Reply(send=15_000), Reply(ignore_range=True)], [None, 15_000]),
    "no ranges, often": ([Reply(send=30_000), Reply(ignore_range=True, send=5_000)], [None, 30_000, 5_000]),
    "without a length": ([Reply(length=None)], [None]),
    "length too long": ([Reply(length=500)], [None, "all"]),
    "length too long, no total size": ([Reply(length=500), Reply(sends_range=False)], [None, "all"]),
    "redirected": ([Reply(location="/elsewhere")], [None, None]),
}


@pytest.mark.parametrize(("script", "asked"), SOUND.values(), ids=SOUND)
def test_a_download_succeeds(server, content, tmp_path, script, asked):
    server.script = list(script)
    archive = download(server.url, tmp_path / "data")
    assert archive.read_bytes() == content
    assert server.asked == [len(content) if first == "all" else first for first in asked]
    assert re.fullmatch(r"photos-[0-9a-f]{8}\.zip", archive.name)
    assert sorted(path.name for path in archive.parent.iterdir()) == [f".{archive.name}.lock", archive.name]
    assert download(server.url, tmp_path / "data") == archive
    assert len(server.asked) == len(asked)


def test_a_redirected_range_is_requested_again(server, content, tmp_path):
    server.script = [Reply(send=15_000), Reply(location="/elsewhere")]
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [None, 15_000, 15_000]


FAILED = {
    "missing": ([Reply(status=404)], 1, "HTTP Error 404: Not Found", None),
    "forbidden in between": ([Reply(send=15_000), Reply(status=403)], 2, "HTTP Error 403: Forbidden", 15_000),
    "416 to everything": ([Reply(status=416)], 1, "HTTP Error 416", None),
    "always busy": ([Reply(status=500)], NUM_ATTEMPTS, "HTTP Error 500: Internal Server Error", None),
    "always stalled": ([Reply(send=0, after="stall")], NUM_ATTEMPTS, "timed out", None),
    "later always closed": ([Reply(send=9_000), Reply(send=0)], 1 + NUM_ATTEMPTS, r"after 9000 of \d+ bytes", 9_000),
    # Bytes arrive, but never more than before.
    "always from start": ([Reply(send=9_000, ignore_range=True)], 1 + NUM_ATTEMPTS, r"after 9000 of \d+ bytes", 9_000),
    "wrong length, no ranges": (
        [Reply(length=99, ignore_range=True)], 1 + NUM_ATTEMPTS, r"closed after \d+ of \d+ bytes", "all"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "requests", "words", "left"), FAILED.values(), ids=FAILED)
def test_a_download_fails(server, content, tmp_path, script, requests, words, left):
    *server.script, server.otherwise = script
    with pytest.raises(UserError, match=words) as error:
        download(server.url, tmp_path / "data")
    assert str(error.value).startswith(f"{name_url(server.url)} could not be downloaded (")
    assert str(error.value).endswith("run `keras-inat data` again to resume, or give ZIP=<file>, or use DATA=demo")
    assert "\n" not in str(error.value)
    assert len(server.asked) == requests
    (part,) = list((tmp_path / "data").glob("*.part")) or [Path("/dev/null")]
    assert part.read_bytes() == (content if left == "all" else content[: left or 0])
    # The partial file is valid: the next call resumes.
    server.script = []
    server.otherwise = CORRECT
    server.asked = []
    assert download(server.url, tmp_path / "data").read_bytes() == content
    assert server.asked == [len(content) if left == "all" else left]


def test_pauses_grow_and_are_reset_by_progress(server, content, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", (1, 2, 4))
    pauses = []
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    busy = Reply(status=503)
    server.script = [busy, busy, busy, Reply(send=9_000), busy, busy]
    download(server.url, tmp_path)
    assert pauses[:3] == [1, 2, 4]
    assert [pause for pause in pauses[3:] if pause] == [1, 1, 2]
    assert "HTTP Error 503: Service Unavailable: trying again in 4 s\n" in capsys.readouterr().out


UNUSABLE = {
    "length too short": (Reply(length=-500), "cannot be read as a zip archive"),
    "cut without a length": (Reply(length=None, send=20_000), "cannot be read as a zip archive"),
    "nothing": (Reply(content=b""), "cannot be read as a zip archive"),
    "a page": (Reply(content=b"<html>sign in</html>"), "cannot be read as a zip archive"),
    "damaged": ("flip", r"member 'photos/train/red/0.png' cannot be read from the archive \(Bad CRC-32"),
}


@pytest.mark.parametrize(("reply", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_archive_is_refused_and_removed(server, content, tmp_path, reply, words):
    flipped = bytearray(content)
    flipped[15_000] ^= 255
    server.script = [Reply(content=bytes(flipped)) if reply == "flip" else reply]
    with pytest.raises(UserError, match=rf"not a usable zip archive \(.*{words}.*\) and was removed: run"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]
    assert download(server.url, tmp_path / "data").read_bytes() == content


@pytest.mark.parametrize(
    ("left", "asked"), [(1000, [1000]), ("all", ["all"]), (90_000, [90_000, None]), ("other", [15_000, None])]
)
def test_leftovers_of_an_earlier_call_are_resumed_or_replaced(server, content, tmp_path, left, asked):
    archive = download(server.url, tmp_path)
    archive.unlink()
    part = Path(f"{archive}.part")
    # The first bytes; all bytes under the temporary name; too many bytes; bytes of another file.
    part.write_bytes({1000: content[:1000], "all": content, 90_000: bytes(90_000), "other": bytes(15_000)}[left])
    server.asked.clear()
    if left == "other":
        with pytest.raises(UserError, match="not a usable zip archive"):
            download(server.url, tmp_path)
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [len(content) if first == "all" else first for first in asked]
    assert not part.exists()


def test_a_disk_that_is_too_small_is_reported_before_the_first_byte(server, content, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 3 << 28})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    server.script = [Reply(length=1 << 30)]
    with pytest.raises(UserError, match=r"zip\.part needs 1\.00 GiB more disk space, but only 0\.75 GiB are free"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]
    assert len(server.asked) == 1
    # Bytes that are already on disk need no more space.
    (lock,) = (tmp_path / "data").iterdir()
    lock.with_name(lock.stem[1:] + ".part").write_bytes(content[:15_000])
    usage.free = len(content) - 15_000
    assert download(server.url, tmp_path / "data").read_bytes() == content


def test_a_full_disk_is_not_tried_again(server, content, tmp_path, monkeypatch):
    def write(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "track_progress", write)  # called while the file is open
    with pytest.raises(UserError, match=r"could not be downloaded \(\[Errno 28\] No space left on device\)"):
        download(server.url, tmp_path)
    assert server.asked == [None]


def test_two_processes_do_not_write_the_same_file(server, content, tmp_path):
    archive = download(server.url, tmp_path)
    lock = archive.with_name(f".{archive.name}.lock")
    words = f"downloading {archive}: let it finish"
    with hold_lock(lock), pytest.raises(UserError, match=words):
        download(server.url, tmp_path)
    folder = tmp_path / "mine"
    with hold_lock(tmp_path / ".mine.lock"), pytest.raises(UserError, match=f"unpacking into {folder}: let it finish"):
        unpack(archive, folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/photos.zip", "nowhere", "http://x y/z.zip", "http://[x/z.zip", "http://x/\udcff.zip"],
)
def test_an_unreachable_address_is_one_line_at_once(address, capsys, monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("waited"))
    assert main(["data", f"URL={address}", "DATA=data/mine"]) == 2
    error = capsys.readouterr().err
    assert f"{make_printable(address)} could not be downloaded (" in error
    assert "or give ZIP=<file>, or use DATA=demo" in error
    assert error.count("\n") == 1


def test_a_temporarily_lost_connection_is_waited_for(server, content, tmp_path, monkeypatch):
    server.script = [Reply(send=15_000)]
    urlopen = urllib.request.urlopen
    calls = []

    def lose(*arguments, **options):
        calls.append(1)
        if len(calls) in (2, 3):
            raise urllib.error.URLError("Temporary failure in name resolution")
        return urlopen(*arguments, **options)

    monkeypatch.setattr(urllib.request, "urlopen", lose)
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [None, 15_000]


def test_a_download_resumes_after_any_kill(server, tmp_path):
    server.content = content = make_archive(tmp_path / "original.zip", num_bytes=150_000).read_bytes()
    server.otherwise = Reply(send=30_000, after="stall", drip_seconds=0.003)
    call = f"from pathlib import Path; from keras_inat.data.download import *; download({server.url!r}, Path('data'))"
    rng = random.Random(1)
    num_received = 0
    for turn in range(4):
        aim = num_received + rng.randrange(1, 20_000)
        run_until(call, lambda aim=aim: any(part.stat().st_size >= aim for part in Path("data").glob("*.part")))
        (part,) = Path("data").glob("*.part")
        num_received = part.stat().st_size
        assert not list(Path("data").glob("*.zip"))
        assert content.startswith(part.read_bytes())
        assert len(server.asked) == turn + 1
    server.otherwise = CORRECT
    assert download(server.url, Path("data")).read_bytes() == content
    assert server.asked[0] is None
    assert server.asked[1:] == sorted(server.asked[1:])
    assert server.asked[-1] == num_received


def test_a_malicious_download_is_refused_and_removed(server, tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("../../x.png", b"x")
    server.content = archive.read_bytes()
    with pytest.raises(UserError, match=r"member '../../x.png' has no path within the target folder"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]


def test_make_data_downloads_unpacks_and_removes_the_archive(photos, server, capsys):
    shutil.make_archive("given", "zip", photos)
    server.content = Path("given.zip").read_bytes()
    assert main(["data", f"URL={server.url}", "DATA=data/mine"]) == 0
    assert read_tree(Path("data/mine")) == read_tree(photos)
    output = capsys.readouterr().out
    assert re.search(
        r"unpacked 42 images into data/mine and removed the archive data/photos-[0-9a-f]{8}\.zip\n", output
    )
    assert "mine: 30 train and 12 test images" in output
    assert not [*Path("data").rglob("*.zip"), *Path("data").rglob("*.part")]
    # The second run sends no request.
    assert main(["data", f"URL={server.url}", "DATA=data/mine"]) == 0
    assert server.asked == [None]
    assert "data/mine exists, so nothing was downloaded: delete it first" in capsys.readouterr().out
    assert main(["data", "ZIP=given.zip", "DATA=data/other"]) == 0
    assert Path("given.zip").exists()
    assert main(["data", "ZIP=given.zip", "DATA=given.zip"]) == 2
    assert "DATA must be the folder to unpack into. Received: 'given.zip', which is a file" in capsys.readouterr().err
    assert main(["data", "ZIP=none.zip", "DATA=data/another"]) == 2
    assert "ZIP must be an archive that exists. Received: 'none.zip'" in capsys.readouterr().err
    assert main(["data", "ZIP=gven.zip", "DATA=data/another"]) == 2
    assert capsys.readouterr().err.endswith(" Received: 'gven.zip'. Did you mean 'given.zip'?\n")
    Path("notes.txt").write_text("")
    assert main(["data", "ZIP=notes.txt", "DATA=data/another"]) == 2
    assert "ZIP must be an archive (.zip, .tar, " in capsys.readouterr().err


def test_archives_of_one_name_at_two_addresses_are_separate(server, content, tmp_path):
    first = download(server.url, tmp_path / "data")
    server.content = make_archive(tmp_path / "other.zip", num_files=8).read_bytes()
    second = download(server.url.replace("/photos", "/b/photos"), tmp_path / "data")
    assert [first.read_bytes(), second.read_bytes()] == [content, server.content]


def test_other_archives_are_refused_before_they_are_downloaded(server, tmp_path):
    with pytest.raises(
        UserError, match=r"URL must be the address of a \.zip archive: download .*, and give ZIP=<file>"
    ):
        download(server.url.replace(".zip", ".tar.GZ"), tmp_path / "data")
    assert server.asked == []


def test_a_file_address_is_accepted(content, tmp_path):
    address = f"file://{tmp_path}/original.zip"
    assert download(address, tmp_path / "data").read_bytes() == content


def test_a_password_in_an_address_reaches_its_server_only(server, content, tmp_path, capsys):
    address = server.url.replace("://", "://ann:hun%40ter2@")
    mine = Reply(authorization="Basic YW5uOmh1bkB0ZXIy")
    server.script = [replace(mine, status=503), replace(mine, location="http://localhost:1/")]
    with pytest.raises(UserError) as error:
        download(address, tmp_path / "data")
    server.script = [mine]
    archive = download(address, tmp_path / "data")
    assert archive.read_bytes() == content
    told = [str(error.value), *capsys.readouterr(), *map(str, (tmp_path / "data").rglob("*"))]
    assert not [text for text in told if "ann" in text or "ter2" in text or "dl=1" in text]


@pytest.mark.parametrize("address", ["https://ann:hun/ter2@x/y.zip", "http://ann:hunter2@[/y.zip"])
def test_a_password_in_an_invalid_address_is_not_shown(address, capsys):
    assert main(["data", f"URL={address}", "DATA=data/mine"]) == 2
    assert main(["data", address]) == 2
    error = capsys.readouterr().err
    assert "/y.zip could not be downloaded (it is not a valid address" in error
    assert "ter2" not in error
