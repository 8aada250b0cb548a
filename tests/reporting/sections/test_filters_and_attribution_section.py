"""The section on the filters of a model and on the attribution of its predictions."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_workshop import Workshop, format_text

import keras_inat
from keras_inat.reporting.blocks import Block, Table, list_blocks
from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections import attribution, explanations, filters_and_attribution
from keras_inat.reporting.sections.filters_and_attribution import describe_filters_and_attribution
from keras_inat.settings.schema import Report
from keras_inat.store.explanations import Explanations, NeuronExplanation
from keras_inat.store.runs import RunFolder

FIGURES = (
    "filters", "feature-maps", "top-patches", "neurons", "guided-predictions", "attribution", "deletion-insertion",
)  # fmt: skip


def add_model(workshop: Workshop) -> RunFolder:
    """Adds a run with a model that has random weights."""
    from keras_inat.models.cnn import build_cnn

    run = workshop.add_run(settings={"model.filters": 4, "model.pooling": "average"})
    result = run.read_result()
    assert result is not None
    build_cnn(result.config.model, 16, 4).save(run.model)
    workshop.sign(run)
    return run


def describe(workshop: Workshop, settings: Report | None = None) -> list[Block]:
    [run] = read_history(workshop.runs).runs
    predictions = run.read_predictions()
    assert predictions is not None
    return describe_filters_and_attribution(run, predictions, workshop.figures, settings or Report())


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens what takes the most time."""
    from keras_inat.explain import activation_maximization
    from keras_inat.explain import explanations as computing

    monkeypatch.setattr(computing, "NUM_SCORED", (3, 3))
    monkeypatch.setattr(activation_maximization, "NUM_STEPS", 4)


def forbid(*arguments: Any) -> Any:
    raise AssertionError("computed again")


