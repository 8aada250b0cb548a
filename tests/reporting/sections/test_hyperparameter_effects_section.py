"""The sections on sweeps and the effects of their hyperparameters."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_workshop import TRIAL_EPOCHS, Workshop, build_trial, format_text

from keras_inat.reporting.blocks import Chapter, ParallelCoordinates, Picture
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent
from keras_inat.reporting.history import DataSet
from keras_inat.reporting.page import write_report
from keras_inat.reporting.rendering import render_markdown
from keras_inat.reporting.sections import hyperparameter_effects
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.reporting.statistics import conclusion, importance
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.sweeps import SweepFolder, SweepIdentity
from keras_inat.style import SCORES


def describe(workshop: Workshop) -> str:
    return format_text(*describe_sweeps(workshop.read_data_set(), workshop.figures))


def test_effects_have_evidence(workshop: Workshop) -> None:
    rng = np.random.default_rng(0)
    settings = [
        {"model.batch_norm": bool(number % 2), "model.filters": int(rng.choice([16, 32]))} for number in range(40)
    ]
    scores = [0.4 + 0.05 * values["model.batch_norm"] + rng.normal(0, 0.01) for values in settings]
    workshop.add_sweep("s", settings, [*scores[:-1], 0.01])
    text = describe(workshop)
    assert re.search(r"batch_norm true against false: \+[45]\.\d points \(95 % interval \+[34]\.\d to \+[56]", text)
    assert "No effect of 3 points or more, by the whole interval: filters." in text
    assert re.search(r"batch_norm false \(20\), true \(20\) \+[\d.]+ \+0\.\d+ \(true\) true against false \+", text)
    assert "Excluded as outliers: 1 trial with an accuracy of 1.0 % or less." in text
    assert {"sweep-s-adjusted-effects", "sweep-s-curves", "sweep-s-parallel"} <= workshop.list_figures()


NULLS = {
    "model.activation": ["relu", "gelu", "silu"],
    "model.batch_norm": [True, False],
    "model.dropout": [0.0, 0.1, 0.2, 0.3],
}
VERDICT = re.compile(r"(?<![Nn]ot )significant|(higher|lower) accuracy|improve the prediction|^- `|Interaction")


def plant_sweep(seed: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Returns the settings and scores of 60 trials in which only the learning rate has an effect.

    After ten trials, the search repeats most values of one of the best three.
    """
    rng = np.random.default_rng(seed)
    settings = list[dict[str, Any]]()
    scores = list[float]()
    for number in range(60):
        values = {name: choices[rng.integers(len(choices))] for name, choices in NULLS.items()}
        values["training.learning_rate"] = float(10 ** rng.uniform(-4, -2))
        if number >= 10 and rng.random() < 0.85:
            good = settings[np.argsort(scores)[-1 - rng.integers(3)]]
            values = {name: good[name] if rng.random() < 0.8 else value for name, value in values.items()}
        settings.append(values)
        rate = np.log10(values["training.learning_rate"]) + 3
        scores.append(float(0.4 - 0.1 * rate**2 + rng.normal(0, 0.02)))
    return settings, scores


def list_false_verdicts(text: str) -> list[str]:
    """Returns the lines of a section that state a verdict on a hyperparameter without an effect."""
    names = "|".join(name.partition(".")[2].replace("_", r"\\?_") for name in NULLS)
    return [line for line in text.splitlines() if VERDICT.search(line) and re.search(names, line)]


