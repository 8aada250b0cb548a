"""Tar and 7z archives: every compression, hostile members, damage, missing libraries, interruptions."""

import io
import os
import shutil
import sys
import tarfile
import zipfile

import pytest
from archives import make_archive, read_tree, run_until

from keras_inat.data import conversion
from keras_inat.data.conversion import check_suffix, convert, remove_stale_copies
from keras_inat.data.packs import load_pack, remove_stale_packs
from keras_inat.data.source import Source, open_source
from keras_inat.data.unpacking import unpack
from keras_inat.errors import UserError

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".TAR.XZ": "w:xz"}


def write_tar(folder, path, mode="w"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, folder.name)
    return path


def add(archive, name, content=b"x", **changes):
    member = tarfile.TarInfo(name)
    for attribute, value in changes.items():
        setattr(member, attribute, value)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("suffix", MODES)
def test_a_tar_archive_has_the_files_of_its_folder(photos, tmp_path, suffix):
    path = write_tar(photos, tmp_path / f"many.photos{suffix}", MODES[suffix])
    source = Source(path, packs=tmp_path / "packs")
    folder = Source(photos)
    assert source.name == "many.photos"
    assert source.path == path
    assert [file[:2] for file in source.files] == [file[:2] for file in folder.files]
    assert [source.read(file) for file in source.files] == [folder.read(file) for file in folder.files]
    (copy,) = (tmp_path / "packs").glob("*.zip")
    stamp = copy.stat().st_mtime_ns
    assert Source(path, packs=tmp_path / "packs").key == source.key
    assert copy.stat().st_mtime_ns == stamp  # It was not copied again.


def exchange_names(copy):
    """Gives two files of a copy the name of the other. The checksums of their contents stay right."""
    with zipfile.ZipFile(copy) as archive:
        first, second = (member.filename.encode() for member in archive.infolist()[:2])
    content = copy.read_bytes().replace(first, b"\0").replace(second, first).replace(b"\0", second)
    copy.write_bytes(content)


def put_folder(copy):
    copy.unlink()
    copy.mkdir()


def put_pipe(copy):
    copy.unlink()
    os.mkfifo(copy)


def put_copy_of_another_archive(copy):
    other = copy.parent.parent / "other.tar"
    with tarfile.open(other, "w") as archive:
        add(archive, "train/ant/1.png")
    convert(other, copy.parent).replace(copy)


DAMAGES = [exchange_names, put_folder, put_pipe, put_copy_of_another_archive, lambda copy: copy.write_bytes(b"PK")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_of_an_archive_is_made_anew(photos, tmp_path, capsys, damage):
    path = write_tar(photos, tmp_path / "photos.tar")
    copy = convert(path, tmp_path / "packs")
    content = copy.read_bytes()
    damage(copy)
    os.mkfifo(copy.with_name(f".{copy.name}.part"))  # in place of an unfinished copy
    assert convert(path, tmp_path / "packs") == copy
    assert copy.read_bytes() == content
    assert f"{copy} is damaged or was changed by hand, and is made anew" in capsys.readouterr().err


def test_a_zstandard_archive_is_read_if_a_library_is_installed(photos, tmp_path, monkeypatch):
    plain = write_tar(photos, tmp_path / "plain.tar")
    path = tmp_path / "photos.tar.zst"
    path.write_bytes(b"(\xb5/\xfd")
    for name in conversion.ZSTANDARD:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"photos.tar.zst needs Zstandard: pip install backports.zstd, or unpack it"):
        Source(path, packs=tmp_path / "packs")
    monkeypatch.undo()
    zstd = pytest.importorskip("backports.zstd")
    path.write_bytes(zstd.compress(plain.read_bytes()))
    assert len(Source(path, packs=tmp_path / "packs").files) == 42
    for content in (zstd.compress(plain.read_bytes())[:-500], b"(\xb5/\xfd" + bytes(99), b"\0" * 99, b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"photos.tar.zst cannot be read as a tar archive"):
            Source(path, packs=tmp_path / "packs")


