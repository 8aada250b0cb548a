"""Data: the images of a data set, the skipped files and the duplicates."""

from collections.abc import Sequence
from functools import partial

from keras_inat.reporting.blocks import Block, Details, Prose, Section, Table
from keras_inat.reporting.charts.classification import describe_shown_classes, draw_class_counts
from keras_inat.reporting.charts.images import draw_duplicate_pairs, draw_suspects
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import SPACE, percent, plural
from keras_inat.reporting.history import DataSet
from keras_inat.reporting.sections.training_images import describe_training_images
from keras_inat.settings.places import name_path
from keras_inat.store.records import DataSummary
from keras_inat.store.suspects import Suspect

TITLE = "Data"
NUM_FILES = 20
NUM_SUSPECTS = 200
MAX_RATIO = 1.05  # of the largest class to the smallest, if their numbers are said in a sentence
# Unusual traits of image files, and their treatment.
TRAITS = {
    "1-bit": "1-bit black and white",
    "16-bit": "16 bits per channel, scaled to 8",
    "CMYK": "CMYK, converted to RGB",
    "EXIF-rotated": "rotated by its EXIF orientation",
    "LAB": "CIELAB, converted to RGB",
    "alpha": "transparency, replaced by white",
    "animated": "animated, the first frame taken",
    "color profile": "a color profile, converted to sRGB",
    "floating-point": "floating-point pixels, scaled to 8 bits",
    "gray": "gray",
    "multi-page": "several pages, the first one taken",
    "palette": "a palette",
}


