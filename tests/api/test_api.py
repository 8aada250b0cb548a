import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import keras_inat
from keras_inat.data.decode import decode_image
from keras_inat.models.model_files import write_model, write_temperature
from keras_inat.store.contracts import read_contract
from keras_inat.store.ledger import read_ledger
from keras_inat.store.records import Preparation

SMALL = {
    "data.image_size": 16,
    "model.num_blocks": 2,
    "model.filters": 4,
    "model.dense_units": 8,
    "training.epochs": 2,
    "training.batch_size": 8,
    "sweep.workers": 0,
    "sweep.epochs": 1,
    "sweep.space": {"model.filters": [4, 6], "training.learning_rate": [1e-3, 1e-2]},
    "tracking.wandb": "disabled",
    "tracking.tensorboard": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_photos):
    """A folder with a sweep of two trials and two trained seeds, made through the API."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_photos(folder / "photos")
        sweep = keras_inat.sweep("photos", trials=2, name="first", settings=SMALL)
        runs = keras_inat.train(sweep=sweep, seeds=2)
    return folder, sweep, runs


@pytest.fixture
def trained(place, monkeypatch):
    folder, sweep, runs = place
    monkeypatch.chdir(folder)
    return sweep, runs


def test_the_import_offers_every_name_and_no_tensorflow():
    code = (
        "import keras_inat, sys; names = set(keras_inat.__all__); assert names <= set(dir(keras_inat));"
        "[getattr(keras_inat, name) for name in names];"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sweep_shows_its_best_trial(trained):
    sweep, _ = trained
    assert [trial.status for trial in sweep.trials] == ["completed", "completed"]
    assert sweep.best.score == max(trial.score for trial in sweep.trials)
    assert f"2 trials, best {sweep.best.score:.1%} (trial {sweep.best.id})" in repr(sweep)
    assert "data:image/png;base64," in sweep._repr_html_()


def test_runs_are_a_table_with_the_mean_over_seeds(trained):
    _, runs = trained
    assert [run.seed for run in runs] == [0, 1]
    assert runs.best.val_accuracy == max(run.val_accuracy for run in runs)
    assert len(runs[0].epochs) == 2
    page = runs._repr_html_()
    mean = sum(run.test_accuracy for run in runs) / 2
    assert f"<td style='text-align:left'>{mean:.1%}</td>" in page
    assert "2 seeds" in page
    assert [run.path for run in keras_inat.results()] == [run.path for run in runs]


def test_a_finished_training_is_not_repeated(trained, capsys):
    _, runs = trained
    again = keras_inat.train(sweep="first", seeds=2)
    assert [run.path for run in again] == [run.path for run in runs]
    assert capsys.readouterr().out.count("already done") == 2


def test_a_loaded_model_predicts_whatever_form_the_images_have(trained, tmp_path):
    model = keras_inat.load()
    assert model.classes == ["blue", "green", "red"]
    file = next(iter(sorted(__import__("pathlib").Path("photos/val/red").iterdir())))
    picture = Image.open(file).convert("RGB")
    pixels = np.asarray(picture)
    expected = model.predict(file).probabilities
    for images in (str(file), picture, pixels, pixels[None].astype(np.float32), [file], [pixels]):
        np.testing.assert_allclose(model.predict(images).probabilities, expected, atol=1e-6)
    everything = model.predict("photos/val")
    assert len(everything) == 12
    assert everything[0].file.startswith("photos/val/blue/")
    assert abs(sum(everything[0].probabilities.values()) - 1) < 1e-5
    assert everything[0].confidence == max(everything[0].probabilities.values())
    assert everything._repr_html_().count("<img") == 12


def test_a_model_prepares_images_as_for_its_training(trained, tmp_path):
    """The images of the training were squashed, and had 12 bits."""
    file = tmp_path / "squashed.keras"
    preparation = Preparation(fit="squash", bit_depth=12)
    model = keras_inat.load()
    contract = read_contract(model.path).model_copy(update={"preparation": preparation})
    write_model(model.model, file, contract)
    values = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = decode_image((tmp_path / "deep.png").read_bytes(), 16, preparation)
    for image in (tmp_path / "deep.png", Image.fromarray(values)):
        np.testing.assert_array_equal(keras_inat.load(file).predict(image)[0].pixels, expected)


def test_a_model_is_fine_tuned_on_images_like_its_own(trained, monkeypatch):
    _, runs = trained
    seen = []
    monkeypatch.setattr("keras_inat.api.verbs._run", lambda verb, given, settings: seen.append(settings) or [])
    keras_inat.finetune("photos", weights=runs[0])
    keras_inat.finetune("photos", weights=runs[0], settings={"data.fit": "pad"})
    assert seen == [{"data.image_size": 16, "data.fit": fit} for fit in ("crop", "pad")]


def test_a_model_file_needs_no_run(trained, tmp_path):
    _, runs = trained
    file = tmp_path / "mine.keras"
    file.write_bytes(runs.best.model_path.read_bytes())
    model = keras_inat.load(file)
    assert (model.classes, model.image_size, model.run) == (["blue", "green", "red"], 16, None)
    expected = keras_inat.load(runs.best).predict("photos/val").probabilities
    np.testing.assert_array_equal(model.predict("photos/val").probabilities, expected)
    before = len(read_ledger("runs").entries)
    assert model.evaluate("photos/val").num_images == 12
    assert len(read_ledger("runs").entries) == before


def test_probabilities_are_calibrated(trained, tmp_path):
    file = tmp_path / "warm.keras"
    file.write_bytes(keras_inat.load().path.read_bytes())
    write_temperature(file, 2.0)
    model = keras_inat.load(file)
    raw = model.predict("photos/val", calibrated=False).probabilities
    roots = np.sqrt(raw)
    expected = roots / roots.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict("photos/val").probabilities, expected, atol=1e-6)
    run = keras_inat.results()[0]
    assert keras_inat.load(run).temperature == run.result.temperature


def test_an_explanation_has_the_shape_of_the_image(trained):
    model = keras_inat.load(keras_inat.results()[0])
    explained = model.explain("photos/val/red")
    assert explained.gradients.shape == (4, 16, 16, 3)
    assert np.abs(explained.gradients).max() > 0
    assert explained._repr_html_().count("<img") == 4


def test_an_evaluation_is_recorded_in_the_ledger(trained):
    before = len(read_ledger("runs").entries)
    model = keras_inat.load()
    evaluation = model.evaluate("photos/val")
    correct = sum(p.class_name == p.file.split("/")[2] for p in evaluation.predictions)
    assert evaluation.num_images == 12
    assert evaluation.accuracy == correct / 12
    assert evaluation.interval[0] < evaluation.accuracy < evaluation.interval[1] or correct in (0, 12)
    entries = read_ledger("runs").entries
    assert len(entries) == before + 1
    assert entries[-1].command == "evaluate"


def test_a_run_is_exported_by_the_command(trained, monkeypatch):
    called = []
    monkeypatch.setattr("keras_inat.commands.dispatch.run_command", lambda *call: called.append(call))
    run = keras_inat.results()[0]
    run.export(["onnx", "savedmodel"], "CC-BY-4.0")
    run.export()
    first = [f"RUN={run.path}", "FORMAT=onnx,savedmodel", 'export.license="CC-BY-4.0"']
    assert called[0] == ("export", first)
    assert called[1] == ("export", [f"RUN={run.path}", "FORMAT=onnx,litert", "export.license=null"])
    run.make_app()
    run.make_app("runtime.tgz")
    assert called[2:] == [
        ("app", [f"RUN={run.path}", "app.runtime=null"]),
        ("app", [f"RUN={run.path}", 'app.runtime="runtime.tgz"']),
    ]


def test_the_report_shows_itself(trained):
    page = keras_inat.report(settings={"report.single_file": True})
    assert page.path.exists()
    assert page.findings
    assert "<iframe srcdoc=" in page._repr_html_()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: keras_inat.sweep("nowhere"), "'nowhere' does not exist"),
        (lambda: keras_inat.sweep("photos", settings={"model.filter": 3}), "Did you mean 'model.filters'"),
        (lambda: keras_inat.train(sweep="none"), r"must be one of {first}\. Received: 'none'"),
        (lambda: keras_inat.finetune("photos", backbone="MobilNetV2"), "Did you mean 'MobileNetV2'"),
        (lambda: keras_inat.load("nowhere"), "must be the folder of a finished run"),
        (lambda: keras_inat.load().predict("nowhere.jpg"), "does not exist"),
        (lambda: keras_inat.load().predict(np.zeros((4, 4, 3))), "pixels must be from 0 to 255"),
        (lambda: keras_inat.load().evaluate("photos"), "no folder named like a class"),
    ],
)
def test_a_mistake_is_an_exception(trained, call, words):
    with pytest.raises(keras_inat.UserError, match=words.replace("(", r"\(")):
        call()
