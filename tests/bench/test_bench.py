import contextlib
import importlib.util
import os
import re
import sys
import time

import peer
import pytest

from keras_inat.bench import baselines, benchmarks, comparison, samples, training
from keras_inat.bench.comparison import Comparison
from keras_inat.bench.indexing import SyntheticSource
from keras_inat.commands import bench
from keras_inat.data.dataset import open_data
from keras_inat.data.source import Source
from keras_inat.errors import UserError
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Finetune, Model
from keras_inat.training import epochs

PLACE = r"\S+ +\d+  "
FIGURES = r" +[\d,]+ +[\d,]+ +[\d.]+ \([\d.]+ to [\d.]+\)"


@pytest.fixture
def tiny(workplace, monkeypatch):
    """Benchmarks of one size, one round and tiny networks, in one process, without PyTorch even if it is installed."""
    model = Model(num_blocks=2, filters=4, dense_units=4, batch_norm=True)
    build_cnn(model, 32, 3).save(workplace / "backbone.keras")
    monkeypatch.setattr(training, "STEP_MODEL", model)
    monkeypatch.setattr(benchmarks, "Model", lambda **_: model)
    monkeypatch.setattr(benchmarks, "Finetune", lambda **_: Finetune(weights=str(workplace / "backbone.keras")))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(training, "STEP_SIZE", 32)
    monkeypatch.setattr(samples, "LARGE", (80, 60))
    monkeypatch.setattr(samples, "NUM_LARGE", 24)
    monkeypatch.setattr(benchmarks, "SIZES", (32,))
    monkeypatch.setattr(benchmarks, "TRAINING_SIZE", 32)
    monkeypatch.setattr(benchmarks, "HEAD_SIZE", 32)
    monkeypatch.setattr(training, "FIT_EPOCHS", 2)
    monkeypatch.setattr(training, "HEAD_EPOCHS", 1)
    monkeypatch.setattr(benchmarks, "NUM_INDEXED", 300)
    for name in ("DATA_ROUNDS", "TRAINING_ROUNDS", "HEAD_ROUNDS"):
        monkeypatch.setattr(benchmarks, name, 1)
    monkeypatch.setattr(comparison, "SETTLE_SECONDS", 0.01)
    for name in ("SERVE_SECONDS", "TRAINING_SECONDS"):
        monkeypatch.setattr(benchmarks, name, 0.01)
    monkeypatch.setattr(
        baselines, "decode_all", lambda paths, size, _: [baselines._decode(path, size) for path in paths]
    )


def test_every_row_is_printed(photos, tiny, capsys):
    bench.run(load_config([f"DATA={photos}"]))
    lines = capsys.readouterr().out.splitlines()
    has_export = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "tf2onnx"))
    predicting = benchmarks.PREDICTING if has_export else benchmarks.PREDICTING[1:]
    for images, rows in (
        (
            "photos",
            (*benchmarks.BUILDING, *benchmarks.SERVING, *benchmarks.TRAINING, *benchmarks.FITTING, *benchmarks.HEADS),
        ),
        ("80x60", (*benchmarks.BUILDING, *benchmarks.SERVING, *predicting)),
        ("random", benchmarks.STEPPING),
    ):
        for ours, baseline in rows:
            figures = " +PyTorch is not installed: pip install torch" if "PyTorch" in baseline else FIGURES
            row = re.compile(rf"{images} +32  {ours} +{baseline}{figures}")
            assert sum(bool(row.fullmatch(line)) for line in lines) == 1, row.pattern
    phases = lines[lines.index("indexing of 300 images, without their pixels") + 1 :]
    phases = phases[: phases.index("")]
    assert len(phases) == 5
    assert all(re.fullmatch(r"[a-z ]+ \d+\.\d s", phase) for phase in phases)


