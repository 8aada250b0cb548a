"""The report: what `runs/` tells, put on one page, twice (HTML and Markdown), and a table of results beside it."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from keras_inat.errors import UserError
from keras_inat.files import write_text
from keras_inat.report import formatting
from keras_inat.report.blocks import (
    Block,
    Bullets,
    Card,
    Cards,
    Page,
    Part,
    Prose,
    Section,
    Table,
    escape_markdown,
    write_markdown,
)
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, plural
from keras_inat.report.groups import Record
from keras_inat.report.history import DataSet, History, read_history
from keras_inat.report.model_cards import FOLDER, write_cards
from keras_inat.report.results_table import format_results
from keras_inat.report.sections.checklist import find_places
from keras_inat.report.sections.data import describe_data
from keras_inat.report.sections.fine_tuning import compare_ways, describe_finetuning, find_gain
from keras_inat.report.sections.model import describe_model
from keras_inat.report.sections.network import describe_network
from keras_inat.report.sections.run_comparison import compare_runs
from keras_inat.report.sections.sweep import describe_sweeps
from keras_inat.report.statistics.accuracy import estimate_accuracy
from keras_inat.report.statistics.estimates import Estimate
from keras_inat.settings.schema import Config

NUM_LOOKS = 50
TITLE = "keras-inat: the report"
FIGURE = re.compile(r"\((figures/[^()/]+\.png)\)")  # as Markdown shows it
START = [
    "`make demo` runs the whole story on drawn organisms, offline, in minutes;",
    "`make sweep` searches the hyperparameters of the CNN;",
    "`make train-best` trains the best configuration fully and judges it once on the test images;",
    "`make finetune STRATEGY=head` adapts a pretrained network.",
]


@dataclass(frozen=True)
class Report:
    """Where the page is, the sentences that sum it up, and what is asked for and not in it."""

    path: Path
    findings: list[str]
    missing: list[str]


def write_report(config: Config) -> Report:
    """Renders the page, `README.md`, `results.csv`, `figures/` and `models/` into `report.directory`, from `runs/`."""
    directory = Path(config.report.directory)
    earlier = _read_earlier(directory)
    history, figures = read_history(config.run.directory), FigureFolder(directory)
    page = build_page(history, figures, config)
    text = write_markdown(page.parts, TITLE)
    write_text(directory / "README.md", text)  # first: by it the next rendering knows the others
    write_text(directory / "results.csv", format_results(history.records))
    write_cards(history.records, directory)
    write_text(directory / "index.html", render_html(page))
    for file in set(FIGURE.findall(earlier)) - set(FIGURE.findall(text)):
        (directory / file).unlink(missing_ok=True)
    return Report(directory / "index.html", page.findings, page.missing)


def _read_earlier(directory: Path) -> str:
    """The Markdown of the report that is there already; empty where there is none.

    Raises:
        UserError: When files that are no report's would be replaced.
    """
    readme = directory / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.exists() else ""
    if text.startswith(f"# {escape_markdown(TITLE)}"):
        return text
    for file in (readme, directory / "index.html", directory / "results.csv"):
        if file.exists():
            raise UserError(f"{file} is no report's and would be replaced: set `report.directory` to another folder")
    return ""


def build_page(history: History, figures: FigureFolder, config: Config) -> Page:
    """Puts the sections together: a summary, a part for each set of images, and the record."""
    runs = config.run.directory
    if not history.data_sets:
        if config.report.compare:
            raise UserError(f"`report.compare` (RUNS) names runs, and there is no finished run in {runs!r} yet")
        nothing = Section("", [Prose(f"There is no finished run in `{runs}` yet."), Bullets(START)])
        return Page(
            [Part("Summary", [nothing])],
            [f"no finished run in {runs} yet: `make demo` makes some"],
            find_places([], []).missing,
        )
    # First, so that a wrong name is said before minutes of drawing.
    compared = [compare_runs(history, config.report.compare, figures)] if config.report.compare else []
    findings = [sentence for data_set in history.data_sets for sentence in find_findings(data_set)]
    parts = [Part("Summary", [_summarise(history, findings)])]
    for data_set in history.data_sets:
        figures.open_chapter(data_set.name)
        scratch, tuned = data_set.find_groups("train-best"), data_set.find_groups("finetune")
        sections = [describe_data(data_set, figures), describe_network(data_set), *describe_sweeps(data_set, figures)]
        if scratch:
            sections.append(describe_model(scratch[0], "The best from scratch", figures, config.report))
        sections.append(describe_finetuning(data_set, figures))
        if tuned:
            sections.append(describe_model(tuned[0], "The best fine-tuned", figures, config.report))
        sections.append(compare_ways(data_set, figures))
        parts.append(Part(data_set.name, sections))
    parts += compared
    record = Part("On record", [_list_costs(history.records), _list_looks(history), _reproduce(history.records)])
    places = find_places([*parts, record], history.data_sets)
    record.sections.append(Section("What is asked for, and where it is", [places]))
    return Page([*parts, record], findings, places.missing)


def find_findings(data_set: DataSet) -> list[str]:
    """The two or three sentences to remember about a set of images."""
    findings = []
    for command, ways in (("train-best", "trained from scratch"), ("finetune", "fine-tuned")):
        groups = data_set.find_groups(command)
        if groups and (test := estimate_accuracy(groups[0])):
            which = f" ({groups[0].title})" if command == "finetune" else ""
            findings.append(
                f"{data_set.name}: the best model {ways}{which} has a test accuracy of "
                f"{formatting.percent_with_interval(test)}."
            )
    if gain := find_gain(data_set):
        value, between = formatting.percentage_points(gain)
        told = "" if gain.excludes_zero else ": not told apart"
        findings.append(
            f"{data_set.name}: the best fine-tuned model against the best from scratch, on the same test images: "
            f"{value} points of accuracy (95 % interval {between}, {formatting.sample_size(gain)}){told}."
        )
    if not findings and data_set.sweeps and (best := data_set.sweeps[0].best):
        findings.append(
            f"{data_set.name}: the best of {plural(len(data_set.sweeps[0].completed), 'trial')} of the sweep "
            f"{data_set.sweeps[0].name} has a validation accuracy of {percent(best.score)}, partly by luck; nothing "
            "was judged on test images yet."
        )
    return findings


def render_html(page: Page) -> str:
    """One page with its style and script inside; pictures lie beside it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_inat", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["prose"] = _mark_code
    return environment.get_template("page.html").render(page=page)


