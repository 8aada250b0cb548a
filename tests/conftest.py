"""A tiny data set of photographs and a small configuration, in a temporary working folder."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Set before TensorFlow is imported: no start-up messages, and W&B never searches for a login or a network.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["WANDB_MODE"] = "offline"

import numpy as np
import pytest
from export_records import build_row, write_records
from PIL import Image

from keras_inat.settings.loading import load_config
from keras_inat.settings.schema import Config
from keras_inat.store.contracts import ModelContract
from keras_inat.store.model_archives import CONTRACT
from keras_inat.store.records import DataSummary, Epoch, EvaluationScores, Result, StageSummary
from keras_inat.store.runs import RunFolder, finish_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
COLORS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tries", type=int, help="number of tries of each test that damages or kills at random")
    parser.addoption("--first-seed", type=int, default=0, help="seed of the first of these tries")


@pytest.fixture
def list_seeds(request: pytest.FixtureRequest) -> Callable[[int], range]:
    """Returns the seeds of the tries of a test, given their usual number; see the option `--tries`."""

    def build(usual: int) -> range:
        first = request.config.getoption("--first-seed")
        return range(first, first + (request.config.getoption("--tries") or usual))

    return build


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes to a new folder for every test, so that `data/`, `runs/` and `reports/` are made there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return tmp_path


@pytest.fixture
def build_result() -> Callable[..., Result]:
    """Returns a complete result. Keyword arguments replace fields of its data."""

    def build(**data: Any) -> Result:
        summary = {
            "name": "photos",
            "source": "photos",
            "near_duplicates": True,
            "hash": "abc",
            "classes": tuple(COLORS),
            "files": {"train": 30, "test": 12},
            "counts": {"train": 24, "validation": 6, "test": 12},
            "per_class": {"train": [10] * 3, "test": [4] * 3},
            "formats": {"PNG": 42},
            "traits": {},
            "reasons": {},
            "num_quarantined": 0,
            "num_leaked": 0,
            "num_duplicates": {"identical": 0, "near": 0, "mirrored": 0, "of_another_class": 0, "train_and_test": 0},
            "image_size": 16,
            "validation_hash": "def",
        }
        return Result(
            command="train-best",
            name="train",
            created="2026-01-01T00:00:00+00:00",
            config=Config(),
            seed=0,
            objective="accuracy",
            val_accuracy=0.5,
            val_balanced_accuracy=0.5,
            val_majority_baseline=1 / 3,
            best_epoch=1,
            epochs=1,
            planned_epochs=1,
            seconds=1.0,
            images_per_second=1.0,
            parameters=1,
            macs=1,
            precision="float32",
            weights_hash="",
            teacher_hash="",
            stages=(StageSummary(stage="scratch", parameters=1, learning_rate=0.001),),
            data=DataSummary.model_validate(summary | data),
            packages={},
            device="CPU, 2 cores",
            commit=None,
            test=EvaluationScores(
                accuracy=0.5,
                interval=(0.4, 0.6),
                balanced_accuracy=0.5,
                balanced_interval=(0.4, 0.6),
                majority_baseline=0.34,
                num_images=100,
                images_per_class=(33, 33, 34),
                correct_per_class=(17, 17, 16),
            ),
        )

    return build


@pytest.fixture
def build_epoch() -> Callable[..., Epoch]:
    """Returns a complete epoch."""

    def build(epoch: int, val_accuracy: float) -> Epoch:
        return Epoch(
            epoch=epoch,
            stage="scratch",
            loss=1.5,
            accuracy=0.5,
            val_loss=1.5,
            val_accuracy=val_accuracy,
            val_balanced_accuracy=val_accuracy,
            learning_rate=0.001,
            seconds=7.5,
            images_per_second=9.0,
        )

    return build


@pytest.fixture(scope="session")
def write_photos() -> Callable[..., Path]:
    """Writes a data set of noisy images of one color each, all different, into a folder."""

    def write(folder: Path, num_train: int = 10, num_test: int = 4, side: int = 24) -> Path:
        rng = np.random.default_rng(0)
        for split, count in (("train", num_train), ("val", num_test)):
            for name, color in COLORS.items():
                directory = folder / split / name
                directory.mkdir(parents=True)
                for index in range(count):
                    pixels = rng.normal(color, 40, (side, side + 4, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(directory / f"{index}.png")
        return folder

    return write


@pytest.fixture
def photos(workplace: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(workplace / "photos")


@pytest.fixture
def make_config(photos: Path) -> Callable[..., Config]:
    """Returns a configuration that trains in a second. Arguments are `section.key=value` words."""

    def make(*arguments: str) -> Config:
        small = [
            f"DATA={photos}",
            "data.image_size=16",
            "model.num_blocks=2",
            "model.filters=4",
            "model.dense_units=8",
            "training.epochs=2",
            "training.batch_size=8",
            "augment.flip=false",
            "augment.crop=1.0",
            "augment.color=0.0",
            "tracking.wandb=disabled",
            "tracking.tensorboard=false",
        ]
        return load_config([*small, *arguments])

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium. Without one the test is skipped, unless REQUIRE_BROWSER is set."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            assert CHROMIUM, "Chromium is not installed"
            arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        except (AssertionError, Error) as error:
            if "REQUIRE_BROWSER" in os.environ:
                raise
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def write_exported_run(build_result: Callable[..., Result]) -> Callable[..., Callable[[np.ndarray], tuple]]:
    """Writes the folder of a run with an ONNX model that passed its comparison. No Keras model is behind it.

    Returns a function that computes the probabilities and the class activation maps of pixels in NumPy.
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def write(path: Path, classes: tuple[str, ...] = tuple(COLORS), with_maps: bool = True, **changes: Any) -> Callable:
        rng = np.random.default_rng(0)
        kernel = rng.normal(0, 1, (3, 8)).astype(np.float32)
        weights = rng.normal(0, 1, (8, len(classes))).astype(np.float32)

        def compute(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            maps = np.maximum(pixels.astype(np.float32) / 255 @ kernel, 0) @ weights
            logits = maps.mean(axis=(1, 2))
            values = np.exp(logits - logits.max(axis=1, keepdims=True))
            return values / values.sum(axis=1, keepdims=True), maps

        node = onnx.helper.make_node
        nodes = [
            node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
            node("Mul", ["float", "scale"], ["scaled"]),
            node("MatMul", ["scaled", "kernel"], ["conv"]),
            node("Relu", ["conv"], ["relu"]),
            node("MatMul", ["relu", "weights"], ["class_activation_maps"]),
            node("ReduceMean", ["class_activation_maps", "axes"], ["logits"], keepdims=0),
            node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
        constants = {
            "scale": np.float32(1 / 255),
            "kernel": kernel,
            "weights": weights,
            "axes": np.array([1, 2], np.int64),
        }
        describe = onnx.helper.make_tensor_value_info
        outputs = [describe("probabilities", onnx.TensorProto.FLOAT, ["n", len(classes)])]
        if with_maps:
            outputs.append(describe("class_activation_maps", onnx.TensorProto.FLOAT, ["n", 16, 16, len(classes)]))
        graph = onnx.helper.make_graph(
            nodes,
            "tiny",
            [describe("image", onnx.TensorProto.UINT8, ["n", 16, 16, 3])],
            outputs,
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
        run = RunFolder(path, path.parent.name)
        run.export.mkdir(parents=True)
        onnx.save(model, str(run.export / "model.onnx"))
        result = build_result(classes=classes).model_copy(update={"command": run.command} | changes)
        inside = ModelContract(
            classes=classes, image_size=16, temperature=result.temperature, keras="3.15.1", keras_inat="0.1.0"
        )
        with zipfile.ZipFile(run.model, "w") as archive:
            archive.writestr(CONTRACT, inside.model_dump_json())
        finish_run(run, result)
        write_records(
            run,
            [build_row("onnx", "model.onnx", max_difference=1e-7)],
            {},
            classes=classes,
            outputs=tuple(output.name for output in outputs),
            preparation=result.data.preparation,
            temperature=result.temperature,
        )
        return compute

    return write
