"""The page, from run folders to files."""

import csv
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_workshop import Workshop

from keras_inat.commands import report
from keras_inat.errors import UserError
from keras_inat.files import write_text
from keras_inat.report.blocks import Part, Picture, Prose, Section, Table, escape_markdown
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.history import read_history
from keras_inat.report.page import write_report
from keras_inat.report.results_table import format_results
from keras_inat.report.sections import explanations
from keras_inat.report.sections.checklist import REQUIREMENTS, find_places
from keras_inat.report.sections.fine_tuning import describe_finetuning
from keras_inat.report.sections.network import describe_network
from keras_inat.settings.loading import build_config, format_yaml, merge, override
from keras_inat.settings.schema import Model


def _finetune(workshop: Workshop, strategy: str, **options: Any) -> None:
    base = workshop.config
    workshop.config = build_config(merge(base.model_dump(), {"finetune": {"strategy": strategy}}))
    workshop.add_run("finetune", f"{strategy}-MobileNetV2", **options)
    workshop.config = base


def _read_text(workshop: Workshop) -> str:
    """The page's text as a reader sees it."""
    page = re.sub(r"<(script|style).*?</\1>", "", workshop.read_page(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def told(workshop: Workshop) -> Workshop:
    """A whole story: a sweep, two seeds from scratch, one fine-tuned, one unfinished."""
    settings = [
        {"model.filters": 8 * (1 + index % 3), "model.activation": ("relu", "gelu")[index % 2]} for index in range(12)
    ]
    scores = [0.30 + 0.02 * index if index != 4 else None for index in range(12)]
    workshop.add_sweep("first", settings, scores)
    workshop.add_run(seed=0, correct=60, val=0.52)
    workshop.add_run(seed=1, correct=64, val=0.55)
    workshop.add_run(name="given-up", finished=False)
    _finetune(workshop, "head", correct=80, val=0.8)
    return workshop


def test_whole_story(told: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    report.run(told.config)
    printed = capsys.readouterr().out.replace("\xa0", " ")
    directory = Path(told.config.report.directory)
    assert printed.splitlines()[-1] == f"report: {directory / 'index.html'}"
    assert "fine-tuned (head: MobileNetV2) has a test accuracy of 80.0 % (71.1 to 86.7 %, n = 100 images)" in printed
    # 80 against the 64 of the seed that is better on validation: of one seed there is nothing to compare seeds with.
    assert "+16.0 points of accuracy (95 % interval +8.1 to +23.2, n = 100 images)." in printed
    text = _read_text(told)
    assert "12 trials: 11 completed, 1 failed. The best is trial 011" in text
    # t(1, 0.975) = 12.706, standard error 0.02: 25.4 points from seeds; and Wilson's of 62 of 100 images.
    assert "62.0 % (34.8 to 88.9 %, n = 2 seeds)" in text
    assert "given-up" not in text.split("Looks at the test images")[1].split("How to repeat it")[1]
    assert "4 looks by 4 runs" in text
    assert "Of 1 run that looked there is no result" in text
    page = told.read_page()
    pictures = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', page)
    assert len(pictures) == len(list((directory / "figures").iterdir())) >= 12
    assert all((directory / file).stat().st_size > 1000 for file, _ in pictures)
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert page.count("<h1>") == 1
    anchors = re.findall(r'id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert [axis["label"] for axis in json.loads(data)["axes"]] == ["filters", "activation", "validation accuracy"]
    assert len(json.loads(data)["lines"]) == 11
    markdown = (directory / "README.md").read_text(encoding="utf-8")
    assert [f for f, _ in pictures] == re.findall(r"\]\((figures/[^)]+)\)", markdown)
    assert "| head: MobileNetV2 | 1 |" in markdown


def test_ways_of_fine_tuning_are_compared_only_as_far_as_seeds_tell(workshop: Workshop) -> None:
    for seed in range(3):
        workshop.add_run(seed=seed, correct=50 + seed)
        _finetune(workshop, "head", seed=seed, correct=70 + 3 * seed, val=0.70)
        _finetune(workshop, "full", seed=seed, correct=(72, 71, 78)[seed], val=0.71)
        _finetune(workshop, "lpft", seed=seed, correct=60 + 3 * seed, val=0.60)
    write_report(workshop.config)
    text = _read_text(workshop)
    # Against `full`: head is 2, -2 and 2 images behind, lpft 12, 8 and 12.
    assert re.search(r"head: MobileNetV2 −0.7 −\d.\d to \+\d.\d 3 seeds not told apart", text)
    assert re.search(r"lpft: MobileNetV2 −10.7 −\d+.\d to −\d.\d 3 seeds worse", text)
    [against_scratch] = re.findall(r"full: MobileNetV2 (\+22.7 \+\d+.\d to \+\d+.\d) 3 seeds better", text)
    # What the summary says is what the table says.
    value, between = against_scratch.split(maxsplit=1)
    assert f"{value} points of accuracy (95 % interval {between}, n = 3 seeds)." in text
    for figure in ("costs", "races", "gains"):
        assert len(re.findall(rf'<img src="figures/[^"]*{figure}\.png" alt="[^"]{{40,}}"', workshop.read_page())) == 1


def test_every_run_is_repeated_by_itself(workshop: Workshop) -> None:
    workshop.add_run(settings={"run.seeds": 3})
    _finetune(workshop, "topk", settings={"run.seeds": 3})
    write_report(workshop.config)
    commands = re.findall(r"make (\S+) NAME=again SEEDS=1 CONFIG=\S+/config.yaml", _read_text(workshop))
    assert commands == ["train-best", "finetune"]


def test_a_backbone_is_fine_tuned_whatever_command_did_it(workshop: Workshop) -> None:
    workshop.config = build_config(merge(workshop.config.model_dump(), {"finetune": {"strategy": "head"}}))
    workshop.add_run("train-best", "best", correct=70)
    settings = [{"finetune.unfreeze": number} for number in (2, 3)]
    folder = workshop.add_sweep("s", settings, [0.4, 0.3])
    write_text(folder / "best.yaml", format_yaml(workshop.config.model_dump()))
    write_report(workshop.config)
    text = _read_text(workshop)
    assert "the best model fine-tuned (head: MobileNetV2) has a test accuracy of 70.0 %" in text
    assert "trained from scratch has" not in text
    assert "No network was trained from scratch on these images yet" in text  # whose cost could be told
    assert "make train-best NAME=again" in text


def test_of_many_classes_the_page_says_which_it_shows(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, classes=[f"class {number}" for number in range(60)])
    data = workshop.describe_data(num_test=1200)
    workshop.add_run(correct=700, data=data)
    _finetune(workshop, "head", correct=690, shift=1, data=data)
    write_report(workshop.config)
    page = workshop.read_page().replace("\xa0", " ")
    assert "Confusion matrix of the first 40 of 60 classes, n = 1,200 test images." in page
    assert "Images of the first 40 of 60 classes, in train/ and in val/." in page
    assert "the 20 that gain most and the 20 that gain least of 60" in page
    [shown] = re.findall(r'alt="Gain by class, in percentage points: ([^"]+)\."', page)
    gains = [float(text.split()[-1].replace("−", "-")) for text in shown.split(", ")]
    assert len(gains) == 40
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 0


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        (["failed", "failed"], "every trial failed before it opened them"),
        (["failed", "running"], "no trial has ended yet."),
        (["completed", "completed"], "the folders of the trials are gone."),
    ],
)
def test_why_nothing_is_known_of_the_images(workshop: Workshop, statuses: list[str], reason: str) -> None:
    scores = [0.4 if status == "completed" else None for status in statuses]
    folder = workshop.add_sweep("s", [{"model.filters": 8}, {"model.filters": 16}], scores)
    shutil.rmtree(folder / "trials", ignore_errors=True)
    table = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(table.replace("001,failed", f"001,{statuses[1]}"))
    write_report(workshop.config)
    text = _read_text(workshop)
    assert f"Of the images of toy nothing is known: {reason}" in text
    best = "The best is trial 000 with a validation accuracy of 40.0 % (of how many images is not known)."
    assert (best in text) is ("completed" in statuses)


def test_near_copies_that_were_not_looked_for_are_not_denied(workshop: Workshop) -> None:
    counts = {"identical": 0, "near": 0, "mirrored": 0, "of_another_class": 0, "train_and_test": 0}
    for near, words in ((True, "none identical, resized"), (False, "Near copies were not looked for.")):
        workshop.add_run(data=workshop.describe_data(num_duplicates=counts, near_duplicates=near))
        write_report(workshop.config)
        text = _read_text(workshop)
        assert words in text
        assert ("none in train/ was found identical to one of val/" in text) is not near


def test_results_table(told: Workshop) -> None:
    rows = list(csv.DictReader(io.StringIO(format_results(read_history(told.runs).records))))
    assert [(row["command"], row["name"], row["seed"], row["strategy"], row["backbone"]) for row in rows] == [
        ("train-best", "first", "0", "scratch", ""),
        ("train-best", "first", "1", "scratch", ""),
        ("finetune", "head-MobileNetV2", "0", "head", "MobileNetV2"),
    ]
    first = rows[0]
    assert [float(first[name]) for name in ("val_accuracy", "test_accuracy", "low", "high")] == pytest.approx(
        [0.52, 0.60, 0.55, 0.65]
    )
    assert (first["test_images"], first["parameters"], first["macs"]) == ("100", "49386", "16083456")
    assert (first["data"], first["data_hash"], first["commit"]) == ("toy", "toy-hash", "0123456789ab")
    assert Path(first["run"]).is_dir()


def test_no_runs(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    report.run(workshop.config)
    assert "no finished run" in capsys.readouterr().out
    text = _read_text(workshop)
    assert "There is no finished run" in text
    assert "make demo" in text
    assert workshop.read_results() == []


def test_sweep_of_failures_only(workshop: Workshop) -> None:
    workshop.add_sweep("bad", [{"model.filters": 8}, {"model.filters": 16}], [None, None])
    write_report(workshop.config)
    text = _read_text(workshop)
    assert "2 trials: 2 failed. There is no accuracy to show yet. 2 × “FloatingPointError: the loss, oh”." in text
    assert "<img" not in workshop.read_page()


def test_sweep_alone_shows_the_network_of_its_best_trial(workshop: Workshop) -> None:
    settings = [{"data.image_size": 32, "model.filters": filters} for filters in (8, 16)]
    workshop.add_sweep("s", settings, [0.4, 0.3])
    write_report(workshop.config)
    text = _read_text(workshop)
    assert "the best trial of the sweep s has" in text.replace(" .", ".")
    assert "No correlations: they need at least 8 trials whose accuracies differ" in text
    assert "and 2 have an accuracy" in text
    assert "of 40.0 %, partly by luck; nothing was judged on test images yet" in text


def test_half_finished_run_is_left_out(workshop: Workshop) -> None:
    workshop.add_run(finished=False)
    write_report(workshop.config)
    assert "There is no finished run" in _read_text(workshop)


def test_names_are_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    workshop = Workshop(tmp_path, [evil, 'a "quoted" `name`', "two\nlines|*bold*", "$x^2$ " + "long " * 60])
    leaked = [{"path": "train/<b>.jpg", "reason": "is the same image as val/'&.jpg"}]
    settings = [{"model.activation": value} for value in (evil, "relu")]
    workshop.add_sweep("s", settings, [None, None], workshop.describe_data(evil[:9]))
    workshop.add_run(data=workshop.describe_data("a<b>|c", leaked=leaked, hash="1f2e"))
    write_report(workshop.config)
    page = workshop.read_page()
    assert evil not in page
    assert "alert(1)" in _read_text(workshop)
    assert "<b>" not in page
    assert "train/&lt;b&gt;.jpg" in page
    markdown = (Path(workshop.config.report.directory) / "README.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "<b>" not in markdown
    widths = {line.count(" | ") for line in markdown.splitlines() if line.startswith("| two")}
    assert widths == {6}  # the pipe in the name ended no cell
    assert escape_markdown("a_b `c|d` $x$") == r"a\_b `c\|d` \$x\$"


def test_the_gitignore_stays(workshop: Workshop) -> None:
    directory = Path(workshop.config.report.directory)
    write_report(workshop.config)
    (directory / ".gitignore").write_text("*\n", encoding="utf-8")
    write_report(workshop.config)
    assert (directory / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert not list(directory.rglob(".*.png"))  # nothing half-written


@pytest.mark.parametrize("pooling", ["flatten", "average"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("dense_units", [0, 64])
def test_closed_form_adds_up(workshop: Workshop, pooling: str, batch_norm: bool, dense_units: int) -> None:
    model = {"pooling": pooling, "batch_norm": batch_norm, "dense_units": dense_units, "filter_organization": "double"}
    workshop.add_run(settings={f"model.{name}": value for name, value in model.items()})
    section = describe_network(read_history(workshop.runs).data_sets[0])
    rows = section.blocks[1].rows  # type: ignore[union-attr]
    for quantity in ("parameters", "computations"):
        values = {name.split(": ")[1]: int(value.replace(",", "")) for name, _, _, value in rows if quantity in name}
        total = values.pop("total")
        assert sum(values.values()) == total
    for _, _, numbers, value in rows:
        if numbers:  # what stands there, worked out
            digits = numbers.replace("²", "**2").replace("·", "*")
            assert re.fullmatch(r"[0-9*+() ]+", digits)
            assert eval(digits) == int(value.replace(",", ""))
    assert Model(**model)


def test_a_model_that_is_always_right(workshop: Workshop) -> None:
    workshop.add_run(correct=100)
    write_report(workshop.config)
    assert "No test image was mistaken." in _read_text(workshop)


def test_epochs_that_were_not_needed_are_told(workshop: Workshop) -> None:
    workshop.add_run(settings={"training.epochs": 40})
    write_report(workshop.config)
    assert "trained for 12 of 40 epochs" in _read_text(workshop)


def test_a_run_of_an_older_version_is_told_without_its_mistakes(workshop: Workshop) -> None:
    run = workshop.add_run()
    arrays = dict(np.load(run.predictions))
    np.savez(run.predictions, **{name: array for name, array in arrays.items() if "mistake" not in name})
    write_report(workshop.config)
    text = _read_text(workshop)
    assert "are not on disk" not in text
    assert "Thirty predictions" in text
    assert "that it is most sure of" not in text


def test_configurations_of_one_title_keep_their_names(workshop: Workshop) -> None:
    for val, correct in ((0.8, 80), (0.7, 72), (0.5, 55)):
        _finetune(workshop, "head", correct=correct, val=val, settings={"training.learning_rate": val})
    [data_set] = read_history(workshop.runs).data_sets
    tables = [
        block
        for block in describe_finetuning(data_set, FigureFolder(Path("reports"))).blocks
        if isinstance(block, Table)
    ]
    accuracies, gains = (
        {row[0]: row[column] for row in table.rows} for table, column in zip(tables, (7, 1), strict=True)
    )
    title = "head: MobileNetV2 (head-MobileNetV2)"
    shown = {name: value.replace("\xa0", " ") for name, value in accuracies.items()}
    assert shown == {title: "80.0 %", f"{title} #2": "72.0 %", f"{title} #3": "55.0 %"}
    assert gains == {f"{title} #2": "\N{MINUS SIGN}8.0", f"{title} #3": "\N{MINUS SIGN}25.0"}


def test_an_older_fine_tuning_is_with_its_other_seeds(workshop: Workshop) -> None:
    for seed in (0, 1):
        _finetune(workshop, "head", seed=seed)
    run = next((workshop.runs / "finetune").glob("*-seed0"))
    result = json.loads((run / "result.json").read_text())
    del result["config"]["finetune"]["cache_features"]  # as of before there was such a setting
    write_text(run / "result.json", json.dumps(result))
    [data_set] = read_history(workshop.runs).data_sets
    assert [len(group.records) for group in data_set.groups] == [2]


@pytest.mark.parametrize("name", ["README.md", "index.html", "results.csv"])
def test_files_of_somebody_else_are_not_replaced(workshop: Workshop, name: str) -> None:
    directory = Path(workshop.config.report.directory)
    directory.mkdir(parents=True)
    (directory / name).write_text("# My project")
    with pytest.raises(UserError, match=rf"{re.escape(name)} is no report's"):
        write_report(workshop.config)
    assert (directory / name).read_text() == "# My project"


def test_of_pictures_those_of_the_report_before_are_removed(workshop: Workshop) -> None:
    run = workshop.add_run()
    directory = Path(workshop.config.report.directory)
    write_report(workshop.config)
    assert (directory / "figures" / "toy-train-best-curves.png").exists()
    (directory / "figures" / "toy-holiday.png").write_bytes(b"dear to somebody")
    run.metrics.unlink()
    write_report(workshop.config)
    assert not (directory / "figures" / "toy-train-best-curves.png").exists()
    assert (directory / "figures" / "toy-examples.png").exists()
    assert (directory / "figures" / "toy-holiday.png").exists()


@pytest.mark.parametrize("content", [b"PK damaged", b""])
def test_missing_files_are_said(workshop: Workshop, content: bytes) -> None:
    run = workshop.add_run()
    run.predictions.write_bytes(content)
    run.metrics.unlink()
    write_report(workshop.config)
    assert "are not on disk, so none are shown" in _read_text(workshop)


def test_page_without_models_needs_no_keras(workshop: Workshop) -> None:
    workshop.add_run().predictions.unlink()
    code = (
        "import sys; from keras_inat.settings.loading import load_config; "
        "from keras_inat.report.page import write_report; "
        f"write_report(load_config(['run.directory={workshop.runs}', 'report.directory={workshop.runs.parent}'])); "
        "sys.exit(any(name.split('.')[0] in ('keras', 'tensorflow') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=root)


def _read_figures(workshop: Workshop) -> dict[str, bytes]:
    folder = Path(workshop.config.report.directory) / "figures"
    return {path.name: path.read_bytes() for path in folder.glob("*train-best*.png")}


def test_trained_model_is_looked_into(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras_inat.models.cnn import build_cnn

    monkeypatch.setattr(explanations, "NUM_SCORED", 3)
    run = workshop.add_run(settings={"model.filters": 4, "model.pooling": "average"})
    config = read_history(workshop.runs).records[0].config
    build_cnn(Model(**config["model"]), 16, 4).save(run.model)
    write_report(workshop.config)
    figures = {path.name for path in (Path(workshop.config.report.directory) / "figures").iterdir()}
    pictures = ("filters", "maps", "preferences", "guided", "guided-predictions", "evidence", "fidelity")
    assert {f"toy-train-best-{name}.png" for name in pictures} <= figures
    text = _read_text(workshop)
    assert "Not shown for this network" not in text
    assert re.search(r"What the 4\sfilters answer to most, .* lies: [1-4] [a-z ]+", text)
    assert re.search(r"rank correlation of [+−]0\.\d\d \(95 % interval .*, n = 3 images\)", text)
    assert f"looking into {run.path}" in capsys.readouterr().out
    page, contents = workshop.read_page(), _read_figures(workshop)

    # Asked again, it takes them from where they were kept, until the settings change or one is damaged.
    write_report(workshop.config)
    assert capsys.readouterr().out == ""
    assert workshop.read_page() == page
    assert _read_figures(workshop) == contents
    (kept,) = (run.path / "pictures").iterdir()
    drawn: list[Any] = []
    monkeypatch.setattr(explanations, "_look", lambda *given: (drawn.append(given) or [Prose("drawn")], False))
    write_report(override(workshop.config, {"report.neurons": "selective"}))
    assert len(drawn) == 1
    assert _read_figures(workshop).keys() < contents.keys()
    (kept / "toy-train-best-maps.png").unlink()
    write_report(workshop.config)
    (kept / "blocks.json").write_text("[")
    write_report(workshop.config)
    assert len(drawn) == 3
    assert not any(re.search("-2.png", name) for name in _read_figures(workshop))
    rows = re.findall(r"<td class=\"l\">(Grad-CAM|Occlusion|Random order)</td>", page)
    assert sorted(rows) == ["Grad-CAM", "Occlusion", "Random order"]


def test_methods_are_told_apart_only_as_far_as_images_tell() -> None:
    chance, spread = np.linspace(-0.1, 0.1, 9), np.array([-1.0, 1] * 4 + [0])
    scores = {"Good": chance + 0.2, "Unclear": chance + spread, "Image edges": chance + 0.3, "Random order": chance}
    table, prose = explanations._compare_methods(scores, {"Image edges": "--", "Random order": ":"})
    assert isinstance(table, Table)
    assert isinstance(prose, Prose)
    assert [row[0] for row in table.rows] == ["Image edges", "Good", "Unclear", "Random order"]
    assert table.rows[1][2:] == ["+0.20", "+0.20 to +0.20"]
    assert prose.text == "Better than pixels at random: Good. Not shown to be better on so few images: Unclear."


def test_a_run_without_a_sample_says_so(workshop: Workshop) -> None:
    from keras_inat.models.cnn import build_cnn

    run = workshop.add_run(settings={"model.filters": 4, "model.pooling": "average"})
    build_cnn(Model(**read_history(workshop.runs).records[0].config["model"]), 16, 4).save(run.model)
    run.sample.unlink()
    write_report(workshop.config)
    assert "The run kept no validation images" in _read_text(workshop)


def test_too_little_memory_to_look_is_said(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras_inat.models.cnn import build_cnn

    def look(it: Any) -> Any:
        raise MemoryError("64 GiB wanted")

    run = workshop.add_run()
    build_cnn(Model(**read_history(workshop.runs).records[0].config["model"]), 16, 4).save(run.model)
    for name in vars(explanations):
        if name.startswith("_show"):
            monkeypatch.setattr(explanations, name, look)
    write_report(workshop.config)
    assert "Not shown for this network: 64 GiB wanted." in _read_text(workshop)


def test_what_is_asked_for_is_found_or_said_to_be_missing(told: Workshop) -> None:
    with pytest.raises(
        UserError, match=r"lacks \d+ things that are asked for: .*which hyperparameters matter"
    ) as failure:
        report.run(override(told.config, {"report.strict": True}))
    assert "parallel coordinates of the trials" not in str(failure.value)
    page, text = told.read_page(), _read_text(told)
    [anchor] = re.findall(r'its predictions for test images, in a grid of [^<]+</td><td><a href="#([^"]+)"', page)
    assert f'<h3 id="{anchor}">The best from scratch</h3>' in page
    assert "which hyperparameters matter not here: make sweep TRIALS=40 makes it" in text
    markdown = (Path(told.config.report.directory) / "README.md").read_text(encoding="utf-8")
    assert "| how to repeat every run | How to repeat it |" in markdown


def test_three_strategies_are_asked_for(workshop: Workshop) -> None:
    section = Section("Fine-tuning", [Picture("figures/toy-costs.png", "", "", 1, 1)])
    for strategy, enough in (("head", False), ("topk", False), ("full", True)):
        _finetune(workshop, strategy, correct=70, val=0.7)
        places = find_places([Part("toy", [section])], read_history(workshop.config.run.directory).data_sets)
        assert ("at least 3 strategies of fine-tuning, compared" not in places.missing) is enough


def test_nothing_at_all_lacks_everything(workshop: Workshop) -> None:
    assert len(write_report(workshop.config).missing) == len(REQUIREMENTS)


def test_what_hyperparameters_did_is_told_with_its_evidence(workshop: Workshop) -> None:
    rng = np.random.default_rng(0)
    settings = [
        {"model.batch_norm": bool(number % 2), "model.filters": int(rng.choice([16, 32]))} for number in range(40)
    ]
    scores = [0.4 + 0.05 * chosen["model.batch_norm"] + rng.normal(0, 0.01) for chosen in settings]
    workshop.add_sweep("s", settings, [*scores[:-1], 0.01])
    write_report(workshop.config)
    text = _read_text(workshop).replace("\u00a0", " ")
    assert re.search(r"batch_norm true against false: \+[45]\.\d points \(95 % interval \+[34]\.\d to \+[56]", text)
    assert "Not shown by this sweep, one way or the other: filters ." in text
    assert "Left out: 1 trial that fell far behind all others, at 1.0 % or less; so what ruins a trial" in text
    assert "What helps to foretell accuracy, most of all first: batch_norm ." in text
    for name in ("observations", "importance", "correlations"):
        assert (Path(workshop.config.report.directory) / "figures" / f"toy-sweep-s-{name}.png").exists()


def test_trials_that_were_stopped_are_compared_where_they_were(workshop: Workshop) -> None:
    rng = np.random.default_rng(0)
    settings = [{"model.batch_norm": bool(number % 2)} for number in range(24)]
    # What it does shows in the second epoch; in the end, where half of the trials come, all are equal.
    curves = [
        [rng.uniform(0.1, 0.2), 0.4 + 0.05 * chosen["model.batch_norm"] + rng.normal(0, 0.01)] for chosen in settings
    ]
    curves = [curve + [0.5, 0.6, 0.7] * (number % 4 < 2) for number, curve in enumerate(curves)]
    workshop.add_sweep("s", settings, [curve[-1] for curve in curves], curves=curves)
    write_report(workshop.config)
    text = _read_text(workshop).replace("\u00a0", " ")
    assert "24 trials: 12 completed, 12 pruned. The best is trial 000" in text
    assert "all 24 are compared as they were then" in text
    assert re.search(r"batch_norm true against false: \+[45]\.\d points \(95 % interval \+[34].*n = 24 trials", text)
    assert "Effects on validation accuracy after 2 epochs with the other" in text
    assert "rank correlation of every hyperparameter with validation accuracy after 2 epochs" in text


def test_few_trials_tell_nothing_of_hyperparameters(workshop: Workshop) -> None:
    workshop.add_sweep("s", [{"model.filters": 8 * number} for number in range(1, 6)], [0.1, 0.2, 0.3, 0.4, 0.5])
    write_report(workshop.config)
    text = _read_text(workshop).replace("\u00a0", " ")
    assert "holding the others fixed takes 10 trials of such a sweep, and 5 have an accuracy." in text


def test_many_trials_make_a_small_page(workshop: Workshop) -> None:
    rng = np.random.default_rng(0)
    settings = [{f"training.s{index}": float(rng.random()) for index in range(15)} for _ in range(300)]
    workshop.add_sweep("big", settings, rng.uniform(0.1, 0.5, 300).tolist())
    write_report(workshop.config)
    page = workshop.read_page()
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert len(json.loads(data)["axes"]) == 14
    assert len(page) < 1_000_000


def test_files_and_copies_are_told(tmp_path):
    workshop = Workshop(tmp_path)
    pairs = [
        {"path": "train/a/2.jpg", "of": "val/a/1.jpg", "similarity": 0.93, "mirrored": True, "rows": [0, 9]},
        {"path": "train/b/4.jpg", "of": "train/b/3.jpg", "similarity": 0.97, "mirrored": False, "rows": [11, 12]},
    ]
    counts = {"identical": 3, "near": 2, "mirrored": 1, "of_another_class": 1, "train_and_test": 1}
    found = {
        "formats": {"JPEG": 1234, "PNG": 2},
        "traits": {"CMYK": 5},
        "reasons": {"is cut short": 40},
        "quarantined": [{"path": f"train/a/broken{index}.jpg", "reason": "is cut short"} for index in range(40)],
        "num_quarantined": 40,
        "leaked": [{"path": "train/a/2.jpg", "reason": "is a near copy of val/a/1.jpg, mirrored"}],
        "num_leaked": 1,
        "duplicates": pairs,
        "num_duplicates": counts,
    }
    run = workshop.add_run(data=workshop.describe_data(**found))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3), dtype=np.uint8)
    np.savez(run.duplicates, pairs=np.array([0, 1]), pixels=pixels)
    write_report(workshop.config)
    text = _read_text(workshop).replace("\u00a0", " ")
    assert "1,234 JPEG, 2 PNG. Among them, out of the ordinary: CMYK, converted to RGB (5)." in text
    assert "41 files were left out, 1 of them for being a test image that is also in train/" in text
    assert "by reason: is cut short (40)" in text
    assert "train/a/2.jpg" in text
    assert "Pairs of files that show one image: 3 identical, 2 near copies (1 of them mirrored)" in text
    assert (Path(workshop.config.report.directory) / "figures" / "toy-copies.png").exists()
    (run.duplicates).write_bytes(b"damaged")
    write_report(workshop.config)
    assert not (Path(workshop.config.report.directory) / "figures" / "toy-copies.png").exists()
