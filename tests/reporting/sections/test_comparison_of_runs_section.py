"""The chapter that compares the runs that the user names."""

import re
from pathlib import Path

import pytest
from report_workshop import Workshop

from keras_inat.errors import UserError
from keras_inat.reporting.blocks import Block, Picture, Prose, Table
from keras_inat.reporting.history import read_history
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections.comparison_of_runs import compare_runs
from keras_inat.settings.loading import override

LARGE = {"model.filters": [8, 16, 32], "model.dropout": 0.5}


def compare(workshop: Workshop, names: str) -> list[Block]:
    chapter = compare_runs(read_history(workshop.runs), names, workshop.figures)
    return chapter.sections[0].blocks


@pytest.fixture
def pair(workshop: Workshop) -> Workshop:
    """A workshop with a small and a large model."""
    workshop.add_run(name="small", correct=60, val=0.5)
    workshop.add_run(name="large", seed=4, correct=80, val=0.625, settings=LARGE)
    return workshop


def test_settings_curves_and_the_paired_difference(pair: Workshop) -> None:
    settings, results, curves, difference, scatter = compare(pair, "small large")
    assert isinstance(settings, Table)
    assert settings.head == ["setting", "small", "large"]
    assert settings.rows == [["model.filters", "32", "8, 16, 32"], ["model.dropout", "0", "0.5"]]
    assert isinstance(results, Table)
    assert [row[:3] for row in results.rows] == [["small", "0", "50.0\u00a0%"], ["large", "4", "62.5\u00a0%"]]
    assert isinstance(curves, Picture)
    assert (pair.reports / curves.file).stat().st_size > 1000
    # 20 of 100 images more, none fewer: Bonett and Price's (21 - 1) / 102 is the middle of the interval.
    assert isinstance(difference, Table)
    [[title, points, interval, sample, compared, result]] = difference.rows
    assert (title, points, sample, result) == ("large", "+20.0", "100\u00a0images", "better")
    assert compared == "two trained models"
    assert isinstance(scatter, Prose)
    assert "does not tell which configuration is better" in scatter.text
    low, high = (float(end) for end in re.findall(r"\d+\.\d", interval))
    assert (low + high) / 2 == pytest.approx(100 * 20 / 102, abs=0.1)


def test_a_name_stands_for_all_seeds_and_a_folder_for_one(pair: Workshop) -> None:
    second = pair.add_run(name="small", seed=1, correct=62, val=0.5)
    pair.add_run(name="large", seed=0, correct=81, val=0.625, settings=LARGE)
    pair.add_run(name="large", seed=1, correct=84, val=0.625, settings=LARGE)
    *_, difference = compare(pair, "small large")
    assert isinstance(difference, Table)
    assert difference.rows[0][1] == "+21.5"  # the mean over seeds 0 and 1
    assert difference.rows[0][3:5] == ["2\u00a0seeds", "configurations"]
    for name in (str(second.path), second.path.name, f"{second.path}/"):
        results = compare(pair, f"{name} large")[1]
        assert isinstance(results, Table)
        assert results.rows[0][1] == "1"


def test_equal_settings_and_other_images(pair: Workshop) -> None:
    pair.add_run(name="again", correct=60)
    pair.add_run(name="elsewhere", data=pair.describe_data("other"))
    first, *_, last, _ = compare(pair, "small again")
    assert first == Prose("The settings of these runs are the same.")
    assert isinstance(last, Table)
    *_, difference, _, sentence = compare(pair, "small large elsewhere")
    assert isinstance(difference, Table)
    assert difference.rows[0][0] == "large"
    assert isinstance(sentence, Prose)
    assert sentence.text.startswith("`elsewhere` and `small` have different images")
    pair.add_run(name="lost").predictions.unlink()
    *_, sentence = compare(pair, "small lost")
    assert isinstance(sentence, Prose)
    assert sentence.text.startswith("The predictions of `lost` or of `small` are not on disk")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("small", "must name two runs or more"),
        ("small larg", "Did you mean 'large'"),
        ("small double", "is the name of 2 configurations"),
    ],
)
def test_names_are_checked(pair: Workshop, names: str, message: str) -> None:
    pair.add_run(name="double")
    pair.add_run(name="double", settings={"model.filters": 8})
    with pytest.raises(UserError, match=message):
        compare(pair, names)


def test_a_comparison_needs_finished_runs(workshop: Workshop) -> None:
    workshop.add_sweep("s", [{"model.filters": 8}], [0.5])
    with pytest.raises(UserError, match="names runs, but there is no finished run in"):
        write_report(override(workshop.config, {"report.compare": "small large"}))


def test_the_page_has_the_chapter(pair: Workshop) -> None:
    for predictions in pair.runs.rglob("test_predictions.npz"):
        predictions.unlink()  # their figures take the most time
    write_report(override(pair.config, {"report.compare": "small large"}))
    page = pair.read_page()
    assert '<a href="#comparison-of-runs">Comparison of runs</a>' in page
    assert "figures/comparison-of-runs-learning-curves.svg" in page
    assert (Path(pair.reports) / "figures" / "comparison-of-runs-learning-curves.svg").exists()
