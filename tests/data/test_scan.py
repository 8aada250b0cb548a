import json
import multiprocessing
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import PIL
import pytest
from hostile import write_hostile_collection
from mutations import damage

from keras_inat.data import scan
from keras_inat.data.decode import decode_image
from keras_inat.data.scan import CHUNK, pixel_path, scan_files, stack_hashes
from keras_inat.data.source import Source
from keras_inat.store.checksums import add_checksum
from keras_inat.store.records import Preparation


@pytest.fixture(scope="module")
def many(write_photos, tmp_path_factory):
    """Writes enough files for several chunks, so that worker processes are started."""
    folder = tmp_path_factory.mktemp("data") / "many"
    return Source(write_photos(folder, num_train=4 * CHUNK // 3, num_test=2 * CHUNK // 3))


@pytest.fixture(scope="module")
def scanned(many, tmp_path_factory):
    """Scans the files with worker processes and returns the scan with its folder."""
    directory = tmp_path_factory.mktemp("scans") / "whole"
    return scan_files(many, [16, 64], directory).files, directory


@pytest.mark.xfail(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13 or newer reads YCbCr TIFF files")
def test_every_file_of_a_hostile_collection_has_the_expected_outcome(write_photos, workplace):
    folder = write_photos(workplace / "photos", num_train=2, num_test=1)
    expected = write_hostile_collection(folder / "train" / "red")
    source = Source(folder)
    found = scan_files(source, [64], workplace / "scan").files
    pixels = np.memmap(pixel_path(workplace / "scan", 64, 64), np.uint8, "r", shape=(len(source.files), 64, 64, 3))
    numbers = {os.path.basename(file.path): number for number, file in enumerate(source.files)}
    listed = [name for name in expected if name in numbers]
    assert len(listed) >= 40
    # Hidden files and files of operating systems are ignored.
    assert all(name.startswith(".") or name == "Thumbs.db" for name in expected.keys() - numbers.keys())
    for name in listed:
        number = numbers[name]
        wanted = expected[name]
        assert bool(found[number].reason) == bool(wanted.reason), name
        if wanted.reason:
            assert re.fullmatch(wanted.reason, found[number].reason), name
            assert not pixels[number].any(), name  # never pixels of another file
        for color, (y, x) in zip(wanted.colors, ((8, 8), (8, 55), (55, 8), (55, 55)), strict=False):
            np.testing.assert_allclose(pixels[number, y, x], color, atol=wanted.tolerance + 3, err_msg=name)
    assert all(bool(file.format) != bool(file.reason) for file in found)
    assert sum("CMYK" in file.traits for file in found) >= 2
    assert sum("EXIF-rotated" in file.traits for file in found) >= 7


def test_pixels_are_at_the_index_of_their_file(many, scanned):
    found, directory = scanned
    assert len(many.files) > 5 * CHUNK
    for size in (16, 64):
        shape = (len(many.files), size, size, 3)
        pixels = np.memmap(pixel_path(directory, 16, size), np.uint8, "r", shape=shape)
        for number in range(0, len(many.files), 37):
            expected = decode_image(many.read(many.files[number]), 16) if size == 16 else None
            if expected is not None:
                np.testing.assert_array_equal(pixels[number], expected)
            # The strongest channel of a class is its own.
            assert 2 - pixels[number].mean(axis=(0, 1)).argmax() == many.classes.index(many.files[number].class_name)
    assert [file.format for file in found] == ["PNG"] * len(many.files)
    # Everything from the journal, where traits are lists.
    assert [file._replace(traits=tuple(file.traits)) for file in scan_files(many, [16, 64], directory).files] == found


def test_an_interrupted_scan_resumes(many, scanned, workplace, monkeypatch):
    whole, directory = scanned
    decode = scan._decode
    monkeypatch.setattr(scan, "_decode", lambda work, chunks: decode(work, chunks[:3]))
    monkeypatch.setattr("keras_inat.files.os.fsync", lambda _: 1 / 0)  # The first attempt ends here.
    with pytest.raises(ZeroDivisionError):
        scan_files(many, [16], workplace / "partial")
    monkeypatch.undo()
    decoded = []

    def note(work, chunks):
        decoded.extend(start for start, _ in chunks)
        return decode(work, chunks)

    monkeypatch.setattr(scan, "_decode", note)
    journal = workplace / "partial" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines)[:-20])  # a truncated line
    found = scan_files(many, [16], workplace / "partial").files
    finished = {json.loads(line)["start"] for line in lines[1:-1]}
    assert len(finished) == 2
    assert decoded == [start for start in range(0, len(many.files), CHUNK) if start not in finished]
    assert [file.sha256 for file in found] == [file.sha256 for file in whole]
    assert pixel_path(workplace / "partial", 16, 16).read_bytes() == pixel_path(directory, 16, 16).read_bytes()


@pytest.mark.parametrize("change", ["sizes", "boot", "garbage"])
def test_a_journal_that_does_not_match_is_discarded(many, workplace, change):
    directory = workplace / "scan"
    directory.mkdir()
    header = [
        many.key,
        CHUNK,
        [16],
        Preparation().model_dump(),
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    ]
    header[{"sizes": 2, "boot": 4, "garbage": 0}[change]] = [17]
    records = [["00" * 32, "JPEG", [], "is broken"]] * CHUNK
    starts = range(0, len(many.files), CHUNK)
    lines = [header, *(add_checksum({"source": many.key, "start": start, "files": records}) for start in starts)]
    text = "\n".join(map(json.dumps, lines)) if change != "garbage" else "{}\n\0\0"
    (directory / "journal.jsonl").write_text(text)
    found = scan_files(many, [16], directory).files
    assert all(file.sha256.strip("0") for file in found)
    assert [file.format for file in found] == ["PNG"] * len(many.files)


def test_a_damaged_scan_resumes_to_the_same_result(many, scanned, workplace, list_seeds):
    expected, whole = scanned
    for seed in list_seeds(12):
        shutil.copytree(whole, "damaged", dirs_exist_ok=True)
        path = Path("damaged", ("journal.jsonl", "16.uint8", "thumbnails.uint8")[seed % 3])
        words = damage(path, seed)
        found = scan_files(many, [16, 64], Path("damaged")).files
        assert [file._replace(traits=tuple(file.traits)) for file in found] == expected, (seed, path.name, words)
        for size in (16, 64):
            received = pixel_path(Path("damaged"), 16, size).read_bytes()
            assert received == pixel_path(whole, 16, size).read_bytes(), (seed, path.name, words)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (0, "[" * 100_000),
        (1, json.dumps(add_checksum({"epoch": 1}))),  # a line of another record
        (1, json.dumps(add_checksum({"source": "x", "start": 0, "files": [["00" * 32]]}))),  # of another journal
    ],
    ids=["nested", "record", "journal"],
)
def test_a_foreign_line_of_a_journal_is_not_taken(many, scanned, workplace, number, line):
    expected, whole = scanned
    shutil.copytree(whole, "damaged")
    journal = Path("damaged", "journal.jsonl")
    lines = journal.read_text().splitlines()
    lines[number] = line
    journal.write_text("\n".join(lines) + "\n")
    found = scan_files(many, [16, 64], Path("damaged")).files
    assert [file._replace(traits=tuple(file.traits)) for file in found] == expected


