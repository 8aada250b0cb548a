"""The section on the filters of a model and on the attribution of its predictions."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_workshop import Workshop, format_text

import keras_inat
from keras_inat.reporting.blocks import Block, Prose, Table
from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections import explanations, filters_and_attribution
from keras_inat.reporting.sections.filters_and_attribution import describe_filters_and_attribution
from keras_inat.settings.schema import Report
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
    return run


def describe(workshop: Workshop, settings: Report | None = None) -> list[Block]:
    [run] = read_history(workshop.runs).runs
    predictions = run.read_predictions()
    assert predictions is not None
    return describe_filters_and_attribution(run, predictions, workshop.figures, settings or Report())


def read_figures(workshop: Workshop) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (workshop.reports / "figures").iterdir()}


def test_a_model_is_explained_once(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanations, "NUM_SCORED", 3)
    run = add_model(workshop)
    blocks = describe(workshop)
    assert {f"train-best-{name}" for name in FIGURES} == workshop.list_figures()
    text = format_text(blocks)
    assert "Not available for this network" not in text
    assert re.search(r"The 4 filters by the component with most of their squared weights: [1-4] [a-z ]+", text)
    assert re.search(r"rank correlation of [+−]0\.\d\d \(95 % interval .*, n = 3 images\)", text)
    assert f"explaining the model of {run.path}" in capsys.readouterr().out
    rows = [row[0] for block in blocks if isinstance(block, Table) for row in block.rows]
    assert {"Grad-CAM", "Occlusion", "Random order"} <= set(rows)

    # The next page takes them from the cache, until the settings change or a cached file is damaged.
    figures = read_figures(workshop)
    for name in figures:
        (workshop.reports / "figures" / name).unlink()
    assert describe(workshop) == blocks
    assert capsys.readouterr().out == ""
    assert read_figures(workshop) == figures
    [cache] = (run.path / "pictures").iterdir()
    drawn: list[Any] = []

    def explain(*arguments: Any) -> tuple[list[Block], bool]:
        drawn.append(arguments)
        return [Prose("drawn")], False

    monkeypatch.setattr(filters_and_attribution, "explain_model", explain)
    assert describe(workshop, Report(neurons="selective")) == [Prose("drawn")]
    assert len(drawn) == 1
    (cache / "train-best-feature-maps.png").unlink()
    describe(workshop)
    (cache / "blocks.json").write_text("[")
    describe(workshop)
    assert len(drawn) == 3


@pytest.mark.parametrize("pattern", filters_and_attribution.CODE)
def test_the_code_of_explanations_exists(pattern: str) -> None:
    assert list(Path(keras_inat.__file__).parent.glob(pattern))


def test_methods_are_compared_by_their_intervals() -> None:
    random = np.linspace(-0.1, 0.1, 9)
    spread = np.array([-1.0, 1] * 4 + [0])
    scores = {
        "Good": random + 0.2,
        "Unclear": random + spread,
        "Image edges": random + 0.3,
        "Random order": random,
    }
    table, prose = explanations.compare_methods(scores)
    assert isinstance(table, Table)
    assert isinstance(prose, Prose)
    assert [row[0] for row in table.rows] == ["Image edges", "Good", "Unclear", "Random order"]
    assert table.rows[1][2:] == ["+0.20", "+0.20 to +0.20"]
    assert prose.text == "Significantly better than a random order: Good. Not significant with so few images: Unclear."


def test_a_run_without_a_sample(workshop: Workshop) -> None:
    run = add_model(workshop)
    run.sample.unlink()
    assert "The run has no sample of validation images" in format_text(describe(workshop))
    assert workshop.list_figures() == {
        f"train-best-{name}" for name in ("filters", "feature-maps", "guided-predictions")
    }
    assert not (run.path / "pictures").exists()


def test_too_little_memory(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(explained: Any) -> Any:
        raise MemoryError("64 GiB wanted")

    add_model(workshop)
    monkeypatch.setattr(explanations, "EXPLANATIONS", {fail: False})
    assert "Not available for this network: 64 GiB wanted." in format_text(describe(workshop))


def test_a_missing_and_a_damaged_model(workshop: Workshop) -> None:
    run = workshop.add_run()
    assert "best.keras is not on disk, so the model is not explained." in format_text(describe(workshop))
    Path(run.model).write_bytes(b"damaged")
    assert "The model could not be opened: " in format_text(describe(workshop))