def test_a_model_is_explained_once(
    workshop: Workshop, few: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_model(workshop)
    blocks = describe(workshop)
    assert {f"train-best-{name}" for name in FIGURES} == workshop.list_figures()
    text = format_text(blocks)
    assert "Not available for this network" not in text
    assert re.search(r"The 4 first-layer filters (have|are not distinguishable)", text)
    assert re.search(r"rank correlation of [+−]0\.\d\d \(95 % interval .*, n = 3 images|is degenerate", text)
    assert re.search(r"\d+ of 10 neurons responds? to one class", text)
    assert f"explaining the model of {run.path}" in capsys.readouterr().out
    rows = [row[0] for block in list_blocks(blocks) if isinstance(block, Table) for row in block.rows]
    assert {"Grad-CAM", "Occlusion", "Random order", "smoothness", "block1_activation"} <= set(rows)

    # The next page takes them from the run's folder, although its figures are gone.
    figures = {path: path.read_bytes() for path in (workshop.reports / "figures").iterdir()}
    for path in figures:
        path.unlink()
    computing = filters_and_attribution._compute
    monkeypatch.setattr(filters_and_attribution, "_compute", forbid)
    assert describe(workshop) == blocks
    assert {path: path.read_bytes() for path in figures} == figures

    # They are computed again if the model or the settings change or if the file is damaged, with the same result.
    with pytest.raises(AssertionError, match="computed again"):
        describe(workshop, Report(neurons="selective"))
    content = run.explanations.read_bytes()
    run.explanations.write_bytes(b"damaged")
    monkeypatch.setattr(filters_and_attribution, "_compute", computing)
    describe(workshop)
    assert run.explanations.read_bytes() == content
    monkeypatch.setattr(filters_and_attribution, "_compute", forbid)
    os.utime(run.model, (0, 0))
    describe(workshop)
    before = run.sample.stat()  # a bit of a disk changes without a time
    run.sample.write_bytes(run.sample.read_bytes()[:-1] + b"x")
    os.utime(run.sample, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(AssertionError, match="computed again"):
        describe(workshop)


@pytest.mark.parametrize("pattern", filters_and_attribution.CODE)
def test_only_the_code_that_computes_makes_explanations_outdated(pattern: str) -> None:
    package = Path(keras_inat.__file__).parent
    files = [path.relative_to(package).as_posix() for path in package.glob(pattern)]
    assert files
    assert not [file for file in files if file.startswith("reporting/")]


def test_a_folder_that_cannot_be_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_model(workshop)

    def fail(*arguments: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Explanations, "write", fail)
    monkeypatch.setattr(filters_and_attribution, "_compute", lambda *arguments: Explanations(failures={"filters": "x"}))
    assert "Not available for this network: x." in format_text(describe(workshop))
    assert "cannot be stored: read-only" in capsys.readouterr().err


def test_methods_are_compared_with_edges_and_with_random_pixels() -> None:
    random = np.linspace(-0.1, 0.1, 9)
    spread = np.array([-1.0, 1] * 4 + [0])
    scores = {
        "Good": random + 0.4,
        "As edges": random + 0.3,
        "Unclear": random + spread,
        "Image edges": random + 0.3,
        "Random order": random,
    }
    prose, table = attribution.compare_methods(scores)
    assert [row[0] for row in table.rows] == ["Good", "As edges", "Unclear", "Image edges", "Random order"]
    assert table.rows[0] == ["Good", "+0.40", "+0.40 (+0.40 to +0.40)", "+0.10 (+0.10 to +0.10)"]
    assert prose.text == (
        "Better than the edges of the image: Good. Better than a random order, inconclusive against "
        "edges: As edges. Inconclusive against a random order: Unclear."
    )


def test_a_degenerate_control_has_no_correlation() -> None:
    nan = float("nan")
    sentence = attribution.describe_control(np.array([nan, nan, nan, 0.5]))
    assert "is degenerate: for 3 of 4 images" in sentence
    assert "correlation" not in sentence
    sentence = attribution.describe_control(np.array([nan, 0.4, 0.5, 0.6]))
    assert "rank correlation of +0.50 (95 % interval +0.25 to +0.75, n = 3 images, without 1 " in sentence


def test_a_neuron_responds_to_a_class_that_its_images_bear_out() -> None:
    nothing = np.zeros(0)
    neuron = NeuronExplanation("block5", 7, 0, 0, (0, 1, 2, 3), nothing, nothing, 1, 0.61)
    names = ("Fungi", "Aves")
    text = explanations.describe_selectivity(neuron, np.array([1, 1, 0, 1]), names)
    assert text == "responds to\nAves\n3 of 4 images\nselectivity 0.61"
    text = explanations.describe_selectivity(neuron, np.array([1, 1, 0, 0]), names)
    assert text == "no single class\nmean: Aves\n2 of 4 images\nselectivity 0.61"


def test_a_run_without_a_sample(workshop: Workshop) -> None:
    run = add_model(workshop)
    run.sample.unlink()
    assert "The run has no sample of validation images" in format_text(describe(workshop))
    assert workshop.list_figures() == {
        f"train-best-{name}" for name in ("filters", "feature-maps", "guided-predictions")
    }


def test_too_little_memory(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_inat.explain import explanations as computing

    def fail(*arguments: Any) -> Any:
        raise MemoryError("64 GiB wanted")

    run = add_model(workshop)
    run.sample.unlink()
    monkeypatch.setattr(computing, "compute_feature_maps", fail)
    assert "Not available for this network: 64 GiB wanted." in format_text(describe(workshop))
    assert not run.explanations.exists()  # another attempt may have more memory


def test_a_missing_and_a_damaged_model(workshop: Workshop) -> None:
    run = workshop.add_run()
    assert "best.keras is not on disk, so the model is not explained." in format_text(describe(workshop))
    Path(run.model).write_bytes(b"damaged")
    assert "best.keras is not the one that was evaluated, so the model is not explained." in format_text(
        describe(workshop)
    )
    workshop.sign(run)
    assert "The model could not be opened: " in format_text(describe(workshop))