def _mark_code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _summarise(history: History, findings: list[str]) -> Section:
    cards = []
    for data_set in history.data_sets:
        for command, label in (("train-best", "from scratch"), ("finetune", "fine-tuned")):
            groups = data_set.find_groups(command)
            if groups and (test := estimate_accuracy(groups[0])):
                cards.append(_make_card(f"{data_set.name}: test accuracy {label}", test))
    trials = sum(len(sweep.trials) for data_set in history.data_sets for sweep in data_set.sweeps)
    counted = (
        f"{plural(len(history.records), 'judged run')} and {plural(trials, 'trial')} in sweeps, over "
        f"{plural(len(history.data_sets), 'set')} of images. Intervals are of 95{formatting.SPACE}%: "
        "from n images they allow for other images, from n seeds for other seeds, too."
    )
    blocks: list[Block] = [Cards(cards)] if cards else []
    return Section("", [*blocks, *([Bullets(findings)] if findings else []), Prose(counted)])


def _make_card(label: str, test: Estimate) -> Card:
    detail = f"{formatting.interval(test)}, {formatting.sample_size(test)}"
    return Card(label, percent(test.value), detail, test.value, max(test.low, 0.0), min(test.high, 1.0))


def _list_costs(records: list[Record]) -> Section:
    if not records:
        return Section("Cost", [Prose("No run to account for yet: `make train-best` and `make finetune` make them.")])
    rows = [
        [
            record.folder.path.name,
            f"{record.result['parameters']:,}",
            f"{record.trained_parameters:,}",
            formatting.abbreviate(record.result["macs"]),
            f"{record.data['image_size']}",
            f"{record.result['epochs']:,}",
            formatting.duration(record.result["seconds"]),
            f"{record.result['images_per_second']:,.0f}",
            _judge(record),
        ]
        for record in records
    ]
    head = ["run", "parameters", "trained", "computations", "pixels", "epochs", "time", "images/s", "test accuracy"]
    caption = (
        "Computations: multiply-accumulates for one image. Images per second: median over epochs, training only. Test "
        "accuracy with its 95 % interval over the test images; with mirror images: averaged over each and its own."
    )
    return Section("Cost", [Table(caption, "lrrrrrrrr", head, rows)])


def _judge(record: Record) -> str:
    low, high = record.result.get("test_interval") or (None, None)
    accuracy = f"{percent(record.result.get('test_accuracy'))} ({percent(low)} to {percent(high)})"
    if mirrored := record.result.get("mirrored"):
        accuracy += f"; {percent(mirrored['test_accuracy'])} with mirror images"
    return accuracy


def _list_looks(history: History) -> Section:
    section = Section("Looks at the test images")
    if not history.ledger:
        section.blocks = [Prose("The ledger is empty: no model was judged on the test images.")]
        return section
    looks = Counter(line["run"] for line in history.ledger)
    again = [run for run, number in looks.items() if number > 1]
    text = (
        f"{plural(len(history.ledger), 'look')} by {plural(len(looks), 'run')}. The program judges on the test images "
        "through one function, which writes this ledger first. "
    )
    text += f"More than one look: {', '.join(again)}." if again else "No run looked twice."
    finished = {record.folder.path.name for record in history.records}
    if absent := sum(Path(run).name not in finished for run in looks):
        text += f" Of {plural(absent, 'run')} that looked there is no result: given up, or deleted."
    rows = [
        [
            line["time"][:16].replace("T", " "),
            line["command"],
            Path(line["run"]).name,
            line["data"],
            line["commit"] or "–",
        ]
        for line in history.ledger[-NUM_LOOKS:]
    ]
    caption = f"The last {NUM_LOOKS} looks." if len(history.ledger) > NUM_LOOKS else "Every look, oldest first."
    section.blocks = [Prose(text), Table(caption, "lllll", ["time (UTC)", "command", "run", "data", "commit"], rows)]
    return section


def _reproduce(records: list[Record]) -> Section:
    section = Section("How to repeat it")
    if not records:
        section.blocks = [Prose("`make sweep` goes on with a sweep where it stopped.")]
        return section
    rows = [
        [
            record.folder.path.name,
            # The seed is in the configuration; the number of seeds would start a whole series from there.
            f"make {record.folder.command} NAME=again SEEDS=1 CONFIG={record.folder.config}",
            str(record.result["seed"]),
            record.data["hash"],
            record.result["commit"] or "–",
        ]
        for record in records
    ]
    versions = Counter(
        ", ".join(f"{name} {version}" for name, version in sorted(record.result["packages"].items()))
        for record in records
    )
    section.blocks = [
        Prose("A run's folder holds its configuration; given back as CONFIG, under another name, it is trained again."),
        Prose(
            f"What each kept model is, how good and what it is not for, say the cards in `{FOLDER}/` beside this page."
        ),
        Table("", "llrll", ["run", "command", "seed", "data hash", "commit"], rows),
        *(Prose(f"Made with {packages} ({plural(number, 'run')}).") for packages, number in versions.items()),
    ]
    return section