def test_a_7z_archive_is_read_if_py7zr_is_installed(photos, tmp_path, monkeypatch):
    path = tmp_path / "photos.7z"
    path.write_bytes(b"7z\xbc\xaf\x27\x1c")
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(UserError, match=r"photos.7z needs py7zr: pip install py7zr, or unpack it with `7z x`"):
        Source(path, packs=tmp_path / "packs")
    monkeypatch.undo()
    py7zr = pytest.importorskip("py7zr")
    with pytest.raises(UserError, match=r"photos.7z cannot be read as a 7z archive"):
        Source(path, packs=tmp_path / "packs")
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writeall(photos, "photos")
    source = Source(path, packs=tmp_path / "packs")
    folder = Source(photos)
    assert [source.read(file) for file in source.files] == [folder.read(file) for file in folder.files]
    assert [entry.suffix for entry in (tmp_path / "packs").iterdir()].count(".zip") == 1
    for hides_names in (False, True):
        with py7zr.SevenZipFile(path, "w", password="secret", header_encryption=hides_names) as archive:
            archive.writeall(photos, "photos")
        with pytest.raises(UserError, match=r"photos.7z is encrypted: unpack it with its password, and give the"):
            Source(path, packs=tmp_path / "packs")
    monkeypatch.setattr("py7zr.py7zr.check_archive_path", lambda _: True)
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writestr(b"x", "photos/../../evil.png")
    with pytest.raises(UserError, match=r"its member 'photos/../../evil.png' has no path within the target folder"):
        Source(path, packs=tmp_path / "packs")
    (photos / "train" / "red" / "link.png").symlink_to("0.png")
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writeall(photos, "photos")
    with pytest.raises(UserError, match=r"its member 'photos/train/red/link.png' is a link or another special file"):
        Source(path, packs=tmp_path / "packs")
    assert len(list((tmp_path / "packs").glob("*.zip"))) == 1


OUTSIDE = "has no path within the target folder"
SPECIAL = "is a link or another special file"
MALICIOUS = {
    "absolute": ({"name": "/tmp/train/red/x.png"}, OUTSIDE),
    "parent folder": ({"name": "../../train/red/x.png"}, OUTSIDE),
    "parent folder backslash": ({"name": "photos/train/red/..\\..\\..\\x.png"}, OUTSIDE),
    "drive": ({"name": "C:\\train\\x.png"}, OUTSIDE),
    "symbolic link": ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, SPECIAL),
    "hard link": ({"type": tarfile.LNKTYPE, "linkname": "photos/train/red/0.png"}, SPECIAL),
    "pipe": ({"type": tarfile.FIFOTYPE}, SPECIAL),
    "device": ({"type": tarfile.CHRTYPE}, SPECIAL),
    "repeated": ({"name": "photos/train/red/0.png"}, "has the same path as another member"),
    "repeated, in another spelling": ({"name": "photos/./train//red\\0.png"}, "has the same path as another member"),
    "a file and a folder": ({"name": "photos/train/red/0.png/x"}, "lies in a folder with the path of another member"),
    "large": ({"size": (512 << 20) + 1}, "declares 512 MiB; the limit is 512 MiB"),
}


@pytest.mark.parametrize(("changes", "words"), MALICIOUS.values(), ids=MALICIOUS)
def test_a_malicious_archive_is_refused_and_leaves_nothing(photos, tmp_path, changes, words):
    path = write_tar(photos, tmp_path / "evil.tar")
    with tarfile.open(path, "a") as archive:
        add(archive, **{"name": "photos/train/red/bad.png", **changes})
    if "size" in changes:
        with open(path, "r+b") as file:  # Replace the header.
            header = tarfile.TarInfo("photos/train/red/bad.png")
            header.size = changes["size"]
            file.seek(path.read_bytes().index(b"photos/train/red/bad.png"))
            file.write(header.tobuf())
    before = read_tree(tmp_path)
    with pytest.raises(UserError, match=f"its member .*{words}") as error:
        unpack(path, tmp_path / "mine")
    assert "\n" not in str(error.value)
    assert {name: file for name, file in read_tree(tmp_path).items() if not name.endswith(".lock")} == before


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "BOMB_BYTES", 3 << 20)
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(8):
            add(archive, f"train/red/{number}.png", bytes(1 << 20))
    with pytest.raises(UserError, match=r"its member 'train/red/3.png' is one of members that declare 0\.0 GiB in an"):
        convert(path, tmp_path / "packs")


@pytest.mark.parametrize("suffix", MODES)
def test_a_damaged_archive_is_refused(photos, tmp_path, suffix):
    path = write_tar(photos, tmp_path / f"photos{suffix}", MODES[suffix])
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no archive" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(
            UserError, match=rf"photos{suffix} (cannot be read as a tar archive|has no classes)"
        ) as error:
            Source(path, packs=tmp_path / "packs")
        assert "\n" not in str(error.value)


REFUSED = {
    "photos.rar": "RAR archives are not read: unpack it, and give the folder",
    "photos.zip.001": "it is the first of several parts: join them first",
    "photos.z01": "it is one of several parts: join them first",
    "photos.jpg.gz": "it is a single compressed file",
    "photos.iso": r"must be a folder, an archive \(.zip, .tar, .*, .7z\) or 'demo'. Received: 'photos.iso'",
}


