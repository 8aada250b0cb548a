import csv
import io
import json
import os
import re

import keras
import numpy as np
import pytest
from PIL import Image

from keras_inat import files
from keras_inat.commands import predict
from keras_inat.data.decode import decode_image
from keras_inat.errors import UserError
from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.models import prediction
from keras_inat.models.cnn import build_cnn
from keras_inat.reporting.prediction_pictures import draw_prediction
from keras_inat.settings.loading import load_config
from keras_inat.settings.networks import Model
from keras_inat.store.records import Preparation
from keras_inat.store.runs import RunFolder, finish_run

CLASSES = ["Aves", "Fungi", "Insecta", "Plantae"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_cnn(Model(num_blocks=2, filters=4, dense_units=0), 16, len(CLASSES))


@pytest.fixture
def runs(tmp_path, model, build_result):
    result = build_result(classes=CLASSES)
    _write_run(tmp_path / "runs/train-best/20260101-000000-old", model, build_result(classes=CLASSES[::-1]))
    _write_run(tmp_path / "runs/finetune/20260102-000000-new", model, result.model_copy(update={"command": "finetune"}))
    # The newest run has no model.
    lost = tmp_path / "runs/train-best/20260103-000000-lost"
    _write_run(lost, model, result)
    (lost / "best.keras").unlink()
    return tmp_path / "runs"


def _write_run(path, model, result):
    path.mkdir(parents=True)
    model.save(path / "best.keras")
    finish_run(RunFolder(path, path.parent.name), result)


def _write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def _run(runs, *arguments):
    predict.run(load_config([f"run.directory={runs}", *map(str, arguments)]))


def _expect(model, path, classes=CLASSES):
    probabilities = model(decode_image(path.read_bytes(), 16)[None].astype(np.float32)).numpy()[0]
    best = np.argsort(-probabilities)[:3]
    return ", ".join(f"{classes[label]} {100 * probabilities[label]:.1f} %" for label in best)


def describe_lost(runs):
    """Returns the warning about the newest run, which has lost its model."""
    return f"warning: {runs / 'train-best/20260103-000000-lost/best.keras'} is missing, and its run is skipped"


def test_unreadable_files_of_a_folder_are_skipped(runs, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prediction, "BATCH_SIZE", 2)
    drawn = []
    monkeypatch.setattr(predict, "draw_prediction", lambda *given: drawn.append(given) or draw_prediction(*given))
    photos = tmp_path / "photos"
    names = ["a/one.png", "b/one.jpg", "b/two.png"]
    for seed, name in enumerate(names):
        _write_image(photos / name, seed)
    (photos / "a/text.jpg").write_text("hello")
    _write_image(photos / ".hidden/three.png", 3)
    (photos / "b/.DS_Store").write_text("")
    _run(runs, f"IMAGE={photos}")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"model: {runs / 'finetune/20260102-000000-new'}"
    assert lines[1:4] == [f"{name}: {_expect(model, photos / name)}" for name in names]
    pictures = runs / "finetune/20260102-000000-new/predictions"
    assert lines[4:] == [f"explanations of 3 of 3 images: {pictures}"]
    assert err.splitlines() == [describe_lost(runs), "warning: skipped a/text.jpg: it is not an image"]
    assert sorted(path.name for path in pictures.iterdir()) == ["one-2.png", "one.png", "two.png"]
    for path in pictures.iterdir():
        with Image.open(path) as picture:
            assert picture.width > 1000
    for name, (image, class_names, row, method, _, gradient) in zip(names, drawn, strict=True):
        pixels = decode_image((photos / name).read_bytes(), 16)
        np.testing.assert_array_equal(image, pixels)
        assert list(class_names) == CLASSES
        assert method == "guided gradient"
        np.testing.assert_allclose(row, model(pixels[None].astype(np.float32)).numpy()[0], atol=1e-6)
        np.testing.assert_allclose(gradient, explain_predictions(model, pixels[None])[0], rtol=1e-3, atol=1e-6)


def test_images_are_prepared_as_for_the_training(tmp_path, model, build_result, capsys):
    """The run was trained on padded images of 12 bits."""
    run = tmp_path / "runs/train-best/20260101-000000-deep"
    _write_run(run, model, build_result(classes=CLASSES, fit="pad", bit_depth=12))
    values = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    _run(tmp_path / "runs", f"IMAGE={tmp_path / 'deep.png'}", "predict.format=json")
    received = json.loads(capsys.readouterr().out)["probabilities"]
    pixels = decode_image((tmp_path / "deep.png").read_bytes(), 16, Preparation(fit="pad", bit_depth=12))
    assert (pixels[0] == 128).all()
    expected = model(pixels[None].astype(np.float32)).numpy()[0]
    np.testing.assert_allclose(list(received.values()), expected, atol=1e-5)


def test_file_names_that_are_not_text_are_escaped(runs, model, tmp_path, capfd):
    odd = tmp_path / os.fsdecode(b"b\xffd.png")
    _write_image(odd, 0)
    _write_image(tmp_path / "z.png", 1)
    _run(runs, f"IMAGE={tmp_path}")
    lines = capfd.readouterr().out.encode("utf-8").decode().splitlines()
    assert lines[1].startswith("b\\udcffd.png: ")
    assert lines[2].startswith("z.png: ")
    _run(runs, f"IMAGE={odd}")
    assert capfd.readouterr().out.splitlines()[-1].endswith("predictions/b\\udcffd.png")
    (tmp_path / "text\n.png").write_text("no image")
    _run(runs, f"IMAGE={tmp_path}")
    assert "warning: skipped text\\n.png: it is not an image" in capfd.readouterr().err.splitlines()


def test_long_file_names_have_pictures(runs, tmp_path, capsys):
    names = ["x" * 251 + ".png", "y" * 255, "é" * 125 + ".png"]
    for seed, name in enumerate(names):
        _write_image(tmp_path / "photos/first.png", seed)
        (tmp_path / "photos/first.png").rename(tmp_path / "photos" / name)
    _run(runs, f"IMAGE={tmp_path / 'photos'}")
    pictures = sorted(path.name for path in (runs / "finetune/20260102-000000-new/predictions").iterdir())
    assert pictures == ["x" * 200 + ".png", "y" * 200 + ".png", "é" * 100 + ".png"]


def test_class_names_in_any_script_are_drawn_without_warnings(runs, model, tmp_path, capsys, build_result):
    _write_image(tmp_path / "bird.jpg", 0)
    _write_run(tmp_path / "scripts", model, build_result(classes=["红色", "青", "🐦", "Aves"]))
    _run(runs, f"IMAGE={tmp_path / 'bird.jpg'}", f"RUN={tmp_path / 'scripts'}")
    assert not capsys.readouterr().err


def test_one_image_with_a_given_run(runs, model, tmp_path, capsys):
    _write_image(tmp_path / "bird.jpg", 0)
    old = runs / "train-best/20260101-000000-old"
    _run(runs, f"IMAGE={tmp_path / 'bird.jpg'}", f"RUN={old}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        f"bird.jpg: {_expect(model, tmp_path / 'bird.jpg', CLASSES[::-1])}",
        f"explanation: {old / 'predictions/bird.png'}",
    ]
    assert (old / "predictions/bird.png").stat().st_size > 10_000


def test_json_output_has_one_line_per_image(runs, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(predict, "MAX_PICTURES", 1)
    for seed, name in enumerate(["a/bird.png", 'b/"two"\n.png']):
        _write_image(tmp_path / "photos" / name, seed)
    (tmp_path / "photos/text.jpg").write_text("hello")
    _run(runs, f"IMAGE={tmp_path / 'photos'}", "predict.format=json")
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    pixels = decode_image((tmp_path / "photos/a/bird.png").read_bytes(), 16)[None].astype(np.float32)
    row = model(pixels).numpy()[0]
    assert list(first) == ["file", "class", "confidence", "uncertain", "probabilities", "explanation"]
    assert first["file"] == "a/bird.png"
    assert first["class"] == CLASSES[row.argmax()]
    assert first["confidence"] == pytest.approx(row.max(), abs=1e-6)
    assert list(first["probabilities"]) == CLASSES
    np.testing.assert_allclose(list(first["probabilities"].values()), row, atol=1e-6)
    assert first["explanation"] == str(runs / "finetune/20260102-000000-new/predictions/bird.png")
    assert (second["file"], second["explanation"]) == ('b/"two"\n.png', None)
    assert "model: " in err
    assert "skipped text.jpg" in err


def test_only_the_first_images_get_pictures(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(predict, "MAX_PICTURES", 2)
    for seed in range(4):
        _write_image(tmp_path / f"photos/{seed}.png", seed)
    _run(runs, f"IMAGE={tmp_path / 'photos'}")
    assert "explanations of 2 of 4 images" in capsys.readouterr().out
    pictures = runs / "finetune/20260102-000000-new/predictions"
    assert sorted(path.name for path in pictures.iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IMAGE={tmp}/text.jpg"], "text.jpg' contains no readable image"),
        (["IMAGE={tmp}/empty"], "empty' contains no readable image"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}"], "RUN must be the folder of a finished run"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}/damaged"], "RUN must be the folder of a finished run"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}/runs/train-best/20260103-000000-lost"], "RUN must be the folder"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}/broken"], "best.keras cannot be loaded"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}/fewer"], "best.keras is not the model that result.json describes"),
        (["IMAGE={tmp}/text.jpg", "RUN={tmp}/larger"], "best.keras is not the model that result.json describes"),
        (["IMAGE={tmp}/text.jpg", "run.directory={tmp}/elsewhere"], "run `keras-inat train-best`"),
    ],
)
def test_errors_say_what_to_do(runs, model, tmp_path, arguments, message, build_result):
    _write_run(tmp_path / "fewer", model, build_result(classes=CLASSES[:3]))
    _write_run(tmp_path / "larger", model, build_result(classes=CLASSES, image_size=32))
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/best.keras").write_text("hello")
    finish_run(RunFolder(tmp_path / "broken", "train-best"), build_result())
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/best.keras").write_text("hello")
    (tmp_path / "damaged/result.json").write_text("{")
    with pytest.raises(UserError, match=re.escape(message)):
        _run(runs, *[argument.format(tmp=tmp_path) for argument in arguments])


