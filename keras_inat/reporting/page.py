"""The report: one page as HTML and as Markdown, a table of results and the model cards, rendered from `runs/`."""

import re
from pathlib import Path

from keras_inat.errors import PROGRAM, UserError
from keras_inat.files import read_text, write_text
from keras_inat.reporting.blocks import Block, Bullets, Chapter, Details, Page, Prose, Section
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.history import STUDENT, DataSet, FinishedRun, History, read_history
from keras_inat.reporting.model_cards import write_cards
from keras_inat.reporting.rendering import escape_markdown, render_html, render_markdown
from keras_inat.reporting.sections import checklist, records, summary
from keras_inat.reporting.sections.calibration import describe_calibration
from keras_inat.reporting.sections.comparison_of_runs import compare_runs
from keras_inat.reporting.sections.configuration import describe_configuration
from keras_inat.reporting.sections.confusion_matrix import describe_confusion_matrix
from keras_inat.reporting.sections.data import describe_data
from keras_inat.reporting.sections.discussion import discuss
from keras_inat.reporting.sections.distillation import describe_distillation
from keras_inat.reporting.sections.example_predictions import describe_example_predictions
from keras_inat.reporting.sections.exports import describe_exports
from keras_inat.reporting.sections.filters_and_attribution import describe_filters_and_attribution
from keras_inat.reporting.sections.fine_tuning import describe_comparison, describe_fine_tuning
from keras_inat.reporting.sections.learning_curves import describe_learning_curves
from keras_inat.reporting.sections.network import describe_network
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.reporting.sections.trained_models import TrainedModel, choose_groups, read_models
from keras_inat.reporting.statistics.conclusion import SweepConclusion, conclude_sweep
from keras_inat.settings.places import name_path
from keras_inat.settings.schema import Config, Report
from keras_inat.spreadsheets import format_csv

TITLE = "keras-inat: the report"
FIGURE = re.compile(r"\((figures/[^()/]+\.svg)\)")  # a figure's file, as the Markdown links to it
MAX_SINGLE_FILE = 15_000_000  # characters
RESULT_COLUMNS = (
    "command", "name", "seed", "strategy", "backbone", "teacher", "val_accuracy", "test_accuracy", "low", "high",
    "test_images", "flip_test_accuracy", "objective", "val_balanced_accuracy", "test_balanced_accuracy", "balanced_low",
    "balanced_high", "majority_baseline", "epochs", "seconds", "images_per_second", "parameters", "macs", "data",
    "data_hash", "commit", "run",
)  # fmt: skip


def write_report(config: Config) -> Page:
    """Writes the page, `README.md`, `results.csv`, `figures/` and `models/` into `report.directory`, from `runs/`."""
    directory = Path(config.report.directory)
    previous = _read_previous(directory)
    history = read_history(config.run.directory)
    page = _build_page(history, FigureFolder(directory), config)
    text = render_markdown(page.chapters, TITLE)
    write_text(directory / "README.md", text)  # written first: it marks the folder as a report's
    write_text(directory / "results.csv", format_results(history.runs))
    write_cards(history.runs, directory, config.report.author)
    write_text(directory / "index.html", _render(page, directory, config.report.single_file))
    for file in set(FIGURE.findall(previous)) - set(FIGURE.findall(text)):
        (directory / file).unlink(missing_ok=True)
    return page


def _render(page: Page, directory: Path, single_file: bool | None) -> str:
    """Returns the HTML, with the figures inside if asked or, by default, if it stays small enough for a mail."""
    if single_file is False:
        return render_html(page)
    text = render_html(page, directory)
    return text if single_file or len(text) <= MAX_SINGLE_FILE else render_html(page)


def _read_previous(directory: Path) -> str:
    """Returns the Markdown of the report that will be replaced; empty if there is none.

    Raises:
        UserError: The folder has files with the names of the report that are not from a report.
    """
    readme = directory / "README.md"
    text = read_text(readme) if readme.exists() else ""
    if text.startswith(f"# {escape_markdown(TITLE)}"):
        return text
    for file in (readme, directory / "index.html", directory / "results.csv"):
        if file.exists():
            doubt = "" if file == readme else f", or {readme.name} is lost,"
            raise UserError(
                f"{file} is not from a report{doubt} and would be replaced: set `report.directory` to another folder"
            )
    return ""