def _scan_slowly(path, directory):
    decode = scan._decode

    def work(function, chunks):
        for output in decode(function, chunks):
            yield output
            time.sleep(0.2)

    scan._decode = work
    scan_files(Source(Path(path)), [16, 64], Path(directory))


def test_killed_scans_resume_to_the_same_result(many, scanned, workplace):
    expected, directory = scanned
    journal = workplace / "partial" / "journal.jsonl"
    context = multiprocessing.get_context("spawn")
    num_chunks = len((directory / "journal.jsonl").read_text().splitlines()) - 1
    for wanted in range(1, num_chunks, 2):
        process = context.Process(target=_scan_slowly, args=(str(many.path), str(workplace / "partial")))
        process.start()
        while not journal.exists() or len(journal.read_text().splitlines()) - 1 < wanted:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert wanted <= len(journal.read_text().splitlines()) - 1 < num_chunks
    found = scan_files(many, [16, 64], workplace / "partial").files
    np.testing.assert_array_equal(stack_hashes(found), stack_hashes(expected))
    for size in (16, 64):
        resumed = pixel_path(workplace / "partial", 16, size)
        assert resumed.read_bytes() == pixel_path(directory, 16, size).read_bytes()


def test_a_write_error_during_the_scan_is_raised(many, workplace, monkeypatch):
    def sync(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="Input/output"):
        scan_files(many, [16], workplace / "scan")


def test_a_journal_without_its_pixels_is_discarded(many, workplace):
    scan_files(many, [16], workplace / "scan")
    pixels = pixel_path(workplace / "scan", 16, 16)
    whole = pixels.read_bytes()
    pixels.unlink()  # as after a kill during a removal
    scan_files(many, [16], workplace / "scan")
    assert pixels.read_bytes() == whole


def test_subfolders_of_a_class_are_reported(photos, workplace):
    (photos / "train" / "red" / "more").mkdir()
    shutil.copy(photos / "train" / "red" / "1.png", photos / "train" / "red" / "more" / "1.png")
    archive = Path(shutil.make_archive("photos", "zip", photos.parent, "photos"))
    for path in (photos, archive):
        source = Source(path)
        found = scan_files(source, [16], workplace / f"scan-{path.suffix}").files
        ((number, file),) = ((number, file) for number, file in enumerate(found) if file.reason)
        assert "/red/more" in source.files[number].path
        assert "folder" in file.reason