@pytest.fixture
def refuse_files(monkeypatch):
    """Makes folders whose path contains a word read-only."""

    def refuse(word):
        create = files.tempfile.TemporaryFile

        def fail(dir=None):
            if dir and word in str(dir):
                raise OSError(30, "Read-only file system")
            return create(dir=dir)

        monkeypatch.setattr(files.tempfile, "TemporaryFile", fail)

    return refuse


def test_a_read_only_run_is_explained_in_the_working_folder(runs, workplace, refuse_files, capsys):
    _write_image(workplace / "a.png", 0)
    refuse_files("finetune/")
    _run(runs, "IMAGE=a.png")
    run = runs / "finetune/20260102-000000-new"
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        describe_lost(runs),
        f"warning: {run} cannot be written: the explanations are in predictions/20260102-000000-new",
    ]
    assert "explanation: predictions/20260102-000000-new/a.png" in captured.out
    assert (workplace / "predictions/20260102-000000-new/a.png").exists()


def test_without_a_place_to_write_the_predictions_are_printed(runs, workplace, refuse_files, capsys):
    _write_image(workplace / "a.png", 0)
    refuse_files("")
    _run(runs, "IMAGE=a.png", "predict.format=json")
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert json.loads(line)["explanation"] is None
    assert "the predictions come without explanations" in captured.err
    assert list(workplace.rglob("*.png")) == [workplace / "a.png"]