@pytest.mark.parametrize(("name", "words"), REFUSED.items(), ids=REFUSED)
def test_other_files_are_refused_with_the_way_on(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        check_suffix(type(tmp_path)(name))


def test_the_last_of_several_parts_is_named(tmp_path):
    path = make_archive(tmp_path / "photos.zip")
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 4 : end + 8] = b"\x01\x00\x01\x00"  # the numbers of this disk and of that with the contents
    path.write_bytes(content[20_000:])
    (tmp_path / "photos.z01").write_bytes(content[:20_000])
    with pytest.raises(UserError, match=r"photos.zip is the last of several parts: join them first, with `zip -s 0"):
        Source(path)


def test_a_tar_archive_is_unpacked_into_a_folder(photos, tmp_path):
    path = write_tar(photos, tmp_path / "photos.tgz", "w:gz")
    assert unpack(path, tmp_path / "mine") == 42
    assert read_tree(tmp_path / "mine") == read_tree(photos)
    assert not list(tmp_path.glob("*.zip"))


def test_a_table_is_unpacked_with_its_images(tmp_path):
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "photos/labels.csv", b"file,label\na.png,fox\nb.png,owl\ngone.png,owl\n")
        for name in ("a", "b", "c"):
            add(archive, f"photos/images/{name}.png")
    unpack(path, tmp_path / "mine")
    assert sorted(read_tree(tmp_path / "mine")) == ["photos/images/a.png", "photos/images/b.png", "photos/labels.csv"]
    assert Source(tmp_path / "mine").classes == ("fox", "owl")


def test_packs_and_copies_of_archives_are_removed_with_their_archive(photos, tmp_path, make_config):
    path = write_tar(photos, tmp_path / "mine.tar")
    config = make_config(f"DATA={path}")
    pack = load_pack(config)
    assert pack.directory.name.startswith("mine-")
    assert pack.manifest.source == str(path)
    assert [stale for _, _, stale in remove_stale_packs(config)] == [False]
    (copy,) = pack.directory.parent.glob("*.zip")
    copy.unlink()  # It is safe to delete.
    assert load_pack(config).directory == pack.directory
    os.utime(path)
    assert [name for name, _ in remove_stale_copies(pack.directory.parent)] == [copy.name]
    assert load_pack(config).directory == pack.directory
    path.unlink()
    assert {stale for _, _, stale in remove_stale_packs(config)} == {True}
    assert not list(pack.directory.parent.glob("*.zip"))


def test_a_killed_conversion_starts_over(photos, tmp_path):
    path = write_tar(photos, tmp_path / "photos.tar")
    slowly = (
        "import time, tarfile; from pathlib import Path; from keras_inat.data.conversion import *\n"
        "import keras_inat.data.conversion as module\n"
        "read = module._read_tar\n"
        "def read_slowly(*arguments):\n"
        "    for item in read(*arguments): time.sleep(0.05); yield item\n"
        "module._read_tar = read_slowly; convert(Path('photos.tar'), Path('packs'))"
    )
    packs = tmp_path / "packs"
    run_until(slowly, lambda: any(file.stat().st_size > 10_000 for file in packs.glob(".*.part")))
    assert not list(packs.glob("photos-*.zip"))
    assert [size > 10_000 for _, size in remove_stale_copies(packs)] == [True]
    copy = convert(path, packs)
    assert remove_stale_copies(packs) == []
    assert zipfile.ZipFile(copy).testzip() is None
    assert len(zipfile.ZipFile(copy).namelist()) == 42
    assert not list(packs.glob(".*.part"))


def test_a_misspelled_path_gets_the_nearest_name(tmp_path, photos, make_config):
    (tmp_path / "nature_tiny.zip").write_text("x")
    for given, words in {
        "nature_tiny.zp": r"DATA 'nature_tiny.zp' does not exist\. Did you mean 'nature_tiny.zip'\?",
        "Photos/": r"DATA 'Photos/' does not exist\. Did you mean 'photos'\?",
        r".\photos\trian": r"Did you mean 'photos/train'\?",
        "elsewhere": r"'elsewhere' does not exist: run `keras-inat data` to download it, or use DATA=demo",
    }.items():
        with pytest.raises(UserError, match=words):
            open_source(make_config(f"DATA={given}"))


def test_a_copy_with_a_damaged_image_is_made_anew_before_it_is_decoded(photos, tmp_path, make_config, capsys):
    config = make_config(f"DATA={write_tar(photos, tmp_path / 'photos.tar')}")
    sound = load_pack(config)
    [copy] = sound.directory.parent.glob("*.zip")
    content = copy.read_bytes()
    shutil.rmtree(sound.directory)
    with zipfile.ZipFile(copy) as archive:
        last = archive.infolist()[-1]
    damaged = bytearray(content)
    damaged[last.header_offset + len(last.filename) + 60] ^= 1
    copy.write_bytes(damaged)
    assert load_pack(config).manifest == sound.manifest
    assert copy.read_bytes() == content
    assert f"{copy} is damaged or was changed by hand, and is made anew" in capsys.readouterr().err