def describe_data(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section on the images of a data set."""
    data = data_set.data
    if data is None:
        return Section(TITLE, [Prose("The images are unknown, because no trial has a result.")])
    blocks = [
        *_describe_images(data_set, data, figures),
        *_describe_files(data),
        *_describe_duplicates(data_set, data, figures),
        *_describe_suspects(data_set, figures),
    ]
    return Section(TITLE, blocks)


def describe_skipped(data: DataSummary) -> str:
    """Returns `1 file was skipped`, the number of files that were not used."""
    num_skipped = data.num_quarantined + data.num_leaked
    return f"{plural(num_skipped, 'file')} {'was' if num_skipped == 1 else 'were'} skipped"


def _describe_images(data_set: DataSet, data: DataSummary, figures: FigureFolder) -> list[Block]:
    """Returns the numbers of images, by split and by class, and some training images."""
    counts = data.counts
    summaries = [data, *(group.best.data for group in data_set.groups)]
    summaries += [sweep.data for sweep in data_set.sweeps if sweep.data]
    sizes = [f"{size}{SPACE}×{SPACE}{size}" for size in sorted({summary.image_size for summary in summaries})]
    return [
        Prose(
            f"{data.name} (hash `{data.hash}`) has {plural(len(data.classes), 'class')}, {counts.train:,} training "
            f"images, {counts.validation:,} validation images and {counts.test:,} test images. "
            f"{_describe_origins(data)} {_describe_excluded(data)}The test images are for the final evaluation only. "
            f"The input of the models has {' or '.join(sizes)} pixels."
        ),
        _describe_classes(data, figures),
        *describe_training_images(data_set, figures),
    ]


def _describe_classes(data: DataSummary, figures: FigureFolder) -> Block:
    """Returns the numbers of images by class, as a sentence if they are nearly equal."""
    per_class = data.per_class
    given = per_class.validation or [0] * len(per_class.train)
    train = [first + second for first, second in zip(per_class.train, given, strict=True)]
    test = per_class.test
    if all(max(counts) <= MAX_RATIO * min(counts) for counts in (train, test)):
        return Prose(
            f"Each class has {_describe_range(train)} training and validation images and {_describe_range(test)} test "
            "images."
        )
    shown = describe_shown_classes(len(data.classes))
    return figures.add(
        "classes",
        partial(draw_class_counts, data.classes, train, test),
        f"Number of usable images by class, for {shown}, for training and validation and for the test.",
        f"Number of usable images by class, for {shown}.",
    )


def _describe_range(counts: Sequence[int]) -> str:
    """Returns `150`, or `148 to 150`."""
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))


def _describe_origins(data: DataSummary) -> str:
    """Returns the place of the images of each split, in a sentence."""
    origins = data.origins
    parts = [f"The training images are from {origins.train}"]
    parts.append(
        f"the validation images from {origins.validation}"
        if origins.validation
        else "the validation images are a stratified random fraction of them"
    )
    parts.append(
        f"the test images from {origins.test}"
        if origins.test
        else f"the test images are a stratified random fraction of {data.test_fraction:g}, split off before the others"
    )
    return f"{', '.join(parts[:2])}, and {parts[2]}."


def _describe_excluded(data: DataSummary) -> str:
    if not data.num_excluded:
        return ""
    verb = "is" if data.num_excluded == 1 else "are"
    return f"{plural(data.num_excluded, 'other image')} {verb} excluded. "


def _describe_files(data: DataSummary) -> list[Block]:
    """Returns the formats and traits of the files, and the skipped files."""
    formats = ", ".join(f"{count:,} {name}" for name, count in data.formats.items())
    text = f"Every file was decoded in full: {formats}. "
    if data.traits:
        traits = "; ".join(f"{TRAITS.get(name, name)} ({count:,})" for name, count in data.traits.items())
        text += f"Unusual files: {traits}. "
    if "16-bit" in data.traits:
        text += f"In 16-bit images, {data.preparation.white:,} is white (`data.bit_depth`={data.bit_depth}). "
    half = NUM_FILES // 2
    listed = [*data.leaked[:half], *data.quarantined, *data.leaked[half:]][:NUM_FILES]
    if not listed:
        kind = "a duplicate" if data.near_duplicates else "an exact duplicate"
        text += f"No file was skipped: every image could be decoded, and no training image is {kind} of {_later(data)}."
        return [Prose(text)]
    leaks = f"Leaks, which are training images that duplicate {_later(data)}: {data.num_leaked:,}."
    caption = f"{describe_skipped(data)}. {leaks}"
    if data.num_quarantined + data.num_leaked > NUM_FILES:
        caption += f" The table lists {NUM_FILES} files."
    if data.reasons:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in data.reasons.items())
        caption += f" Other reasons: {reasons}."
    return [Prose(text), Table(caption, "ll", ["file", "reason"], [[file.path, file.reason] for file in listed])]


def _later(data: DataSummary) -> str:
    return "a test or validation image" if data.origins.validation else "a test image"


def _describe_duplicates(data_set: DataSet, data: DataSummary, figures: FigureFolder) -> list[Block]:
    """Returns the number of duplicates, and some near-duplicates for the reader to verify."""
    counts = data.num_duplicates
    if not data.near_duplicates:
        text = f"Pairs of exact duplicates: {counts.identical:,}. Near-duplicates were not searched for. "
    elif counts.identical + counts.near:
        text = (
            f"Pairs of duplicates: {counts.identical:,} exact and {counts.near:,} near-duplicates ({counts.mirrored:,} "
            "of them mirrored). A near-duplicate shows the same picture: aligned with the other image, it has the same "
            "details and colors in nearly all parts. "
        )
    else:
        text = (
            "No duplicates were found: no image is an identical, resized, recompressed, mirrored, framed or slightly "
            "cropped version of another."
        )
        return [Prose(text)]
    if counts.of_another_class:
        text += f"Pairs with different classes: {counts.of_another_class:,}. "
    if counts.train_and_test:
        text += f"Pairs across training and test images: {counts.train_and_test:,}. The training images are excluded. "
    if not data.origins.validation:
        text += "Duplicates are never divided between training and validation images."
    for group in reversed(data_set.groups):
        duplicates = group.best.read_duplicates()
        if duplicates:
            caption = (
                "Near-duplicates. Pairs across training and test images come first, and then the least similar ones."
            )
            listed = [[pair.of, pair.path, f"{pair.agreeing_cells} of {pair.cells}"] for pair, _ in duplicates]
            how = "A wrong pair is overruled by a line `file,file` in the file that `data.ignore_duplicates` names."
            return [
                Prose(text),
                figures.add("duplicates", partial(draw_duplicate_pairs, duplicates), caption, caption),
                Table(how, "lll", ["file", "duplicate", "parts that agree"], listed),
            ]
    return [Prose(text)]


def _describe_suspects(data_set: DataSet, figures: FigureFolder) -> list[Block]:
    """Returns the number of label suspects and pictures of the first ones, if the command `suspects` was run."""
    if data_set.suspects is None:
        return []
    outcome = data_set.suspects.outcome
    text = (
        f"Label suspects: {len(outcome.suspects):,} of {outcome.num_images:,} training and validation images. Their "
        "labels contradict predictions by models that were not trained on them (confident learning, Northcutt et al. "
        f"2021). The models were {outcome.network}, in {plural(outcome.num_folds, 'fold')}, with an out-of-fold "
        f"accuracy of {percent(outcome.accuracy)}. A suspect is to be checked by eye. Its label may be right. "
        f"`{name_path(str(data_set.suspects.table))}` lists all of them."
    )
    blocks: list[Block] = [Prose(text)]
    pixels = data_set.suspects.read_pictures()
    if pixels is not None and len(pixels):
        shown = outcome.suspects[: len(pixels)]
        pairs = ", ".join(f"{suspect.label} → {suspect.suggested}" for suspect in shown)
        caption = (
            f"The first {plural(len(pixels), 'label suspect')}, each with its label, the suggested class, and their "
            "out-of-fold probabilities."
        )
        picture = figures.add("suspects", partial(draw_suspects, shown, pixels), f"{caption} {pairs}.", caption)
        blocks.append(picture)
    if outcome.suspects:
        blocks.append(_tabulate_suspects(outcome.suspects))
    return blocks


def _tabulate_suspects(suspects: Sequence[Suspect]) -> Details:
    rows = []
    for suspect in suspects[:NUM_SUSPECTS]:
        probabilities = [percent(suspect.probability_of_label), percent(suspect.probability_of_suggested)]
        rows.append([suspect.file, suspect.label, suspect.suggested, *probabilities])
    shown = "All" if len(rows) == len(suspects) else f"The first {NUM_SUSPECTS} of"
    summary = f"{shown} {plural(len(suspects), 'label suspect')}, with their paths"
    caption = "The largest difference of the two out-of-fold probabilities comes first."
    head = ["file", "label", "suggested", "probability of the label", "of the suggested class"]
    return Details(summary, [Table(caption, "lllrr", head, rows)])