@pytest.mark.parametrize(
    ("temperature", "given", "used"), [(2.0, "true", 2.0), (2.0, "false", 1.0), (None, "true", 1.0)]
)
def test_probabilities_are_calibrated(workplace, model, build_result, capsys, temperature, given, used):
    result = build_result(classes=CLASSES).model_copy(update={"temperature": temperature})
    _write_run(workplace / "runs/train-best/20260101-000000-a", model, result)
    _write_image(workplace / "a.png", 0)
    _run(
        workplace / "runs", "IMAGE=a.png", "predict.format=json", f"predict.calibrated={given}", "predict.explain=false"
    )
    received = json.loads(capsys.readouterr().out)
    logits = np.log(model(decode_image((workplace / "a.png").read_bytes(), 16)[None].astype(np.float32)).numpy()[0])
    expected = np.exp(logits / used) / np.exp(logits / used).sum()
    np.testing.assert_allclose(list(received["probabilities"].values()), expected, atol=2e-6)
    assert received["confidence"] == max(received["probabilities"].values())


def test_a_confidence_below_the_threshold_is_uncertain(runs, model, workplace, capsys):
    _write_image(workplace / "a.png", 0)
    expected = _expect(model, workplace / "a.png")
    _run(runs, "IMAGE=a.png", "predict.threshold=0.99", "predict.explain=false")
    assert capsys.readouterr().out.splitlines()[1:] == [f"a.png: uncertain ({expected})"]
    for threshold, is_uncertain in ((0.01, False), (0.99, True)):
        _run(runs, "IMAGE=a.png", "predict.format=json", f"predict.threshold={threshold}", "predict.explain=false")
        assert json.loads(capsys.readouterr().out)["uncertain"] is is_uncertain


