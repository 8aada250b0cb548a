"""ONNX Runtime for browsers: where it comes from, and what is refused."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from keras_inat.errors import ExternalError, UserError
from keras_inat.export.app import runtime
from keras_inat.export.app.runtime import BINARY, SCRIPT, read_runtime

MODULE = b"var a=class{},b=1;new URL(import.meta.url);export{a as InferenceSession,b as Tensor,b as env,b as other};\n"
FILES = {SCRIPT: MODULE, BINARY: b"\0asm"}
ADVICE = "run `npm pack onnxruntime-web@1.30.0` on a machine with a network, and give app.runtime="


@pytest.fixture(autouse=True)
def _know_small_files(monkeypatch):
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(runtime, "HASHES", hashes)


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return str(path)


@pytest.mark.parametrize("write", [write_archive, write_folder])
def test_a_package_is_read_and_its_module_becomes_a_classic_script(tmp_path, write):
    script, binary = read_runtime(write(tmp_path / "package", FILES))
    assert binary == b"\0asm"
    assert script == (
        '(()=>{var a=class{},b=1;new URL("blob:runtime");globalThis.ort={InferenceSession:a,Tensor:b,env:b};})();\n'
    )


@pytest.mark.parametrize("write", [write_archive, write_folder])
@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (FILES | {BINARY: b"other"}, f"{BINARY} of .* is not the one; onnxruntime-web 1.30.0 is needed: {ADVICE}"),
        ({SCRIPT: MODULE}, f"{BINARY} of .* is missing; onnxruntime-web 1.30.0 is needed: {ADVICE}"),
    ],
)
def test_a_package_of_another_version_is_refused(tmp_path, write, files, problem):
    with pytest.raises(UserError, match=problem):
        read_runtime(write(tmp_path / "package", files))


def test_a_place_that_is_no_package_is_refused(tmp_path):
    (tmp_path / "runtime.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=f"runtime.tgz is no archive of npm .*: {ADVICE}"):
        read_runtime(str(tmp_path / "runtime.tgz"))
    with pytest.raises(
        UserError, match=r"`app.runtime`='.*runtim.tgz' does not exist: .* Did you mean '.*runtime.tgz'"
    ):
        read_runtime(str(tmp_path / "runtim.tgz"))


def write_npm(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "npm").chmod(0o755)


def test_npm_fetches_the_package(tmp_path, monkeypatch):
    archive = write_archive(tmp_path / "onnxruntime-web-1.30.0.tgz", FILES)
    write_npm(tmp_path / "bin", f'[ "$1 $2" = "pack onnxruntime-web@1.30.0" ] && /bin/cp {archive} .')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert read_runtime(None)[1] == b"\0asm"


def test_without_npm_or_a_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExternalError, match=f"npm, which fetches onnxruntime-web, is not installed: .*{ADVICE}"):
        read_runtime(None)
    write_npm(tmp_path / "bin", "echo 'npm error code EAI_AGAIN\nnpm error request failed, no network' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ExternalError, match=f"npm cannot fetch .* .request failed, no network.: {ADVICE}"):
        read_runtime(None)
