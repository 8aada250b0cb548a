"""Model cards (Mitchell et al. 2019, arXiv 1810.03993): the data, accuracy and intended use of each kept model."""

from collections.abc import Sequence
from pathlib import Path

from keras_inat.files import write_text
from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Bullets, Chapter, Prose, Section, Table
from keras_inat.report.formatting import percent, percent_with_interval, plural
from keras_inat.report.markdown import render_markdown
from keras_inat.report.sections.confusion_matrix import tabulate_classes
from keras_inat.report.sections.data import count_skipped
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.report.statistics.classification import count_confusion, measure_calibration
from keras_inat.report.statistics.estimates import estimate_proportion

FOLDER = "models"
TITLE = "Model card: "


def write_cards(runs: Sequence[FinishedRun], directory: Path) -> None:
    """Writes `models/<run>.md` for every run whose model is on disk, and removes the cards of other runs."""
    folder = directory / FOLDER
    kept = {f"{run.title}.md": run for run in runs if run.folder.model.exists()}
    for name, run in kept.items():
        write_text(folder / name, render_markdown(build_card(run), TITLE + run.title))
    for file in folder.glob("*.md"):
        is_card = file.read_text(encoding="utf-8", errors="replace").startswith(f"# {TITLE}")
        if is_card and file.name not in kept:
            file.unlink()


def build_card(run: FinishedRun) -> list[Chapter]:
    """Returns the card of a run."""
    return [
        Chapter("Model", [Section("", _describe_model(run))]),
        Chapter("Intended use", [Section("", [Bullets(_describe_use(run.data.classes))])]),
        Chapter("Training data", [Section("", [Prose(_describe_data(run))])]),
        Chapter("Evaluation", [Section("", _describe_evaluation(run))]),
    ]


def _describe_model(run: FinishedRun) -> list[Block]:
    result = run.result
    size = run.data.image_size
    kind = f"a {run.backbone}, fine-tuned with the strategy `{run.finetune.strategy}`" if run.finetune else "a CNN"
    training = f"{result.created[:10]}, {plural(result.epochs, 'epoch')}, {formatting.duration(result.seconds)}"
    rows = [
        ["file", f"`{run.folder.model}`, to load with `keras.models.load_model`"],
        ["input", f"images of {size} x {size} pixels, RGB from 0 to 255, `(batch, {size}, {size}, 3)`"],
        ["output", f"probabilities of {plural(len(run.data.classes), 'class')}, in alphabetical order"],
        ["parameters", f"{result.parameters:,}"],
        ["multiply-accumulates", f"{result.macs:,} for one image"],
        ["training", training],
        ["seed", str(result.seed)],
        ["versions", ", ".join(f"{name} {version}" for name, version in sorted(result.packages.items()))],
        ["commit", result.commit or "unknown"],
        ["configuration", f"`{run.folder.config}`"],
    ]
    return [
        Prose(f"`{run.name}` is {kind}. `make predict RUN={run.folder.path} IMAGE=photo.jpg` classifies an image."),
        Table("", "ll", ["", ""], rows),
    ]


def _describe_use(classes: Sequence[str]) -> list[str]:
    return [
        f"The model classifies photographs that resemble its training images as one of {', '.join(classes)}.",
        "It cannot reject an image: an image of anything else gets one of these classes as well.",
        "Its accuracy on photographs from other sources, and on rare kinds within a class, was not measured.",
    ]


def _describe_data(run: FinishedRun) -> str:
    data = run.data
    counts = data.counts
    num_skipped = count_skipped(data)
    return (
        f"{data.name} (hash `{data.hash}`) has {counts.train:,} training images, {counts.validation:,} validation "
        f"images to select the weights, and {counts.test:,} test images for one evaluation at the end. "
        f"{plural(num_skipped, 'file')} {'was' if num_skipped == 1 else 'were'} skipped. The model inherits the biases "
        "of these images."
    )


def _describe_evaluation(run: FinishedRun) -> list[Block]:
    validation = Prose(f"Validation accuracy, by which the weights were selected: {percent(run.result.val_accuracy)}.")
    predictions = run.read_predictions()
    if predictions is None:
        return [validation, Prose("The predictions on the test images are not on disk.")]
    accuracy = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    calibration = measure_calibration(predictions)
    return [
        validation,
        Prose(f"Test accuracy: {percent_with_interval(accuracy)}."),
        Prose(
            f"Expected calibration error: {percent(calibration.error)}. Chance alone explains up to "
            f"{percent(calibration.chance_limit)}."
        ),
        tabulate_classes(count_confusion(predictions, len(run.data.classes)), run.data.classes),
    ]