def test_csv_output_is_a_table(runs, model, workplace, capsys):
    names = ["a/bird.png", 'b/"two", <b>three</b>\n.png', os.fsdecode(b"b\xff.png")]
    for seed, name in enumerate(names):
        _write_image(workplace / "photos" / name, seed)
    (workplace / "photos/text.jpg").write_text("hello")
    _run(runs, "IMAGE=photos", "predict.format=csv", "predict.output=pictures")
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == [*names[:2], "b\\udcff.png"]
    assert list(rows[0]) == [
        *("file", "class", "confidence", "uncertain", "explanation"),
        *("class_2", "probability_2", "class_3", "probability_3"),
    ]
    for row, name in zip(rows, names, strict=True):
        scores = [(row["class"], row["confidence"]), *((row[f"class_{n}"], row[f"probability_{n}"]) for n in (2, 3))]
        received = ", ".join(f"{name} {100 * float(value):.1f} %" for name, value in scores)
        assert received == _expect(model, workplace / "photos" / name)
        assert row["uncertain"] == "false"
    assert rows[0]["explanation"] == "pictures/bird.png"
    assert (workplace / "pictures/bird.png").exists()
    assert "skipped text.jpg" in err


def test_top_limits_the_classes(runs, workplace, capsys):
    _write_image(workplace / "a.png", 0)
    _run(runs, "IMAGE=a.png", "predict.top=2", "predict.explain=false")
    assert capsys.readouterr().out.splitlines()[1].count("%") == 2
    _run(runs, "IMAGE=a.png", "predict.top=2", "predict.format=json", "predict.explain=false")
    values = list(json.loads(capsys.readouterr().out)["probabilities"].values())
    assert values == sorted(values, reverse=True)
    assert len(values) == 2
    _run(runs, "IMAGE=a.png", "predict.top=9", "predict.format=csv", "predict.explain=false")
    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head[-1] == "probability_4"
    assert len(row) == len(head)


def test_pictures_within_the_folder_of_images_are_not_predicted(runs, workplace, capsys):
    _write_image(workplace / "photos/a.png", 0)
    for _ in range(2):
        _run(runs, "IMAGE=photos", "predict.output=photos/explained")
        assert len(capsys.readouterr().out.splitlines()) == 3
    assert (workplace / "photos/explained/a.png").exists()


def test_without_explanations_nothing_is_written(runs, workplace, capsys):
    _write_image(workplace / "a.png", 0)
    before = sorted(workplace.rglob("*"))
    _run(runs, "IMAGE=a.png", "predict.explain=false")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert sorted(workplace.rglob("*")) == before


def test_a_folder_of_pictures_that_cannot_be_written_is_an_error(runs, workplace):
    _write_image(workplace / "a.png", 0)
    with pytest.raises(OSError, match=r"cannot write a\.png/pictures: Not a directory"):
        _run(runs, "IMAGE=a.png", "predict.output=a.png/pictures")