def test_ratio_above_one_is_in_our_favor(capsys):
    rounds = [{"a": 2000.0, "b": 1000.0}, {"a": 3000.0, "b": 1000.0}, {"a": 900.0, "b": 900.0}]
    comparison.print_comparisons("x", 32, (Comparison("a", "b"),), rounds)
    assert capsys.readouterr().out.split() == ["x", "32", "a", "b", "2,000", "1,000", "2.00", "(1.00", "to", "3.00)"]


def test_writing_counts_in_the_complete_speed_only(make_config, monkeypatch):
    monkeypatch.setattr(epochs, "write_checkpoint", lambda *_: time.sleep(0.3))
    monkeypatch.setattr(training, "FIT_EPOCHS", 3)
    config = make_config("tracking.tensorboard=false")
    images = len(open_data(config).training_rows)
    speeds = training.time_epochs(config)
    assert len(speeds) == training.FIT_EPOCHS - 1
    assert all(images / speed.complete - images / speed.bare > 0.3 for speed in speeds)


def test_all_sides_read_the_same_files(photos, workplace):
    (photos / "train" / "red" / "broken.png").write_bytes(b"no image")
    originals = Source(samples.write_originals(Source(photos), workplace / "originals"))
    assert len(originals.files) == 3 * (10 + 4)
    assert originals.classes == ("blue", "green", "red")
    assert {originals.read(file) for file in originals.files} < {path.read_bytes() for path in photos.glob("*/*/*")}
    large = Source(samples.write_large(originals.path, workplace / "large"))
    assert [file.path for file in large.files] == [file.path.replace(".png", ".jpg") for file in originals.files]


def test_pytorch_gets_pixels_as_from_torchvision(photos):
    torch = pytest.importorskip("torch")
    pixels, label = baselines.ImageFolder(photos / "train", 16)[29]
    assert (pixels.shape, pixels.dtype, label) == ((3, 16, 16), torch.float32, 2)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_pytorch_trains_on_the_same_batch():
    torch = pytest.importorskip("torch")
    model = Model(num_blocks=2, filters=4, dense_units=6)
    pixels, labels = training.make_batch(16, 8)
    images, targets = next(baselines.step_torch(model, pixels, labels))
    assert (images.shape, images.dtype, targets.tolist()) == ((8, 3, 16, 16), torch.uint8, labels.tolist())


def test_a_peer_has_a_process_of_its_own(workplace):
    with comparison.stream_apart(peer.record_process, workplace, seconds=0.01) as turn:
        assert turn() > 0
        assert turn() > 0
        process, has_tensorflow = (workplace / "process.txt").read_text().split()
        assert int(process) != os.getpid()
        assert has_tensorflow == "False"
        os.kill(int(process), 0)  # it is alive
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_a_peer_that_dies_is_reported():
    with (
        pytest.raises(UserError, match="the process of exit_at_once ended with code 3"),
        comparison.stream_apart(peer.exit_at_once, seconds=0.01),
    ):
        pass


def test_pytorch_is_measured_apart_from_tensorflow(photos, tiny, monkeypatch, capsys):
    opened = []

    @contextlib.contextmanager
    def open_apart(open_batches, *arguments, seconds):
        opened.append(open_batches)
        yield lambda: 50.0

    monkeypatch.setattr(benchmarks, "stream_apart", open_apart)
    monkeypatch.setattr(benchmarks.importlib.util, "find_spec", lambda name: name)
    benchmarks._compare_serving(photos, 32)
    benchmarks._compare_steps()
    assert opened == [baselines.open_torch, baselines.step_torch]
    rows = [line for line in capsys.readouterr().out.splitlines() if "PyTorch" in line]
    assert len(rows) == 4
    assert all(re.search(r" 50 +[\d.]+ \(", row) for row in rows)


def test_synthetic_files_are_sorted_like_those_of_a_source():
    source = SyntheticSource(200)
    assert source.files == sorted(source.files)
    assert {file.class_name for file in source.files} == set(source.classes)
