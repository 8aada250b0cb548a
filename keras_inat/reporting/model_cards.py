"""Model cards (Mitchell et al. 2019, arXiv 1810.03993): the data, accuracy and intended use of each kept model."""

from collections.abc import Sequence
from pathlib import Path

from keras_inat.errors import PROGRAM
from keras_inat.files import read_text, write_text
from keras_inat.intervals import estimate_proportion
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Bullets, Chapter, Prose, Section, Table
from keras_inat.reporting.formatting import accuracy_with_balance, percent, plural
from keras_inat.reporting.history import FinishedRun, SeedGroup
from keras_inat.reporting.rendering import render_markdown
from keras_inat.reporting.sections.confusion_matrix import tabulate_classes
from keras_inat.reporting.sections.data import describe_skipped
from keras_inat.reporting.statistics.accuracy import count_confusion, estimate_balanced_accuracy, measure_calibration
from keras_inat.settings.places import name_path
from keras_inat.store.balance import NAMES
from keras_inat.store.runs import RunFolder

FOLDER = "models"
TITLE = "Model card: "


def write_cards(runs: Sequence[FinishedRun], directory: Path, author: str = "") -> None:
    """Writes `models/<run>.md` for every run whose model is on disk, and removes the cards of other runs."""
    folder = directory / FOLDER
    kept = {f"{run.title}.md": run for run in runs if run.folder.has_model(run.result)}
    for name, run in kept.items():
        write_text(folder / name, render_card(run, Path(name_path(str(run.folder.path))), author))
    for file in folder.glob("*.md"):
        is_card = read_text(file).startswith(f"# {TITLE}")
        if is_card and file.name not in kept:
            file.unlink()


def render_card(run: FinishedRun, place: Path, author: str = "") -> str:
    """Returns the card as Markdown. It names the files of the run as files in the folder `place`.

    `author` is the setting `report.author`.
    """
    data = run.data
    use = [
        f"The model classifies photographs that resemble its training images as one of {', '.join(data.classes)}.",
        "It cannot reject an image: an image of anything else gets one of these classes as well.",
        "Its accuracy on photographs from other sources, and on rare kinds within a class, was not measured.",
    ]
    images = (
        f"{data.name} (hash `{data.hash}`) has {data.counts.train:,} training images, {data.counts.validation:,} "
        f"validation images to select the weights, and {data.counts.test:,} test images for one evaluation at the end. "
        f"{describe_skipped(data)}. The model inherits the biases of these images."
    )
    blocks: dict[str, list[Block]] = {
        "Model": _describe_model(run, RunFolder(place, run.command), author),
        "Intended use": [Bullets(use)],
        "Training data": [Prose(images)],
        "Evaluation": _describe_evaluation(run),
    }
    chapters = [Chapter(title, [Section("", content)]) for title, content in blocks.items()]
    return render_markdown(chapters, TITLE + run.title)


def _describe_model(run: FinishedRun, folder: RunFolder, author: str) -> list[Block]:
    result = run.result
    size = run.data.image_size
    kind = f"a CNN that learned from the teacher `{run.teacher}`" if run.teacher else "a CNN"
    if run.finetune:
        kind = f"a {run.backbone}, fine-tuned with the strategy `{run.finetune.strategy}`"
    predict = f"{PROGRAM} predict RUN={folder.path} IMAGE=photo.jpg"
    training = f"{result.created[:10]}, {plural(result.epochs, 'epoch')}, {formatting.duration(result.seconds)}"
    rows = [
        ["file", f"`{folder.model}`, to load with `keras_inat.load` or, in Keras 3.14 or newer, `load_model`"],
        ["preprocessing", f"{run.data.preparation.description}; the model scales the pixels itself"],
        ["input", f"images of {size} x {size} pixels, RGB from 0 to 255, `(batch, {size}, {size}, 3)`"],
        ["output", f"probabilities of {plural(len(run.data.classes), 'class')}, in alphabetical order"],
        ["parameters", f"{result.parameters:,}"],
        ["multiply-accumulates", f"{result.macs:,} for one image"],
        ["training", training],
        ["seed", str(result.seed)],
        ["device", result.device],
        ["versions", formatting.package_versions(result.packages)],
        ["commit", result.commit or "unknown"],
        ["configuration", f"`{folder.config}`"],
    ]
    if author:
        rows.insert(0, ["author", author])
    return [Prose(f"`{result.name}` is {kind}. `{predict}` classifies an image."), Table("", "ll", ["", ""], rows)]


def _describe_evaluation(run: FinishedRun) -> list[Block]:
    name = NAMES[run.result.objective].capitalize()
    text = f"{name}, by which the weights were selected: {percent(run.result.val_score)}."
    if run.data.is_imbalanced:
        text += (
            f" On the validation images, the accuracy is {percent(run.result.val_accuracy)}, the balanced accuracy "
            f"{percent(run.result.val_balanced_accuracy)} and the majority baseline "
            f"{percent(run.result.val_majority_baseline)}."
        )
    validation = Prose(text)
    predictions = run.predictions
    if predictions is None:
        return [validation, Prose("The predictions on the test images are not on disk.")]
    accuracy = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    balanced = estimate_balanced_accuracy(SeedGroup((run,)))
    calibration = measure_calibration(predictions)
    return [
        validation,
        Prose(f"Test accuracy: {accuracy_with_balance(accuracy, balanced, run.test.majority_baseline)}."),
        Prose(
            f"Expected calibration error: {percent(calibration.error)}. Chance alone explains up to "
            f"{percent(calibration.chance_limit)}."
        ),
        tabulate_classes(count_confusion(predictions, len(run.data.classes)), run.data.classes),
    ]
