from pathlib import Path

import pytest

from keras_inat.data.packs import load_pack
from keras_inat.executors import inputs
from keras_inat.executors.inputs import find_copy, list_inputs, move_config, read_pieces
from keras_inat.store.runs import RunFolder, finish_run


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_task_reads_the_index_and_the_pixels_of_its_sizes(make_config):
    config = make_config()
    pack = load_pack(config)
    (plain,) = list_inputs(config, pack)
    sizes = {name: (pack.directory / name).stat().st_size for name in plain.sizes}
    assert plain.sizes == sizes
    assert {"index.npz", "paths.json", "manifest.json"} < set(sizes)
    pixels = [name for name in sizes if name.endswith(".uint8")]
    assert len(pixels) == 1
    cropped = make_config("augment.crop=0.5")
    (larger,) = list_inputs(cropped, load_pack(cropped))
    assert len([name for name in larger.sizes if name.endswith(".uint8")]) == 2
    assert larger.copy == plain.copy


def test_files_are_read_where_they_are_if_this_machine_has_them(make_config, tmp_path):
    config = make_config()
    pack = load_pack(config)
    (given,) = list_inputs(config, pack)
    assert find_copy(given) == (pack.directory.absolute(), [])
    # Another data set in a folder of the same name.
    index = pack.directory / "index.npz"
    content = index.read_bytes()
    index.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    folder, missing = find_copy(given)
    assert folder == given.copy
    assert missing == list(given.sizes)
    assert given.copy.is_relative_to(tmp_path / "cache" / "keras-inat")
    given.copy.mkdir(parents=True)
    for name in missing[1:]:
        (given.copy / name).write_bytes((pack.directory / name).read_bytes())
    (given.copy / missing[0]).write_bytes(content[:-1])  # cut short
    assert find_copy(given) == (given.copy, missing[:1])
    (given.copy / missing[0]).write_bytes(content)
    assert find_copy(given) == (given.copy, [])


def test_a_file_of_weights_moves_with_the_task(make_config):
    Path("own.weights.h5").write_bytes(b"weights")
    config = make_config("STRATEGY=topk", "WEIGHTS=own.weights.h5")
    (weights,) = list_inputs(config, None)
    assert weights.sizes == {"own.weights.h5": 7}
    Path("own.weights.h5").unlink()  # on another machine there is none
    moved = move_config(config, {weights.known_as: Path("/elsewhere")})
    assert moved.finetune.weights == "/elsewhere/own.weights.h5"
    assert list_inputs(make_config("STRATEGY=topk", "WEIGHTS=imagenet"), None) == []
    assert move_config(make_config("STRATEGY=topk"), {}) == make_config("STRATEGY=topk")


def test_a_teacher_moves_with_the_task(make_config, build_result):
    folder = Path("runs/finetune/teacher")
    folder.mkdir(parents=True)
    (folder / "best.keras").write_bytes(b"model")
    finish_run(RunFolder(folder, "finetune"), build_result())
    for name in ("runs/finetune/teacher/", "runs/finetune/teacher/best.keras"):
        config = make_config(f"training.teacher={name}")
        (teacher,) = list_inputs(config, None)
        assert list(teacher.sizes) == ["best.keras", "result.json"]
        moved = move_config(config, {teacher.known_as: Path("/elsewhere")})
        assert moved.training.teacher == "/elsewhere"
        assert move_config(config, {}) == config


def test_a_file_travels_in_pieces(monkeypatch):
    monkeypatch.setattr(inputs, "PIECE", 3)
    Path("f").write_bytes(b"abcdefgh")
    assert list(read_pieces(Path("f"))) == [b"abc", b"def", b"gh"]
