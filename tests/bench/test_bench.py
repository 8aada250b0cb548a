import re
import sys
import time

import pytest

from keras_inat.bench import peers, photos, table, training
from keras_inat.bench.bookkeeping import NamedSource
from keras_inat.commands import bench
from keras_inat.data.dataset import open_data
from keras_inat.data.source import Source
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Model
from keras_inat.training import epochs

PLACE = r"\S+ +\d+  "
FIGURES = r" +[\d,]+ +[\d,]+ +[\d.]+ \([\d.]+ to [\d.]+\)"


@pytest.fixture
def tiny(monkeypatch):
    """A table of one size and one round, in one process; PyTorch is not there, whether it is installed or not."""
    monkeypatch.setitem(sys.modules, "torch.utils.data", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(training, "STEP_SIZE", 32)
    monkeypatch.setattr(photos, "LARGE", (80, 60))
    monkeypatch.setattr(photos, "NUM_LARGE", 24)
    monkeypatch.setattr(table, "SIZES", (32,))
    monkeypatch.setattr(table, "TRAINING_SIZE", 32)
    monkeypatch.setattr(table, "HEAD_SIZE", 32)
    monkeypatch.setattr(training, "FIT_EPOCHS", 2)
    monkeypatch.setattr(training, "HEAD_EPOCHS", 1)
    monkeypatch.setattr(table, "NUM_NAMED", 300)
    for name in ("BUILD_ROUNDS", "SERVE_ROUNDS", "TRAINING_ROUNDS", "HEAD_ROUNDS"):
        monkeypatch.setattr(table, name, 1)
    for name in ("SETTLE_SECONDS", "SERVE_SECONDS", "TRAINING_SECONDS"):
        monkeypatch.setattr(table, name, 0.01)
    monkeypatch.setattr(table, "Model", lambda **_: load_config(["model.filters=4", "model.dense_units=4"]).model)
    monkeypatch.setattr(peers, "decode_all", lambda paths, size, _: [peers._decode(path, size) for path in paths])


def test_every_row_is_printed(photos, tiny, capsys):
    bench.run(load_config([f"DATA={photos}"]))
    lines = capsys.readouterr().out.splitlines()
    for images, comparisons in (
        ("photos", (*table.BUILDING, *table.SERVING, *table.TRAINING, *table.FITTING, *table.HEADS)),
        ("80x60", (*table.BUILDING, *table.SERVING)),
        ("random", table.STEPPING),
    ):
        for ours, other in comparisons:
            figures = " +PyTorch is not installed: pip install torch" if "PyTorch" in other else FIGURES
            row = re.compile(rf"{images} +32  {ours} +{other}{figures}")
            assert sum(bool(row.fullmatch(line)) for line in lines) == 1, row.pattern
    parts = lines[lines.index("bookkeeping of 300 images, without their pixels") + 1 :]
    parts = parts[: parts.index("")]
    assert len(parts) == 5
    assert all(re.fullmatch(r"[a-z ]+ \d+\.\d s", part) for part in parts)


def test_a_ratio_above_one_is_in_our_favour(capsys):
    rounds = [{"a": 2000.0, "b": 1000.0}, {"a": 3000.0, "b": 1000.0}, {"a": 900.0, "b": 900.0}]
    table._print_comparisons("x", 32, (("a", "b"),), rounds)
    assert capsys.readouterr().out.split() == ["x", "32", "a", "b", "2,000", "1,000", "2.00", "(1.00", "to", "3.00)"]


def test_what_an_epoch_writes_is_in_its_time(make_config, monkeypatch):
    monkeypatch.setattr(epochs, "write_checkpoint", lambda *_: time.sleep(0.3))
    config = make_config("tracking.tensorboard=false")
    images = len(open_data(config).training_rows)
    speeds = training.fit_with_records(config)
    assert len(speeds) == training.FIT_EPOCHS - 1
    assert all(images / written - images / bare > 0.3 for written, bare in speeds)


def test_all_sides_read_the_same_files(photos, workplace):
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    own = Source(table.photos.write_own(Source(photos), workplace / "own"))
    assert len(own.files) == 3 * (10 + 4)
    assert own.classes == ("blue", "green", "red")
    assert {own.read(file) for file in own.files} < {path.read_bytes() for path in photos.glob("*/*/*")}
    large = Source(table.photos.write_large(own.path, workplace / "large"))
    assert [file.path for file in large.files] == [file.path.replace(".png", ".jpg") for file in own.files]


def test_pytorch_gets_what_torchvision_would_give(photos):
    torch = pytest.importorskip("torch")
    pixels, label = peers.Photos(photos / "train", 16)[29]
    assert (pixels.shape, pixels.dtype, label) == ((3, 16, 16), torch.float32, 2)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_pytorch_takes_the_same_step():
    torch = pytest.importorskip("torch")
    model = Model(num_blocks=2, filters=4, dense_units=6)
    pixels, labels = training.make_batch(16, 8)
    images, targets = next(training.step_torch(model, pixels, labels))
    assert (images.shape, images.dtype, targets.tolist()) == ((8, 3, 16, 16), torch.uint8, labels.tolist())


def test_named_files_are_sorted_as_a_source_is():
    source = NamedSource(200)
    assert source.files == sorted(source.files)
    assert {file.class_name for file in source.files} == set(source.classes)
