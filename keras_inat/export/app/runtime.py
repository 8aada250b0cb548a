"""ONNX Runtime for browsers. It comes from npm when an app is made, and each of its files has to have a known hash."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from keras_inat.errors import ExternalError, UserError
from keras_inat.files import suggest_path

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
SCRIPT = "dist/ort.wasm.bundle.min.mjs"
BINARY = "dist/ort-wasm-simd-threaded.wasm"
# SHA-256 of the files of this version. A folder and an archive are checked by the same hashes.
HASHES = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    BINARY: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
NAMES = ("InferenceSession", "Tensor", "env")  # what the page uses of the script
# A page from disk may load scripts, but no modules. The script gets another address than its own, because it would
# resolve that against the origin of the page, which is empty on disk.
ADDRESS = '"blob:runtime"'
TIMEOUT_SECONDS = 600


def read_runtime(place: str | None) -> tuple[str, bytes]:
    """Returns the script, to be run as a classic one, and the WebAssembly module.

    Args:
        place: The package as a folder or as an archive of npm; None: it is fetched by npm.

    Raises:
        UserError: The package is missing or of another version, or npm cannot fetch it.
    """
    check_runtime(place)
    if place is None:
        with tempfile.TemporaryDirectory() as folder:
            files = _read_archive(_fetch(Path(folder)))
    elif Path(place).is_dir():
        files = {name: _read(Path(place, name)) for name in HASHES}
    else:
        files = _read_archive(Path(place))
    for name, digest in HASHES.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            problem = "is not the one" if files[name] else "is missing"
            raise UserError(f"{name} of {place or PACKAGE} {problem}; {PACKAGE} {VERSION} is needed: {_advise()}")
    return _convert_module(files[SCRIPT].decode()), files[BINARY]


def check_runtime(place: str | None) -> None:
    """Raises a `UserError` if the package, or npm to fetch it, is missing."""
    if place is not None and not Path(place).exists():
        raise UserError(f"`app.runtime`={place!r} does not exist: {_advise()}.{suggest_path(place)}")
    if place is None and shutil.which("npm") is None:
        raise ExternalError(f"npm, which fetches {PACKAGE}, is not installed: install Node.js, or {_advise()}")


def _fetch(folder: Path) -> Path:
    """Fetches the package with npm, from npm's own cache if it is there."""
    options = ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = [str(shutil.which("npm")), "pack", f"{PACKAGE}@{VERSION}", *options, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise ExternalError(f"npm did not fetch {PACKAGE} in {TIMEOUT_SECONDS} s: {_advise()}") from None
    archive = next(folder.glob("*.tgz"), None)
    if done.returncode or archive is None:
        found = re.search(r"^npm error (?!code|errno|syscall)(.+)$", done.stderr, re.MULTILINE)
        reason = " ".join(found[1].split())[:120] if found else f"it ended with exit code {done.returncode}"
        raise ExternalError(f"npm cannot fetch {PACKAGE} ({reason}): {_advise()}")
    return archive


def _advise() -> str:
    return (
        f"run `npm pack {PACKAGE}@{VERSION}` on a machine with a network, and give app.runtime=<the .tgz file, or the "
        "folder it unpacks to>"
    )


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _read_archive(path: Path) -> dict[str, bytes]:
    """Returns the files of a package of npm. Nothing is unpacked."""
    files = dict.fromkeys(HASHES, b"")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("package/")
                if name in files and member.isfile():
                    files[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path} is no archive of npm ({reason}): {_advise()}") from None
    return files


def _convert_module(text: str) -> str:
    """Turns the module into a classic script that sets the global name `ort`."""
    body, _, exports = text.rpartition("export{")
    internal = {name: alias for alias, name in re.findall(r"([\w$]+) as (\w+)", exports)}
    members = ",".join(f"{name}:{internal[name]}" for name in NAMES)
    return f"(()=>{{{body.replace('import.meta.url', ADDRESS)}globalThis.ort={{{members}}};}})();\n"