def format_results(runs: list[FinishedRun]) -> str:
    """Formats `results.csv`, a row for each run."""
    rows = []
    for run in runs:
        low, high = run.test.interval
        balanced_low, balanced_high = run.test.balanced_interval
        row = dict(run.result) | {
            "strategy": run.result.strategy,
            "teacher": run.teacher,
            "backbone": run.backbone,
            "test_accuracy": run.test.accuracy,
            "low": low,
            "high": high,
            "test_images": run.test.num_images,
            "flip_test_accuracy": run.test.flip.test_accuracy if run.test.flip else "",
            "test_balanced_accuracy": run.test.balanced_accuracy,
            "balanced_low": balanced_low,
            "balanced_high": balanced_high,
            "majority_baseline": run.test.majority_baseline,
            "data": run.data.name,
            "data_hash": run.data.hash,
            "run": name_path(str(run.folder.path)),
        }
        rows.append(row)
    return format_csv(RESULT_COLUMNS, rows)


def _build_page(history: History, figures: FigureFolder, config: Config) -> Page:
    """Returns the page: the answer, a chapter of evidence for each data set, the comparison of named runs, the rest."""
    runs = config.run.directory
    compared = []
    if config.report.compare:  # first, so that a wrong name is reported before minutes of drawing
        if not history.runs:
            raise UserError(f"`report.compare` (RUNS) names runs, but there is no finished run in {runs!r} yet")
        compared.append(compare_runs(history, config.report.compare, figures))
    if not history.data_sets:
        hint = Section("", [Prose(f"There is no finished run in `{runs}` yet."), Bullets(summary.GETTING_STARTED)])
        hint.blocks[:0] = records.describe_faults(history.ledger)
        finding = f"There is no finished run in {runs} yet. Run `{PROGRAM} demo` for an example."
        return Page("", [Chapter("Summary", [hint])], [finding], checklist.check_requirements([], []).missing)
    conclusions = [_conclude_newest_sweep(data_set) for data_set in history.data_sets]
    pairs = list(zip(history.data_sets, conclusions, strict=True))
    accuracies = [sentence for data_set in history.data_sets for sentence in summary.list_accuracies(data_set)]
    findings = [sentence for pair in pairs for sentence in summary.list_findings(*pair)]
    appendix = [records.describe_test_evaluations(history)]
    if history.runs:
        cost = records.describe_cost(history.runs)
        appendix = [cost, *appendix, records.describe_reproduction(history.runs)]
    if exports := describe_exports(history.runs, Path(config.report.directory)):
        appendix.insert(0, exports)
    chapters = [
        Chapter("Summary", [summary.summarize(history, findings, figures)]),
        *(_build_chapter(*pair, figures, config) for pair in pairs),
        *compared,
        Chapter("Appendix", appendix),
    ]
    requirements = checklist.check_requirements(chapters, history.data_sets)
    appendix.append(Section(checklist.TITLE, [checklist.fold(requirements)], lead=checklist.LEAD))
    return Page(
        summary.describe_scope(history, config.report.author), chapters, [*accuracies, *findings], requirements.missing
    )


def _conclude_newest_sweep(data_set: DataSet) -> SweepConclusion | None:
    newest = next(iter(data_set.sweeps), None)
    return conclude_sweep(newest) if newest and newest.best else None


def _build_chapter(
    data_set: DataSet, conclusion: SweepConclusion | None, figures: FigureFolder, config: Config
) -> Chapter:
    """Returns the chapter on a data set: its models, what made them good, how they work, and the images."""
    figures.begin_chapter(data_set.name)
    groups = choose_groups(data_set)
    models = read_models(data_set)
    discussion = discuss(data_set, conclusion)
    sections = [
        *([discussion] if discussion.blocks else []),
        describe_comparison(data_set, figures),
        describe_configuration(groups, config.report.author),
    ]
    if groups:
        sections.append(describe_learning_curves(data_set, figures))
    if models:
        sections += [
            describe_example_predictions(models, figures),
            describe_confusion_matrix(models, figures),
            describe_calibration(models, figures),
        ]
    sections += describe_sweeps(data_set, figures)
    sections.append(describe_fine_tuning(data_set, figures))
    if data_set.find_groups(STUDENT):
        sections.append(describe_distillation(data_set))
    if models:
        sections.append(_explain_models(models, figures, config.report))
    sections += [describe_data(data_set, figures), describe_network(data_set)]
    return Chapter(data_set.name, sections)


def _explain_models(models: list[TrainedModel], figures: FigureFolder, settings: Report) -> Section:
    """Returns the section with the explanations of the first model, and with those of the others folded."""
    blocks: list[Block] = []
    for model in models:
        explanations = describe_filters_and_attribution(model.run, model.predictions, figures, settings)
        fold = Details(f"{model.title}: the same for `{model.run.title}`", explanations)
        blocks += [fold] if blocks else explanations
    return Section("Filters and attribution", blocks)
