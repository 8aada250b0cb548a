"""The demo data set is reproducible and written atomically, and color does not reveal its classes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from keras_inat.demo import dataset
from keras_inat.demo.classes import DRAWINGS, ORGANISMS, draw_image
from keras_inat.demo.dataset import write_demo
from keras_inat.errors import FileError

FEW = ("Aves", "Fungi")


def read_contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*.jpg"))}


def test_layout_and_counts(tmp_path: Path) -> None:
    root = write_demo(tmp_path / "data" / "demo", classes=FEW, num_train=3, num_test=2)
    assert root == tmp_path / "data" / "demo"
    assert sorted(read_contents(root)) == [
        f"{split}/{name}/{name}_{i:04d}.jpg"
        for split, n in (("train", 3), ("val", 2))
        for name in FEW
        for i in range(1, n + 1)
    ]
    for path in root.rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert image.mode == "RGB"
            assert all(120 <= side <= 160 for side in image.size)
    assert json.loads((root / "demo.json").read_text())["num_images"] == 10
    assert sorted(p.name for p in root.parent.iterdir()) == [".demo.lock", "demo"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        read_contents(write_demo(tmp_path / name, classes=FEW, num_train=2, num_test=1, seed=seed))
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == len(first)


def test_larger_set_contains_the_smaller_one(tmp_path: Path) -> None:
    small = read_contents(write_demo(tmp_path / "a", classes=FEW[1:], num_train=2, num_test=1))
    large = read_contents(write_demo(tmp_path / "b", classes=FEW, num_train=3, num_test=3))
    assert small.items() <= large.items()


def test_processes_draw_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset, "CHUNK", 2)
    parallel = write_demo(tmp_path / "a", classes=FEW, num_train=4, num_test=1, num_workers=2)
    serial = write_demo(tmp_path / "b", classes=FEW, num_train=4, num_test=1, num_workers=1)
    assert read_contents(parallel) == read_contents(serial)
    for name, line in zip("ab", capsys.readouterr().out.splitlines(), strict=True):
        assert line.startswith(f"drawing {name}: 10/10 images")


def test_draws_in_this_process_if_no_other_can_start(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from keras_inat.demo import dataset\n"
        "dataset.CHUNK = 1\n"
        f"directory = Path({str(tmp_path / 'demo')!r})\n"
        "dataset.write_demo(directory, classes=('Key',), num_train=4, num_test=1, num_workers=2)\n"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-"], input=script, text=True, env=environment, check=True, capture_output=True)
    assert len(read_contents(tmp_path / "demo")) == 5


def test_complete_set_is_kept(tmp_path: Path) -> None:
    def stamps(root: Path) -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in [root, *root.rglob("*")]}

    root = write_demo(tmp_path / "demo", classes=FEW, num_train=2, num_test=1)
    before = stamps(root)
    write_demo(root, classes=FEW, num_train=2, num_test=1)
    assert stamps(root) == before


def test_set_is_replaced_if_parameters_change_or_an_image_is_missing(tmp_path: Path) -> None:
    root = write_demo(tmp_path / "demo", classes=FEW, num_train=3, num_test=1)
    write_demo(root, classes=FEW[:1], num_train=2, num_test=1)
    whole = read_contents(root)
    assert len(whole) == 3
    (root / "train" / "Aves" / "Aves_0002.jpg").unlink()
    assert read_contents(write_demo(root, classes=FEW[:1], num_train=2, num_test=1)) == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [".demo.lock", "demo"]


@pytest.fixture
def replace_progress(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Calls a function with the number of new images instead of showing the progress."""

    def replace(advance: Callable[[int], None]) -> None:
        monkeypatch.setattr(dataset, "track_progress", lambda *_: contextlib.nullcontext(advance))

    return replace


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interruption_leaves_nothing(tmp_path: Path, error: type[BaseException], replace_progress: Any) -> None:
    def interrupt(_: int) -> None:
        raise error

    replace_progress(interrupt)
    with pytest.raises(error):
        write_demo(tmp_path / "demo", classes=FEW, num_train=2, num_test=1)
    assert [p.name for p in tmp_path.iterdir()] == [".demo.lock"]


def test_files_that_cannot_be_written_whole_are_an_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limit of file sizes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, before[1]))
    try:
        with pytest.raises(FileError, match=r"cannot write .*demo: File too large"):
            write_demo(tmp_path / "demo", classes=FEW, num_train=2, num_test=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == [".demo.lock"]


def test_interruption_keeps_the_earlier_set(tmp_path: Path, replace_progress: Any) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    root = write_demo(tmp_path / "demo", classes=FEW, num_train=1, num_test=1)
    before = read_contents(root)
    replace_progress(interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_demo(root, classes=FEW, num_train=2, num_test=1)
    assert read_contents(root) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [".demo.lock", "demo"]


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".demo.partial" / "new" / "val" / "Car").mkdir(parents=True)
    write_demo(tmp_path / "demo", classes=FEW, num_train=1, num_test=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".demo.lock", "demo"]
    assert sorted(p.name for p in (tmp_path / "demo" / "val").iterdir()) == sorted(FEW)


def test_concurrent_calls_draw_the_set_once(tmp_path: Path, replace_progress: Any) -> None:
    drawn: list[int] = []

    def report(count: int) -> None:
        drawn.append(count)
        time.sleep(0.3)  # meanwhile the other call begins

    def write() -> Path:
        return write_demo(tmp_path / "demo", classes=FEW, num_train=1, num_test=1)

    replace_progress(report)
    with ThreadPoolExecutor(2) as pool:
        assert [done.result() for done in [pool.submit(write), pool.submit(write)]] == [tmp_path / "demo"] * 2
    assert drawn == [4]


def test_other_data_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    with pytest.raises(FileExistsError, match="something other than a demo"):
        write_demo(tmp_path, num_train=1, num_test=1)
    assert (tmp_path / "photo.jpg").read_bytes() == b"a photo"


def test_unknown_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Received: \\['Unicorn'\\]"):
        write_demo(tmp_path / "demo", classes=("Aves", "Unicorn"), num_train=1, num_test=1)
    with pytest.raises(ValueError, match="Received: 'Unicorn'"):
        draw_image("Unicorn", np.random.default_rng(0))


@pytest.mark.parametrize("class_name", DRAWINGS)
def test_draws_at_any_size(class_name: str) -> None:
    for seed in range(12):
        size = ((120, 160), (160, 120), (64, 64))[seed % 3]
        image = draw_image(class_name, np.random.default_rng(seed), size)
        assert image.size == size
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 5


def test_color_does_not_reveal_the_class() -> None:
    """The nearest class centroid of the mean color is a weak classifier; chance is 10 %."""

    def colors(first: int) -> np.ndarray:
        return np.array(
            [
                [
                    np.asarray(draw_image(name, np.random.default_rng([k, i]), (64, 64))).mean((0, 1))
                    for i in range(first, first + 12)
                ]
                for k, name in enumerate(ORGANISMS)
            ]
        )

    centroids = colors(0).mean(1)
    distances = np.linalg.norm(colors(12)[:, :, None] - centroids, axis=-1)
    accuracy = (distances.argmin(-1) == np.arange(len(ORGANISMS))[:, None]).mean()
    assert accuracy < 0.3
