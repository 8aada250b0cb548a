"""Getting the photographs, from a server that does all that servers do and from archives that mean harm."""

import http.server
import random
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from keras_inat.__main__ import main
from keras_inat.data import archive as archives
from keras_inat.data import download as downloads
from keras_inat.data.download import download, unpack
from keras_inat.errors import UserError
from keras_inat.files import hold_lock, make_printable

NUM_ATTEMPTS = 4


@dataclass
class Reply:
    """How the server answers one request: honestly, but for what is said here."""

    status: int | None = None  # and nothing else
    ignore_range: bool = False
    send: int | None = None  # so many bytes, and then `after`
    after: str = "close"
    length: int | None = 0  # added to Content-Length; None leaves it out
    shift: int = 0  # added to where Content-Range begins
    total: int = 0  # added to the size that Content-Range says
    says_range: bool = True
    content: bytes | None = None  # in place of the file
    location: str | None = None
    drip_seconds: float = 0.0  # after every 8 KiB


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else None)
        reply = server.next_reply
        del server.script[:1]
        content = server.content if reply.content is None else reply.content
        first = server.asked[-1] or 0
        partly = wanted is not None and not reply.ignore_range
        if reply.status or reply.location or (partly and first >= len(content)):
            self.send_response(reply.status or (302 if reply.location else 416))
            if not reply.status:
                self.send_header("Location", reply.location or "")
                if not reply.location and reply.says_range:
                    self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content[first:] if partly else content
        self.send_response(206 if partly else 200)
        if partly and reply.says_range:
            where = f"bytes {first + reply.shift}-{len(content) - 1}/{len(content) + reply.total}"
            self.send_header("Content-Range", where)
        if reply.length is not None:
            self.send_header("Content-Length", str(len(body) + reply.length))
        self.end_headers()
        self.send_body(body if reply.send is None else body[: reply.send], reply.drip_seconds)
        if reply.send is not None and reply.after == "stall":
            server.closing.wait(5)
        if reply.send is not None and reply.after == "reset":
            time.sleep(0.05)  # what was sent arrives first
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def send_body(self, body, drip_seconds):
        step = 8192 if drip_seconds else len(body) or 1
        for first in range(0, len(body), step):
            self.wfile.write(body[first : first + step])
            self.server.sent += len(body[first : first + step])
            time.sleep(drip_seconds)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """On the loopback; answers with `script`, a reply a request, and then with `otherwise`."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.script, self.otherwise = b"", [], Reply()
        self.asked, self.sent, self.closing = [], 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/photos.zip?dl=1"

    @property
    def next_reply(self):
        return self.script[0] if self.script else self.otherwise

    def handle_error(self, *_):
        pass  # a client that was killed or gave up


@pytest.fixture
def server(monkeypatch):
    urlopen = download.urllib.request.urlopen

    def open_soon(request, timeout):
        # Only where silence is meant is the wait short: a busy machine answers late.
        return urlopen(request, timeout=timeout / 30 if server.next_reply.after == "stall" else timeout)

    monkeypatch.setattr(download.urllib.request, "urlopen", open_soon)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", (0.01,) * (NUM_ATTEMPTS - 1))


def make_archive(path, num_files=4, num_bytes=10_000):
    """A sound archive of two classes, stored, with bytes that differ everywhere."""
    rng = random.Random(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "val"):
            for name in ("blue", "red"):
                for index in range(num_files // 4):
                    archive.writestr(f"photos/{split}/{name}/{index}.png", rng.randbytes(num_bytes))
    return path


@pytest.fixture
def content(server, tmp_path):
    server.content = make_archive(tmp_path / "original.zip").read_bytes()
    assert len(server.content) > 40_000
    return server.content


def read_tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


HONEST = Reply()
SOUND = {
    "at once": ([HONEST], [None]),
    "closed early": ([Reply(send=15_000), Reply(send=5_000)], [None, 15_000, 20_000]),
    "reset": ([Reply(send=15_000, after="reset")], [None, 15_000]),
    "stalled": ([Reply(send=15_000, after="stall")], [None, 15_000]),
    "stalled before the first byte": ([Reply(send=0, after="stall")], [None, None]),
    "busy at first": ([Reply(status=500), Reply(status=503)], [None, None, None]),
    "busy in between": ([Reply(send=15_000), Reply(status=503)], [None, 15_000, 15_000]),
    # More fruitless attempts in all than are allowed in a row.
    "often": (
        [Reply(send=5_000), Reply(status=500), Reply(status=500)] * 4,
        [None, *(size for size in (5_000, 10_000, 15_000, 20_000) for _ in range(3))],
    ),
    "begins elsewhere": ([Reply(send=15_000), Reply(shift=-5)], [None, 15_000, None]),
    "does not say where": ([Reply(send=15_000), Reply(says_range=False)], [None, 15_000, None]),
    "another size": ([Reply(send=15_000), Reply(total=7)], [None, 15_000, None]),
    "no ranges": ([Reply(send=15_000), Reply(ignore_range=True)], [None, 15_000]),
    "no ranges, often": ([Reply(send=30_000), Reply(ignore_range=True, send=5_000)], [None, 30_000, 5_000]),
    "without a length": ([Reply(length=None)], [None]),
    "length too long": ([Reply(length=500)], [None, "all"]),
    "length too long, says no size": ([Reply(length=500), Reply(says_range=False)], [None, "all"]),
    "redirected": ([Reply(location="/elsewhere")], [None, None]),
}


@pytest.mark.parametrize(("script", "asked"), SOUND.values(), ids=SOUND)
def test_a_download_comes_through(server, content, tmp_path, script, asked):
    server.script = list(script)
    archive = download(server.url, tmp_path / "data")
    assert archive.read_bytes() == content
    assert server.asked == [len(content) if first == "all" else first for first in asked]
    assert re.fullmatch(r"photos-[0-9a-f]{8}\.zip", archive.name)
    assert sorted(path.name for path in archive.parent.iterdir()) == [f".{archive.name}.lock", archive.name]
    assert download(server.url, tmp_path / "data") == archive
    assert len(server.asked) == len(asked)


def test_a_redirected_range_is_asked_for_again(server, content, tmp_path):
    server.script = [Reply(send=15_000), Reply(location="/elsewhere")]
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [None, 15_000, 15_000]


FAILED = {
    "missing": ([Reply(status=404)], 1, "HTTP Error 404: Not Found", None),
    "forbidden in between": ([Reply(send=15_000), Reply(status=403)], 2, "HTTP Error 403: Forbidden", 15_000),
    "416 to everything": ([Reply(status=416)], 1, "HTTP Error 416", None),
    "always busy": ([Reply(status=500)], NUM_ATTEMPTS, "HTTP Error 500: Internal Server Error", None),
    "always silent": ([Reply(send=0, after="stall")], NUM_ATTEMPTS, "timed out", None),
    "silent from here on": ([Reply(send=9_000), Reply(send=0)], 1 + NUM_ATTEMPTS, r"after 9000 of \d+ bytes", 9_000),
    # Bytes come, but never more than before.
    "always anew": ([Reply(send=9_000, ignore_range=True)], 1 + NUM_ATTEMPTS, r"after 9000 of \d+ bytes", 9_000),
    "wrong length, no ranges": (
        [Reply(length=99, ignore_range=True)], 1 + NUM_ATTEMPTS, r"closed after \d+ of \d+ bytes", "all"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "requests", "words", "left"), FAILED.values(), ids=FAILED)
def test_a_download_is_given_up(server, content, tmp_path, script, requests, words, left):
    *server.script, server.otherwise = script
    with pytest.raises(UserError, match=words) as error:
        download(server.url, tmp_path / "data")
    assert str(error.value).startswith(f"{server.url} could not be downloaded (")
    assert str(error.value).endswith("run `make data` again to go on, or give ZIP=<file>, or use DATA=demo")
    assert "\n" not in str(error.value)
    assert len(server.asked) == requests
    (part,) = list((tmp_path / "data").glob("*.part")) or [Path("/dev/null")]
    assert part.read_bytes() == (content if left == "all" else content[: left or 0])
    # What is left is good: the next call goes on.
    server.script, server.otherwise, server.asked = [], HONEST, []
    assert download(server.url, tmp_path / "data").read_bytes() == content
    assert server.asked == [len(content) if left == "all" else left]


def test_pauses_grow_and_start_anew_after_a_success(server, content, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "PAUSES_SECONDS", (1, 2, 4))
    pauses = []
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    busy = Reply(status=503)
    server.script = [busy, busy, busy, Reply(send=9_000), busy, busy]
    download(server.url, tmp_path)
    assert pauses[:3] == [1, 2, 4]
    assert [pause for pause in pauses[3:] if pause] == [1, 1, 2]
    assert "HTTP Error 503: Service Unavailable: trying again in 4 s\n" in capsys.readouterr().out


SENT_WRONG = {
    "length too short": (Reply(length=-500), "cannot be read as a zip archive"),
    "cut without a length": (Reply(length=None, send=20_000), "cannot be read as a zip archive"),
    "nothing": (Reply(content=b""), "cannot be read as a zip archive"),
    "a page": (Reply(content=b"<html>sign in</html>"), "cannot be read as a zip archive"),
    "damaged": ("flip", r"member 'photos/train/red/0.png' is damaged: Bad CRC-32"),
}


@pytest.mark.parametrize(("reply", "words"), SENT_WRONG.values(), ids=SENT_WRONG)
def test_what_is_no_sound_archive_is_refused_and_removed(server, content, tmp_path, reply, words):
    flipped = bytearray(content)
    flipped[15_000] ^= 255
    server.script = [Reply(content=bytes(flipped)) if reply == "flip" else reply]
    with pytest.raises(UserError, match=rf"no sound zip archive \(.*{words}.*\) and was removed: run"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]
    assert download(server.url, tmp_path / "data").read_bytes() == content


@pytest.mark.parametrize(
    ("left", "asked"), [(1000, [1000]), ("all", ["all"]), (90_000, [90_000, None]), ("other", [15_000, None])]
)
def test_what_an_earlier_call_left(server, content, tmp_path, left, asked):
    archive = download(server.url, tmp_path)
    archive.unlink()
    part = Path(f"{archive}.part")
    # A part; all of it under its temporary name; more than there is; a part of something else.
    part.write_bytes({1000: content[:1000], "all": content, 90_000: bytes(90_000), "other": bytes(15_000)}[left])
    server.asked.clear()
    if left == "other":
        with pytest.raises(UserError, match="no sound zip archive"):
            download(server.url, tmp_path)
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [len(content) if first == "all" else first for first in asked]
    assert not part.exists()


def test_a_disk_too_small_is_seen_before_the_first_byte(server, content, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 3 << 28})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    server.script = [Reply(length=1 << 30)]
    with pytest.raises(UserError, match=r"zip\.part needs 1\.00 GiB more, and its disk has 0\.75 GiB free"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]
    assert len(server.asked) == 1
    # What is there already is not needed again.
    (lock,) = (tmp_path / "data").iterdir()
    lock.with_name(lock.stem[1:] + ".part").write_bytes(content[:15_000])
    usage.free = len(content) - 15_000
    assert download(server.url, tmp_path / "data").read_bytes() == content


def test_a_disk_that_fills_up_is_no_reason_to_try_again(server, content, tmp_path, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "track_progress", write)  # called while the file is open
    with pytest.raises(UserError, match=r"could not be downloaded \(\[Errno 28\] No space left on device\)"):
        download(server.url, tmp_path)
    assert server.asked == [None]


def test_two_processes_do_not_write_one_part(server, content, tmp_path):
    archive = download(server.url, tmp_path)
    lock, words = archive.with_name(f".{archive.name}.lock"), f"downloading {archive}: let it finish"
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
def test_no_way_to_the_data_is_one_line_at_once(address, capsys, monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda _: pytest.fail("nothing to wait for"))
    assert main(["data", f"URL={address}", "DATA=data/mine"]) == 2
    error = capsys.readouterr().err
    assert f"{make_printable(address)} could not be downloaded (" in error
    assert "or give ZIP=<file>, or use DATA=demo" in error
    assert error.count("\n") == 1


def test_a_connection_lost_for_a_while_is_waited_for(server, content, tmp_path, monkeypatch):
    server.script = [Reply(send=15_000)]
    urlopen, calls = download.urllib.request.urlopen, []

    def lose(*arguments, **options):
        calls.append(1)
        if len(calls) in (2, 3):
            raise download.urllib.error.URLError("Temporary failure in name resolution")
        return urlopen(*arguments, **options)

    monkeypatch.setattr(download.urllib.request, "urlopen", lose)
    assert download(server.url, tmp_path).read_bytes() == content
    assert server.asked == [None, 15_000]


def run_until(call, reached):
    """Starts Python on `call` and kills it, which says nothing to it, as soon as `reached()`."""
    process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.DEVNULL)
    while not reached() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_download_killed_anywhere_goes_on(server, tmp_path):
    server.content = content = make_archive(tmp_path / "original.zip", num_bytes=150_000).read_bytes()
    server.otherwise = Reply(drip_seconds=0.003)
    call = f"from pathlib import Path; from keras_inat.data.download import *; download({server.url!r}, Path('data'))"
    rng = random.Random(1)
    for turn in range(4):
        aim = server.sent + rng.randrange(10_000, 120_000)
        run_until(call, lambda aim=aim: server.sent >= aim and any(Path("data").glob("*.part")))
        (part,) = Path("data").glob("*.part")
        assert not list(Path("data").glob("*.zip"))
        assert content.startswith(part.read_bytes())
        assert len(server.asked) == turn + 1
    size = part.stat().st_size
    server.otherwise = HONEST
    assert download(server.url, Path("data")).read_bytes() == content
    assert server.asked[-1] == size > 0
    assert server.asked[0] is None
    assert server.asked[1:] == sorted(server.asked[1:])


def test_unpacking_killed_anywhere_goes_on(tmp_path):
    archive = make_archive(tmp_path / "photos.zip", num_files=400, num_bytes=2000)
    whole = tmp_path / "whole"
    assert unpack(archive, whole) == 400
    temporary, folder = tmp_path / ".mine.unpacking", tmp_path / "mine"
    slowly = (
        "import time; from pathlib import Path; from keras_inat.data.download import *\n"
        "read = Source.read\n"
        "def read_slowly(*arguments): time.sleep(0.003); return read(*arguments)\n"
        "Source.read = read_slowly; unpack(Path('photos.zip'), Path('mine'))"
    )
    rng, num_files = random.Random(2), 0
    for _ in range(4):
        num_files += rng.randrange(20, 70)
        run_until(slowly, lambda aim=num_files: len(list(temporary.glob("*/*/*"))) >= aim)
        assert not folder.exists()
    before = {path.relative_to(temporary): path.stat().st_mtime_ns for path in temporary.glob("*/*/*")}
    assert len(before) >= num_files > 80
    assert unpack(archive, folder) == 400
    assert read_tree(folder) == read_tree(whole)
    assert not temporary.exists()
    kept = [path for path, when in before.items() if (folder / path).stat().st_mtime_ns == when]
    assert len(kept) >= len(before) - 1  # but for the one that was being written


def test_an_unpacking_of_folders_in_folders_goes_on(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("photos/train/red/a/b/c/deep.png", b"deep")
    assert unpack(archive, tmp_path / "mine") == 5
    whole = read_tree(tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / ".mine.unpacking")
    (tmp_path / ".mine.unpacking" / "train" / "blue" / "0.png").unlink()
    assert unpack(archive, tmp_path / "mine") == 5
    assert read_tree(tmp_path / "mine") == whole


def test_what_an_earlier_unpacking_left(tmp_path):
    archive = make_archive(tmp_path / "photos.zip", num_files=12)
    assert unpack(archive, tmp_path / "whole") == 12
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    left = tmp_path / ".mine.unpacking"
    shutil.copytree(tmp_path / "whole", left)
    red = left / "train" / "red"
    (red / "0.png").write_bytes((red / "0.png").read_bytes()[:100])  # cut short
    (red / "1.png").write_bytes(bytes(10_000))  # of the right size
    (red / "2.png").unlink()
    (red / "2.png").mkdir()  # not even a file
    (red / "2.png" / "stray").write_text("of another archive")
    (red / "9.png").write_text("of another archive")
    (left / "train" / "green").mkdir()
    (left / "train" / "green" / "0.png").write_text("of another archive")
    (left / "val" / "red" / "0.png").unlink()
    (left / "val" / "red" / "0.png").symlink_to(outside / "precious")
    (left / "test").symlink_to(outside)
    kept = left / "val" / "blue" / "0.png"
    number = kept.stat().st_ino
    assert unpack(archive, tmp_path / "mine") == 12
    assert read_tree(tmp_path / "mine") == read_tree(tmp_path / "whole")
    assert not (tmp_path / "mine" / "train" / "green").exists()
    assert not (tmp_path / "mine" / "test").exists()
    assert (tmp_path / "mine" / "val" / "blue" / "0.png").stat().st_ino == number
    assert read_tree(outside) == {"precious": b"stays"}


def test_a_folder_that_exists_is_left_alone(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine exists already: delete it first, or give another DATA"):
        unpack(archive, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_unpacking_needs_room_for_what_lacks(tmp_path, monkeypatch):
    archive = make_archive(tmp_path / "photos.zip")
    usage = type("Usage", (), {"free": 39_999})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"mine needs 0\.00 GiB more, and its disk has 0\.00 GiB free"):
        unpack(archive, tmp_path / "mine")
    assert not (tmp_path / ".mine.unpacking").exists()
    usage.free = 30_000
    first = tmp_path / ".mine.unpacking" / "train" / "blue" / "0.png"
    first.parent.mkdir(parents=True)
    first.write_bytes(zipfile.ZipFile(archive).read("photos/train/blue/0.png"))
    assert unpack(archive, tmp_path / "mine") == 4


def test_a_damaged_member_is_named_and_the_next_archive_goes_on(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    sound = bytearray(archive.read_bytes())
    archive.write_bytes(sound[:25_000] + bytes([sound[25_000] ^ 255]) + sound[25_001:])
    with pytest.raises(UserError, match=r"photos/val/blue/0\.png in .*photos\.zip .*Bad CRC-32"):
        unpack(archive, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    archive.write_bytes(sound)
    assert unpack(archive, tmp_path / "mine") == 4


def rename(name):
    return lambda info: setattr(info, "filename", name)


def mark(mode):
    return lambda info: setattr(info, "external_attr", (mode | 0o777) << 16)


def claim(num_bytes):
    return lambda info: setattr(info, "file_size", num_bytes)


OUTSIDE = "has a path that leaves the target folder"
NAMELESS = "has no name"
SPECIAL = "is a link or another special file"
REPEATED = "has the same path as another member"
HOSTILE = {
    "nameless": (rename("\0photos/train/red/x.png"), NAMELESS),
    "absolute": (rename("/tmp/train/red/x.png"), "is an absolute path"),
    "absolute backslash": (rename("\\tmp\\x.png"), "is an absolute path"),
    "drive": (rename("C:\\train\\x.png"), "is an absolute path"),
    "upwards": (rename("../../photos/train/red/x.png"), OUTSIDE),
    "upwards as a name": (rename("photos/train/red/.."), OUTSIDE),
    "upwards as a class": (rename("photos/train/../x.png"), OUTSIDE),
    "upwards backslash": (rename("photos/train/red/..\\..\\..\\x.png"), OUTSIDE),
    "link": (mark(stat.S_IFLNK), SPECIAL),
    "pipe": (mark(stat.S_IFIFO), SPECIAL),
    "device": (mark(stat.S_IFBLK), SPECIAL),
    "encrypted": (lambda info: setattr(info, "flag_bits", 1), "is encrypted"),
    "twice": (rename("photos/train/blue/0.png"), REPEATED),
    "a file and a folder": (
        rename("photos/train/blue/0.png/x.png"),
        "lies in a folder with the path of another member",
    ),
    "twice, written otherwise": (rename("photos/./train//blue\\0.png"), REPEATED),
    "large": (claim((512 << 20) + 1), "declares 512 MiB; the limit is 512 MiB"),
    "overlapping": (lambda info: setattr(info, "header_offset", 0), "shares its bytes with another member"),
    "beyond the end": (lambda info: setattr(info, "compress_size", 12_000), "shares its bytes with another member"),
}


@pytest.mark.parametrize(("spoil", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(tmp_path, server, spoil, words):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("photos/train/red/bad.png", bytes(10_000))
        info = members.getinfo("photos/train/red/bad.png")
        spoil(info)  # as the table of contents will say
    before = read_tree(tmp_path)
    with pytest.raises(UserError, match=f"photos.zip is refused: its member .*{words}") as error:
        unpack(archive, tmp_path / "data" / "mine")
    assert repr(info.filename) in str(error.value) or words in (REPEATED, NAMELESS)
    assert "\n" not in str(error.value)
    assert read_tree(tmp_path) == before
    assert not (tmp_path / "data").exists()


def test_a_bomb_is_refused_by_its_claim(tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        for index in range(3):
            members.writestr(f"photos/train/red/bomb{index}.png", b"")
            members.getinfo(f"photos/train/red/bomb{index}.png").file_size = 400 << 20
    with pytest.raises(
        UserError, match=r"'photos/train/red/bomb0.png' is the largest of .* declare 1\.2 GiB in .* 0\.0 MiB"
    ):
        unpack(archive, tmp_path / "mine")


@pytest.mark.parametrize(("num_bytes", "bound", "refused"), [(4, 3, True), (4, 5, False), (0.05, 0.01, False)])
def test_a_bomb_is_large_and_grows_much(tmp_path, monkeypatch, num_bytes, bound, refused):
    monkeypatch.setattr(archives, "BOMB_BYTES", int(bound * 2**20))
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for name in ("train/blue/0", "train/red/0", "val/blue/0", "val/red/0"):
            members.writestr(f"{name}.png", bytes(int(num_bytes * 2**18)))
    if refused:
        with pytest.raises(UserError, match="is the largest of members that declare"):
            unpack(archive, tmp_path / "mine")
    else:
        assert unpack(archive, tmp_path / "mine") == 4


def test_a_hostile_download_is_refused_and_removed(server, tmp_path):
    archive = make_archive(tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr("../../x.png", b"x")
    server.content = archive.read_bytes()
    with pytest.raises(UserError, match=r"member '../../x.png' has a path that leaves the target folder"):
        download(server.url, tmp_path / "data")
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]


def test_make_data_downloads_unpacks_and_keeps_no_second_copy(photos, server, capsys):
    shutil.make_archive("given", "zip", photos)
    server.content = Path("given.zip").read_bytes()
    assert main(["data", f"URL={server.url}", "DATA=data/mine"]) == 0
    assert read_tree(Path("data/mine")) == read_tree(photos)
    said = capsys.readouterr().out
    assert re.search(r"unpacked 42 images into data/mine; removed the archive, data/photos-[0-9a-f]{8}\.zip\n", said)
    assert "mine: 30 train and 12 test images" in said
    assert not [*Path("data").rglob("*.zip"), *Path("data").rglob("*.part")]
    # Run again, it asks nobody for anything.
    assert main(["data", f"URL={server.url}", "DATA=data/mine"]) == 0
    assert server.asked == [None]
    assert "data/mine is there, so that nothing was downloaded: delete it first" in capsys.readouterr().out
    assert main(["data", "ZIP=given.zip", "DATA=data/other"]) == 0
    assert Path("given.zip").exists()
    assert main(["data", "ZIP=given.zip", "DATA=given.zip"]) == 2
    assert "DATA must be the folder to unpack into. Received: 'given.zip', which is a file" in capsys.readouterr().err
    assert main(["data", "ZIP=none.zip", "DATA=data/another"]) == 2
    assert "ZIP must be a .zip file that exists. Received: 'none.zip'" in capsys.readouterr().err


def test_archives_of_one_name_at_two_addresses_are_two(server, content, tmp_path):
    first = download(server.url, tmp_path / "data")
    server.content = make_archive(tmp_path / "other.zip", num_files=8).read_bytes()
    second = download(server.url.replace("/photos", "/b/photos"), tmp_path / "data")
    assert [first.read_bytes(), second.read_bytes()] == [content, server.content]


def test_a_file_address_is_an_address(content, tmp_path):
    address = f"file://{tmp_path}/original.zip"
    assert download(address, tmp_path / "data").read_bytes() == content
