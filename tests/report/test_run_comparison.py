import json
import re

import pytest
from report_workshop import Workshop

from keras_inat.errors import UserError
from keras_inat.report.blocks import Picture, Prose, Table
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.history import read_history
from keras_inat.report.page import write_report
from keras_inat.report.sections.run_comparison import compare_runs
from keras_inat.settings.loading import override


def compare(workshop: Workshop, names: str, tmp_path):
    part = compare_runs(read_history(workshop.config.run.directory), names, FigureFolder(tmp_path))
    return part.sections[0].blocks


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    workshop.add_run(name="small", correct=60, val=0.5)
    workshop.add_run(
        name="large", seed=4, correct=80, val=0.625, settings={"model.filters": [8, 16, 32], "model.dropout": 0.5}
    )
    return workshop


def test_differences_curves_and_the_paired_gain(two: Workshop, tmp_path) -> None:
    differences, results, curves, gain = compare(two, "small large", tmp_path)
    assert differences.head == ["setting", "small", "large"]
    assert differences.rows == [["model.filters", "32", "8, 16, 32"], ["model.dropout", "0", "0.5"]]
    assert [row[:3] for row in results.rows] == [["small", "0", "50.0\u00a0%"], ["large", "4", "62.5\u00a0%"]]
    assert isinstance(curves, Picture)
    assert (tmp_path / curves.file).stat().st_size > 1000
    # 20 of 100 images more, none fewer: Bonett and Price's (21 - 1) / 102 is the middle of the interval.
    [[title, points, between, number, verdict]] = gain.rows
    assert (title, points, number, verdict) == ("large", "+20.0", "100\u00a0images", "better")
    low, high = (float(end) for end in re.findall(r"\d+\.\d", between))
    assert (low + high) / 2 == pytest.approx(100 * 20 / 102, abs=0.1)


def test_names_mean_all_seeds_and_folders_one(two: Workshop, tmp_path) -> None:
    second = two.add_run(name="small", seed=1, correct=62, val=0.5)
    two.add_run(
        name="large", seed=0, correct=81, val=0.625, settings={"model.filters": [8, 16, 32], "model.dropout": 0.5}
    )
    two.add_run(
        name="large", seed=1, correct=84, val=0.625, settings={"model.filters": [8, 16, 32], "model.dropout": 0.5}
    )
    *_, gain = compare(two, "small large", tmp_path)
    assert gain.rows[0][1] == "+21.5"  # the mean over seeds 0 and 1
    assert gain.rows[0][3] == "2\u00a0seeds"
    for name in (str(second.path), second.path.name, f"{second.path}/"):
        assert compare(two, f"{name} large", tmp_path)[1].rows[0][1] == "1"


def test_the_same_settings_and_other_images(two: Workshop, tmp_path) -> None:
    two.add_run(name="again", correct=60)
    two.add_run(name="elsewhere", data=two.describe_data("other"))
    assert compare(two, "small again", tmp_path)[0] == Prose("Their settings are the same.")
    assert isinstance(compare(two, "small again", tmp_path)[-1], Table)
    *_, gain, said = compare(two, "small large elsewhere", tmp_path)
    assert gain.rows[0][0] == "large"
    assert said.text.startswith("`elsewhere` is of other images")
    two.add_run(name="lost").predictions.unlink()
    assert "predictions are not on disk" in compare(two, "small lost", tmp_path)[-1].text


def test_an_older_run_did_as_the_defaults_do(two: Workshop, tmp_path) -> None:
    two.add_run(name="old", seed=1)
    run = two.add_run(name="old")
    result = json.loads(run.result.read_text())
    del result["config"]["training"]["distillation"]
    run.result.write_text(json.dumps(result))
    same, results, *_ = compare(two, "small old", tmp_path)
    assert same == Prose("Their settings are the same.")
    assert results.rows[1][1] == "0, 1"  # and is of one group with its other seed


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("small", "names two runs or more"),
        ("small larg", "Did you mean 'large'"),
        ("small double", "stands for 2 configurations"),
    ],
)
def test_what_cannot_be_compared_is_said(two: Workshop, tmp_path, names: str, message: str) -> None:
    two.add_run(name="double")
    two.add_run(name="double", settings={"model.filters": 8})
    with pytest.raises(UserError, match=message):
        compare(two, names, tmp_path)


def test_the_page_has_them(two: Workshop) -> None:
    write_report(override(two.config, {"report.compare": "small large"}))
    page = two.read_page()
    assert '<a href="#side-by-side">Side by side</a>' in page
    assert "figures/side-by-side-curves.png" in page
