"""A card for each kept model (Mitchell et al. 2019, arXiv 1810.03993): what it is, how good, and what it is not for."""

from pathlib import Path

from keras_inat.files import write_text
from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Bullets, Part, Prose, Section, Table, write_markdown
from keras_inat.report.formatting import percent, plural
from keras_inat.report.groups import Record
from keras_inat.report.sections.data import count_left_out
from keras_inat.report.sections.model import tabulate_classes
from keras_inat.report.statistics.calibration import measure_calibration
from keras_inat.report.statistics.confusion import count_confusion
from keras_inat.report.statistics.estimates import estimate_proportion

FOLDER, TITLE = "models", "Model card: "


def write_cards(records: list[Record], directory: Path) -> None:
    """Writes `models/<run>.md` for every run whose model is on disk, and removes cards of others."""
    folder = directory / FOLDER
    cards = {f"{record.folder.path.name}.md": record for record in records if record.folder.model.exists()}
    for name, record in cards.items():
        write_text(folder / name, write_markdown(build_card(record), TITLE + record.folder.path.name))
    for stale in folder.glob("*.md"):
        if stale.name not in cards and stale.read_text(encoding="utf-8", errors="replace").startswith(f"# {TITLE}"):
            stale.unlink()


def build_card(record: Record) -> list[Part]:
    """The card of a finished run."""
    classes = record.data["classes"]
    return [
        Part("The model", [Section("", _describe_model(record))]),
        Part("What it is for", [Section("", [Bullets(_describe_use(classes))])]),
        Part("What it learned from", [Section("", [Prose(_describe_data(record))])]),
        Part("How good it is", [Section("", _judge(record))]),
    ]


def _describe_model(record: Record) -> list[Block]:
    result, size = record.result, record.data["image_size"]
    base = f", a {record.backbone} fine-tuned by `{record.finetune['strategy']}`" if record.finetune else ", a CNN"
    rows = [
        ["file", f"`{record.folder.model}`, to load with `keras.models.load_model`"],
        ["input", f"images of {size} x {size} pixels, RGB from 0 to 255, `(batch, {size}, {size}, 3)`"],
        ["output", f"probabilities of {plural(len(record.data['classes']), 'class')}, in alphabetical order"],
        ["parameters", f"{result['parameters']:,}"],
        ["computations", f"{result['macs']:,} multiply-accumulates for one image"],
        [
            "trained",
            f"{result['created'][:10]}, {plural(result['epochs'], 'epoch')}, {formatting.duration(result['seconds'])}",
        ],
        ["seed", str(result["seed"])],
        ["versions", ", ".join(f"{name} {version}" for name, version in sorted(result["packages"].items()))],
        ["commit", result["commit"] or "not known"],
        ["configuration", f"`{record.folder.config}`"],
    ]
    return [
        Prose(
            f"`{record.name}`{base}. `make predict RUN={record.folder.path} IMAGE=photo.jpg` asks it about an image."
        ),
        Table("", "ll", ["", ""], rows),
    ]


def _describe_use(classes: list[str]) -> list[str]:
    return [
        f"Telling apart {', '.join(classes)}, in photographs like those that it learned from.",
        "An image of anything else is given one of these classes all the same: it cannot say that it is none of them.",
        "What it does on photographs from elsewhere, or of rarer kinds within a class, was not measured.",
    ]


def _describe_data(record: Record) -> str:
    data = record.data
    counts, left_out = data["counts"], count_left_out(data)
    return (
        f"{data['name']} (hash `{data['hash']}`): {counts['train']:,} images to train on, {counts['validation']:,} to "
        f"choose by, {counts['test']:,} to be judged on once, at the end; {plural(left_out, 'file')} left out. What "
        "biases they have, the model has."
    )


def _judge(record: Record) -> list[Block]:
    predictions = record.read_predictions()
    blocks: list[Block] = [
        Prose(f"Validation accuracy, by which its weights were chosen: {percent(record.result['val_accuracy'])}.")
    ]
    if predictions is None:
        return [*blocks, Prose("Its predictions on the test images are not on disk.")]
    test = estimate_proportion(int(predictions.correct.sum()), len(predictions.labels))
    _, error, chance = measure_calibration(predictions)
    return [
        *blocks,
        Prose(f"Test accuracy: {formatting.percent_with_interval(test)}."),
        Prose(
            f"Its confidence is off by {percent(error)} in the mean (expected calibration error); below "
            f"{percent(chance)} that may be chance."
        ),
        tabulate_classes(count_confusion(predictions, len(record.data["classes"])), record.data["classes"]),
    ]
