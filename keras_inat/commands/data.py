"""Getting the photographs: an archive from the network or the disk, unpacked where `data.source` says."""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from keras_inat.config import Config
from keras_inat.data.pack import load_pack
from keras_inat.data.source import DAMAGED, Source
from keras_inat.errors import UserError
from keras_inat.progress import show_progress

CHUNK = 1 << 20


def run(config: Config) -> None:
    """Makes the data set ready: downloaded where that was not done, unpacked, decoded; and says what is in it."""
    folder = Path(config.data.source)
    if config.data.zip or not (folder.exists() or config.data.source == "demo"):
        archive = Path(config.data.zip) if config.data.zip else _download(config)
        if not archive.is_file() or archive.suffix.lower() != ".zip":
            raise UserError(f"ZIP must be a .zip file that exists. Received: {str(archive)!r}.")
        _unpack(archive, folder)
    manifest = load_pack(config).manifest
    counts = manifest["counts"]
    print(f"{manifest['name']}: {counts['train']} train and {counts['test']} test images, by class:")
    for class_name, train, test in zip(manifest["classes"], *manifest["per_class"].values(), strict=True):
        print(f"  {class_name:20} {train:>6} {test:>6}")


def _download(config: Config) -> Path:
    """Downloads `data.url` beside the data; what an interrupted download left is continued.

    Raises:
        UserError: When the address cannot be reached, or sends anything but a sound zip archive.
    """
    url = config.data.url
    # Archives of one name at two addresses are two archives.
    name = f"{Path(urllib.parse.urlsplit(url).path).stem or 'data'}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip"
    archive = Path(config.data.directory) / name
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".zip.part")
    try:
        if not zipfile.is_zipfile(partial):  # it may be complete, but for its name
            _fetch(url, partial)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{url} could not be downloaded ({reason}): run `make data` again to go on, or give ZIP=<file>, or use "
            "DATA=demo"
        ) from None
    if damage := _find_damage(partial):
        partial.unlink()
        raise UserError(f"what {url} sent is no sound zip archive ({damage}): run `make data` again to start anew")
    partial.rename(archive)
    print(f"downloaded {archive}")
    return archive


def _fetch(url: str, partial: Path) -> None:
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        response = urllib.request.urlopen(url, timeout=30)  # more than there is: the part belongs to something else
    with response:
        if response.status != 206:  # from the beginning
            done = 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with open(partial, "ab" if done else "wb") as file:
            while block := response.read(CHUNK):
                file.write(block)
                done += len(block)
                show_progress(f"downloading {partial.stem} (MiB)", done >> 20, max(total, done) >> 20)
    if done < total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _find_damage(archive: Path) -> str | None:
    """What is wrong with an archive, every member's checksum included; None when nothing is."""
    try:
        with zipfile.ZipFile(archive) as members:
            broken = members.testzip()
    except DAMAGED as error:
        return str(error)
    return f"{broken} is damaged" if broken else None


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the images of an archive into `folder`, which appears when all of them are there."""
    source = Source(archive)
    if folder.exists():
        raise UserError(f"{folder} exists already: delete it first, or give another DATA for {archive}")
    temporary = folder.parent / f".{folder.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for number, file in enumerate(source.files, 1):
            # Names come from the listing by split and class, so nothing can be written elsewhere.
            target = temporary / ("train" if file.split == "train" else "val") / file.class_name / Path(file.path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.write_bytes(source.read(file))
            except ValueError as error:
                raise UserError(f"{file.path} in {archive} {error}") from None
            show_progress(f"unpacking {archive.name}", number, len(source.files))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(f"unpacked {len(source.files)} images into {folder}")