def test_an_exploiting_search_causes_no_false_verdicts(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FigureFolder, "add", lambda self, name, draw, alt, caption: Picture(name, alt, caption, 1, 1))
    monkeypatch.setattr(importance, "NUM_SPLITS", 2)
    monkeypatch.setattr(importance, "NUM_TREES", 10)
    space = NULLS | {"training.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}}
    identity = SweepIdentity(space=space, settings={}, data_hash="")
    num_true = 0
    num_false = 0
    for seed in range(8):
        outcomes = enumerate(zip(*plant_sweep(seed), strict=True))
        trials = [build_trial(number, values, score, [score] * TRIAL_EPOCHS) for number, (values, score) in outcomes]
        sweep = SweepHistory(SweepFolder(Path(f"s{seed}")), trials, identity=identity)
        sections = describe_sweeps(DataSet("toy", sweeps=[sweep]), workshop.figures)
        text = render_markdown([Chapter("", sections)], "")
        num_true += any(line.startswith("- `learning_rate`") for line in text.splitlines())
        num_false += bool(list_false_verdicts(text))
    assert num_false <= 1  # of 5,000 such sweeps, 204 have a false verdict
    assert num_true >= 7


def test_pruned_trials_are_compared_after_equal_epochs(workshop: Workshop) -> None:
    rng = np.random.default_rng(0)
    settings = [{"model.batch_norm": bool(number % 2)} for number in range(24)]
    # The effect shows in the second epoch. At the end, which half of the trials reach, all are equal.
    curves = []
    for number, values in enumerate(settings):
        first = rng.uniform(0.1, 0.2)
        second = 0.4 + 0.05 * values["model.batch_norm"] + rng.normal(0, 0.01)
        curves.append([first, second] + [0.5, 0.6, 0.7] * (number % 4 < 2))
    workshop.add_sweep("s", settings, [curve[-1] for curve in curves], curves=curves)
    text = describe(workshop)
    assert "24 trials: 12 completed, 12 pruned. The best is trial 000" in text
    assert "All 24 trials are therefore compared after this number of epochs." in text
    assert re.search(r"batch_norm true against false: \+[45]\.\d points \(95 % interval \+[34].*n = 24 trials", text)
    assert "effects on validation accuracy after 2 epochs with the other" in text
    assert "Hyperparameters and validation accuracy after 2 epochs." in text
    assert "Learning curves of 24 trials" in text
    assert "A dot ends the curve of each of 12 pruned trials." in text


def test_few_trials_have_no_effects(workshop: Workshop) -> None:
    workshop.add_sweep("s", [{"model.filters": 8 * number} for number in range(1, 6)], [0.1, 0.2, 0.3, 0.4, 0.5])
    text = describe(workshop)
    assert "this space needs at least 10 scored trials, and the sweep has 5." in text
    # Wilson's interval of 24 of 48 images is 36.4 to 63.6 %.
    assert "With 48 validation images, one trial's accuracy has a 95 % margin of error of about ±13.6 points." in text


def test_correlations_without_effects_only_describe(workshop: Workshop) -> None:
    settings = [{"model.filters": 8 * number} for number in range(1, 9)]
    workshop.add_sweep("s", settings, [0.1 * number for number in range(1, 9)])
    text = describe(workshop)
    assert "+1.00" in text
    assert "These numbers only describe the trials, which a search does not spread evenly over the values." in text


def test_a_sweep_of_failures(workshop: Workshop) -> None:
    workshop.add_sweep("bad", [{"model.filters": 8}, {"model.filters": 16}], [None, None])
    write_report(workshop.config)
    text = workshop.read_text()
    assert "2 trials: 2 failed. No trial has a score yet. 2 × “FloatingPointError: the loss is nan”." in text
    assert "<img" not in workshop.read_page()


def test_values_keep_their_types(workshop: Workshop) -> None:
    settings = [
        {"model.filters": [8, 16], "model.activation": "gelu"},
        {"model.filters": 16, "model.activation": "relu", "model.dropout": 0.5},
    ]
    workshop.add_sweep("s", settings, [0.4, 0.3])
    [section] = describe_sweeps(workshop.read_data_set(), workshop.figures)
    [chart] = [block for block in section.blocks if isinstance(block, ParallelCoordinates)]
    titles = [line["title"].replace("\xa0", " ") for line in chart.data["lines"]]
    assert chart.data["key"] == {"colors": list(SCORES), "low": percent(0.3), "high": percent(0.4)}
    assert [line["color"] for line in chart.data["lines"]] == [SCORES[-1], SCORES[0]]
    assert titles == [
        "trial 000, 40.0 %: filters [8, 16], activation gelu, dropout –",
        "trial 001, 30.0 %: filters 16, activation relu, dropout 0.5",
    ]


def test_many_trials_make_a_small_page(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    # The statistics take most of the time, and only a few lines of the page.
    monkeypatch.setattr(hyperparameter_effects, "measure_importance", lambda sweep: {})
    monkeypatch.setattr(conclusion, "estimate_adjusted_effects", lambda sweep: "Not estimated.")
    rng = np.random.default_rng(0)
    settings = [{f"training.s{index}": float(rng.random()) for index in range(15)} for _ in range(300)]
    workshop.add_sweep("big", settings, rng.uniform(0.1, 0.5, 300).tolist())
    write_report(workshop.config)
    page = workshop.read_page()
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert len(json.loads(data)["axes"]) == 14
    assert len(page) < 1_000_000
