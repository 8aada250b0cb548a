"""The section on a set of images: how many there are, what was found in them, and some of them."""

from typing import Any

from keras_inat.report.blocks import Block, Prose, Section, Table
from keras_inat.report.charts.class_counts import describe_shown_classes, draw_class_counts
from keras_inat.report.charts.duplicate_pairs import draw_duplicate_pairs
from keras_inat.report.charts.image_grid import draw_examples
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import plural
from keras_inat.report.history import DataSet

NUM_FILES = 20
# What differs from a plain photograph, and what was done about it.
TRAITS = {
    "1-bit": "1-bit black and white",
    "16-bit": "16 bits a channel, scaled to 8",
    "CMYK": "CMYK, converted to RGB",
    "EXIF-rotated": "turned upright by EXIF orientation",
    "LAB": "CIELAB, converted to RGB",
    "alpha": "transparency, made white",
    "animated": "animated, the first frame taken",
    "color profile": "a color profile, converted to sRGB",
    "gray": "gray",
    "palette": "a palette",
}


def describe_data(data_set: DataSet, figures: FigureFolder) -> Section:
    """Counts, examples, and what was left out."""
    data = data_set.data
    if data is None:
        return Section(
            "The images", [Prose(f"Of the images of {data_set.name} nothing is known: {_explain(data_set)}")]
        )
    counts, classes = data["counts"], data["classes"]
    blocks: list[Block] = [
        Prose(
            f"{data['name']} (hash `{data['hash']}`) has {plural(len(classes), 'class')}: "
            f"{counts['train']:,} images to train on, {counts['validation']:,} held out from them, class by class, for "
            f"validation, and {counts['test']:,} test images, for the final judgement alone. "
            f"{_list_sizes(data_set)}"
        ),
        figures.add(
            "classes",
            draw_class_counts(classes, data["per_class"]["train"], data["per_class"]["test"]),
            f"Images of {describe_shown_classes(len(classes))}, in train/ and in val/.",
            f"Images of {describe_shown_classes(len(classes))} on disk that could be used.",
        ),
    ]
    for group in reversed(data_set.groups):
        if predictions := group.best.read_predictions():
            text = f"{len(predictions.examples)} of the {counts['test']:,} test images, at random, with their classes."
            blocks.append(figures.add("examples", draw_examples(predictions, classes), text, text))
            break
    return Section("The images", [*blocks, *_describe_files(data), *_describe_copies(data_set, figures)])


def _list_sizes(data_set: DataSet) -> str:
    """At what sizes models saw the images."""
    seen = [group.best.data for group in data_set.groups] + [sweep.data for sweep in data_set.sweeps if sweep.data]
    sizes = sorted({data["image_size"] for data in seen})
    return f"Models see them at {' or '.join(f'{size} × {size}' for size in sizes)} pixels."


def _explain(data_set: DataSet) -> str:
    """Why no trial says what its images are."""
    trials = [trial for sweep in data_set.sweeps for trial in sweep.trials]
    if any(trial.score is not None for trial in trials):
        return "the folders of the trials are gone."
    if any(trial.status == "running" for trial in trials):
        return "no trial has ended yet."
    return "every trial failed before it opened them, or while it did. `make data` says why."


def count_left_out(data: dict[str, Any]) -> int:
    """Files that were not used: of older runs, those that are named."""
    return sum(data.get(f"num_{kind}", len(data[kind])) for kind in ("quarantined", "leaked"))


def _describe_files(data: dict[str, Any]) -> list[Block]:
    """What kinds of files there are, and which were left out."""
    traits = "; ".join(f"{TRAITS.get(name, name)} ({count:,})" for name, count in data.get("traits", {}).items())
    formats = ", ".join(f"{count:,} {name}" for name, count in data.get("formats", {}).items())
    text = f"Every file was decoded once and in full: {formats}. " if formats else ""
    text += f"Among them, out of the ordinary: {traits}. " if traits else ""
    left_out = [*data["leaked"][: NUM_FILES // 2], *data["quarantined"], *data["leaked"][NUM_FILES // 2 :]]
    if not left_out:
        told = "to show" if data.get("near_duplicates", True) else "identical to"
        text += f"No file was left out: every image could be decoded, and none in train/ was found {told} one of val/."
        return [Prose(text)]
    num_leaked = data.get("num_leaked", len(data["leaked"]))
    num_left = count_left_out(data)
    shown = f"; {NUM_FILES} of them are listed" if num_left > NUM_FILES else ""
    verb = "was" if num_left == 1 else "were"
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in data.get("reasons", {}).items())
    caption = (
        f"{plural(num_left, 'file')} {verb} left out, {num_leaked:,} of them for being a test image that is also in "
        f"train/{shown}." + (f" The others, by reason: {reasons}." if reasons else "")
    )
    rows = [[entry["path"], entry["reason"]] for entry in left_out[:NUM_FILES]]
    return [*([Prose(text)] if text else []), Table(caption, "ll", ["file", "reason"], rows)]


def _describe_copies(data_set: DataSet, figures: FigureFolder) -> list[Block]:
    """Files that show one image, with examples that let the reader judge whether they do."""
    data = data_set.data or {}
    counts = data.get("num_duplicates")
    if not counts:
        return []
    if not data.get("near_duplicates", True):
        text = f"Pairs of identical files: {counts['identical']:,}. Near copies were not looked for. "
    elif not counts["identical"] + counts["near"]:
        text = "No two files were found that show the same image: none identical, resized, recompressed or mirrored."
        return [Prose(text)]
    else:
        text = (
            f"Pairs of files that show one image: {counts['identical']:,} identical, {counts['near']:,} near copies "
            f"({counts['mirrored']:,} of them mirrored), by the correlation of what is left of an image at 16 × 16 "
            "grey pixels. "
        )
    if counts["of_another_class"]:
        text += f"Of different classes: {plural(counts['of_another_class'], 'pair')}. "
    if counts["train_and_test"]:
        crossing = plural(counts["train_and_test"], "pair")
        text += f"Across train/ and val/: {crossing}, whose images are left out of train/. "
    text += "Copies within train/ are on one side of the split into training and validation."
    blocks: list[Block] = [Prose(text)]
    for group in reversed(data_set.groups):
        if duplicates := group.best.read_duplicates():
            text = "Near copies that were found, those across train/ and val/ first, the least alike first."
            blocks.append(figures.add("duplicates", draw_duplicate_pairs(duplicates), text, text))
            break
    return blocks
