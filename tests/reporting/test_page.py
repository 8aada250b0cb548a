"""The page, from run folders to files."""

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_workshop import Workshop

from keras_inat import plotting
from keras_inat.commands import report
from keras_inat.errors import UserError
from keras_inat.reporting import page
from keras_inat.reporting.history import read_history
from keras_inat.reporting.page import format_results, write_report
from keras_inat.reporting.rendering import escape_markdown
from keras_inat.reporting.sections.filters_and_attribution import hash_dependencies
from keras_inat.settings.loading import override
from keras_inat.store.explanations import Explanations
from keras_inat.store.records import FlipScores
from keras_inat.store.scores import score_predictions


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The report of a sweep, two seeds from scratch, a fine-tuned run and an unfinished one."""
    workshop = Workshop(tmp_path_factory.mktemp("complete"))
    settings = [
        {"model.filters": 8 * (1 + index % 3), "model.activation": ("relu", "gelu")[index % 2]} for index in range(12)
    ]
    scores = [0.30 + 0.02 * index if index != 4 else None for index in range(12)]
    workshop.add_sweep("first", settings, scores)
    workshop.add_run(seed=0, correct=60, val=0.52)
    workshop.add_run(seed=1, correct=64, val=0.55)
    workshop.add_run(name="aborted", finished=False)
    workshop.add_finetuned("head", correct=80, val=0.8)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        patch.setitem(plotting.STYLE, "savefig.dpi", 30)
        report.run(workshop.config)
    workshop.printed = output.getvalue().replace("\xa0", " ")
    return workshop


def test_complete_page(complete: Workshop) -> None:
    printed = complete.printed
    assert printed.splitlines()[-1] == f"report: {complete.reports / 'index.html'}"
    assert (
        "the best fine-tuned model (head: MobileNetV2) has a test accuracy of 80.0 % (71.1 to 86.7 %, n = 100 images)"
        in printed
    )
    # 80 against the 64 of the seed with the better validation accuracy: one seed is too few to compare seeds.
    assert "is +16.0 points (95 % interval +8.1 to +23.2, n = 100 images)." in printed
    text = complete.read_text()
    assert "12 trials: 11 completed, 1 failed. The best is trial 011" in text
    # Images: Wilson's of 62 % of 103.4 effective images, a standard error of 4.8 points.
    # Seeds: t(1, 0.975) = 12.706, a standard error of 2 points and the weight (4 / (4 + 22.8 / 2))² add 6.3 points.
    assert "62.0 % (50.4 to 72.9 %, n = 2 seeds)" in text
    assert "-aborted-seed0" in text.split("The test ledger has")[1].split("Commands that repeat each run")[0]
    assert "-aborted-seed0" not in text.split("Commands that repeat each run")[1]
    assert "The test ledger has 4 test evaluations by 4 runs." in text
    assert "1 run evaluated on the test set but has no result: it was aborted, deleted or damaged (train-best/" in text


def test_pictures_anchors_and_data_of_the_page(complete: Workshop) -> None:
    text = complete.read_page()
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', text)
    assert len(pictures) == len(complete.list_figures()) >= 12
    assert all((complete.reports / file).stat().st_size > 1000 for file, _ in pictures)
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert text.count("<h1>") == 1
    anchors = re.findall(r'id="([^"]+)"', text)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(anchors)
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert [axis["label"] for axis in json.loads(data)["axes"]] == ["filters", "activation", "validation accuracy"]
    assert len(json.loads(data)["lines"]) == 11
    markdown = (complete.reports / "README.md").read_text(encoding="utf-8")
    assert [file for file, _ in pictures] == re.findall(r"\]\((figures/[^)]+)\)", markdown)
    assert "| head: MobileNetV2 | 1 |" in markdown


@pytest.mark.parametrize("unfinished", [False, True])
def test_no_finished_runs(workshop: Workshop, capsys: pytest.CaptureFixture[str], unfinished: bool) -> None:
    if unfinished:
        workshop.add_run(finished=False)
    report.run(workshop.config)
    assert "There is no finished run" in capsys.readouterr().out
    text = workshop.read_text()
    assert "There is no finished run" in text
    assert "keras-inat demo" in text
    assert workshop.read_results() == []


def test_names_are_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    workshop = Workshop(tmp_path, [hostile, 'a "quoted" `name`', "two\nlines|*bold*", "$x^2$ " + "long " * 60])
    leaked = [{"path": "train/<b>.jpg", "reason": "is a duplicate of val/'&.jpg"}]
    settings = [{"model.activation": value} for value in (hostile, "relu")]
    workshop.add_sweep("s", settings, [None, None], workshop.describe_data(hostile[:9]))
    workshop.add_run(data=workshop.describe_data("a<b>|c", leaked=leaked, num_leaked=1, hash="1f2e"))
    write_report(workshop.config)
    text = workshop.read_page()
    assert hostile not in text
    assert "alert(1)" in workshop.read_text()
    assert "<b>" not in text
    assert "train/&lt;b&gt;.jpg" in text
    markdown = (workshop.reports / "README.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "<b>" not in markdown
    num_cells = {line.count(" | ") for line in markdown.splitlines() if line.startswith("| two")}
    assert num_cells == {6}  # the pipe in the name ends no cell
    assert escape_markdown("a_b `c|d` $x$") == r"a\_b `c\|d` \$x\$"


def test_the_gitignore_is_kept(workshop: Workshop) -> None:
    write_report(workshop.config)
    (workshop.reports / ".gitignore").write_text("*\n", encoding="utf-8")
    write_report(workshop.config)
    assert (workshop.reports / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert not list(workshop.reports.rglob(".*.svg"))  # no temporary file


@pytest.mark.parametrize("name", ["README.md", "index.html", "results.csv"])
def test_foreign_files_are_not_replaced(workshop: Workshop, name: str) -> None:
    workshop.reports.mkdir(parents=True)
    (workshop.reports / name).write_text("# My project")
    with pytest.raises(UserError, match=rf"{re.escape(name)} is not from a report"):
        write_report(workshop.config)
    assert (workshop.reports / name).read_text() == "# My project"


@pytest.mark.parametrize("name", ["README.md", "models/gone.md"])
def test_a_pipe_among_the_files_of_the_report_is_an_error(workshop: Workshop, name: str) -> None:
    workshop.add_run()
    (workshop.reports / "models").mkdir(parents=True)
    os.mkfifo(workshop.reports / name)
    with pytest.raises(OSError, match="Not a regular file") as error:
        write_report(workshop.config)
    assert str(error.value.filename).endswith(name)


def test_outdated_pictures_are_removed(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.predictions.unlink()  # their figures take the most time
    write_report(workshop.config)
    assert "toy-train-best-learning-curves" in workshop.list_figures()
    (workshop.reports / "figures" / "toy-holiday.svg").write_bytes(b"not from a report")
    run.metrics.unlink()
    write_report(workshop.config)
    assert "toy-train-best-learning-curves" not in workshop.list_figures()
    assert {"toy-examples", "toy-holiday"} <= workshop.list_figures()


def test_a_page_without_models_needs_no_keras(workshop: Workshop) -> None:
    workshop.add_run().predictions.unlink()
    _render_without_keras(workshop)


def _render_without_keras(workshop: Workshop) -> None:
    code = (
        "import sys; from keras_inat.settings.loading import load_config; "
        "from keras_inat.reporting.page import write_report; "
        f"write_report(load_config(['run.directory={workshop.runs}', 'report.directory={workshop.runs.parent}'])); "
        "sys.exit(any(name.split('.')[0] in ('keras', 'tensorflow') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)


def test_a_page_with_stored_explanations_needs_no_keras(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.model.write_bytes(b"a model that is not opened")
    workshop.sign(run)
    [finished] = read_history(workshop.runs).runs
    kernels = np.random.default_rng(0).normal(size=(4, 3, 3, 3))
    key = hash_dependencies(finished, finished.read_validation_sample() is not None, workshop.config.report)
    Explanations(first_layer=kernels, failures={"filters": "no filter is active"}).write(run.explanations, key)
    _render_without_keras(workshop)
    page = (workshop.runs.parent / "index.html").read_text(encoding="utf-8").replace("\xa0", " ")
    assert "The 4 first-layer filters" in page
    assert "Not available for this network: no filter is active." in page


def test_results_have_a_row_for_each_run(workshop: Workshop) -> None:
    workshop.add_run(seed=0, correct=60, val=0.52)
    flip = FlipScores(
        val_accuracy=0.6,
        val_balanced_accuracy=0.6,
        test_accuracy=0.66,
        test_interval=(0.6, 0.7),
        test_balanced_accuracy=0.66,
        test_balanced_interval=(0.6, 0.7),
    )
    scores = score_predictions(np.arange(100) % 2, np.zeros(100, int), 2)
    test = scores.model_copy(update={"accuracy": 0.64, "flip": flip})
    workshop.add_run(seed=1, test=test)
    workshop.add_finetuned("head", correct=80, val=0.8)
    rows = list(csv.DictReader(io.StringIO(format_results(read_history(workshop.runs).runs))))
    assert [(row["command"], row["name"], row["seed"], row["strategy"], row["backbone"]) for row in rows] == [
        ("train-best", "first", "0", "scratch", ""),
        ("train-best", "first", "1", "scratch", ""),
        ("finetune", "head-MobileNetV2", "0", "head", "MobileNetV2"),
    ]
    first = rows[0]
    numbers = [float(first[name]) for name in ("val_accuracy", "test_accuracy", "low", "high")]
    assert numbers == pytest.approx([0.52, 0.60, 0.55, 0.65])
    assert (first["test_images"], first["parameters"], first["macs"]) == ("100", "49386", "16083456")
    assert (first["data"], first["data_hash"], first["commit"]) == ("toy", "toy-hash", "0123456789ab")
    assert Path(first["run"]).is_dir()
    assert [row["flip_test_accuracy"] for row in rows] == ["", "0.66", ""]


@pytest.mark.parametrize(
    ("single_file", "limit", "is_single"),
    [(None, 10**9, True), (None, 10, False), (True, 10, True), (False, 10**9, False)],
)
def test_a_single_file_contains_its_figures(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, single_file: bool | None, limit: int, is_single: bool
) -> None:
    monkeypatch.setattr(page, "MAX_SINGLE_FILE", limit)
    workshop.add_sweep("s", [{"model.filters": 8}, {"model.filters": 16}], [0.4, 0.3])
    write_report(override(workshop.config, {"report.single_file": single_file}))
    text = workshop.read_page()
    assert text.count("data:image/svg+xml;charset=utf-8,") == (text.count("<img ") if is_single else 0)
    assert ("figures/" in text) is not is_single
    assert text.count("data:text/csv;charset=utf-8,") == is_single
