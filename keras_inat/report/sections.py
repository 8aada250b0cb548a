"""The sections on one set of images: the data, fine-tuning, and the two ways to train compared.

Each function gives a section, or a sentence on the command that would fill it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from keras_inat.report import canvas, figures, wording
from keras_inat.report.album import Album
from keras_inat.report.analysis import Estimate, compare_predictions, estimate_accuracy
from keras_inat.report.blocks import Block, Prose, Section, Table
from keras_inat.report.story import DataSet, Group
from keras_inat.report.wording import percent, plural

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
    "colour profile": "a colour profile, converted to sRGB",
    "grey": "grey",
    "palette": "a palette",
}


def describe_data(data_set: DataSet, album: Album) -> Section:
    """Counts, examples, and what was left out."""
    data = data_set.data
    if data is None:
        text = f"The images of {data_set.name} were never opened: every trial ended before. `make data` says why."
        return Section("The images", [Prose(text)])
    counts, classes = data["counts"], data["classes"]
    blocks: list[Block] = [
        Prose(
            f"{data['name']} (hash `{data['hash']}`) has {plural(len(classes), 'class')}: "
            f"{counts['train']:,} images to train on, {counts['validation']:,} held out from them, class by class, for "
            f"validation, and {counts['test']:,} test images that only a final judgement opens. They are decoded to "
            f"{data['image_size']} × {data['image_size']} pixels."
        ),
        album.add(
            "classes",
            figures.draw_class_counts(classes, data["per_class"]),
            f"Images of each of the {len(classes)} classes, in train/ and in val/.",
            "Images of each class on disk that could be used.",
        ),
    ]
    for group in reversed(data_set.groups):
        if predictions := group.best.read_predictions():
            text = f"{len(predictions.examples)} of the {counts['test']:,} test images, at random, with their classes."
            blocks.append(album.add("examples", canvas.draw_examples(predictions, classes), text, text))
            break
    return Section("The images", [*blocks, *_describe_files(data), *_describe_copies(data_set, album)])


def _describe_files(data: dict[str, Any]) -> list[Block]:
    """What kinds of files there are, and which were left out."""
    traits = "; ".join(f"{TRAITS.get(name, name)} ({count:,})" for name, count in data.get("traits", {}).items())
    formats = ", ".join(f"{count:,} {name}" for name, count in data.get("formats", {}).items())
    text = f"Every file was decoded once and in full: {formats}. " if formats else ""
    text += f"Among them, out of the ordinary: {traits}. " if traits else ""
    left_out = [*data["leaked"][: NUM_FILES // 2], *data["quarantined"], *data["leaked"][NUM_FILES // 2 :]]
    if not left_out:
        text += "No file was left out: every image could be decoded, and none shows an image of val/ in train/."
        return [Prose(text)]
    num_leaked = data.get("num_leaked", len(data["leaked"]))
    num_left = data.get("num_quarantined", len(data["quarantined"])) + num_leaked
    shown = f"; {NUM_FILES} of them are listed" if num_left > NUM_FILES else ""
    verb = "was" if num_left == 1 else "were"
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in data.get("reasons", {}).items())
    caption = (
        f"{plural(num_left, 'file')} {verb} left out, {num_leaked:,} of them for being a test image that is also in "
        f"train/{shown}." + (f" The others, by reason: {reasons}." if reasons else "")
    )
    rows = [[entry["path"], entry["reason"]] for entry in left_out[:NUM_FILES]]
    return [*([Prose(text)] if text else []), Table(caption, "ll", ["file", "reason"], rows)]


def _describe_copies(data_set: DataSet, album: Album) -> list[Block]:
    """Files that show one image, with examples that let the reader judge whether they do."""
    counts = (data_set.data or {}).get("num_copies")
    if not counts:
        return []
    if not counts["identical"] + counts["near"]:
        return [Prose("No two files show the same image, neither identical nor resized, recompressed or mirrored.")]
    text = (
        f"{plural(counts['identical'], 'pair')} of files are identical, and {plural(counts['near'], 'pair')} are near "
        f"copies ({counts['mirrored']:,} of them mirrored), by the correlation of what is left of an image at 16 × 16 "
        "grey pixels. "
    )
    if counts["of_another_class"]:
        text += f"{plural(counts['of_another_class'], 'pair')} carry different classes. "
    if counts["train_and_test"]:
        crossing = plural(counts["train_and_test"], "pair")
        text += f"{crossing} lie across train/ and val/: these images are left out of train/. "
    text += "All other copies of an image are on one side of the split into training and validation."
    blocks: list[Block] = [Prose(text)]
    for group in reversed(data_set.groups):
        if copies := group.best.read_copies():
            text = "Near copies that were found, those across train/ and val/ first, the least alike first."
            blocks.append(album.add("copies", canvas.draw_copies(copies), text, text))
            break
    return blocks


def describe_finetuning(data_set: DataSet, album: Album) -> Section:
    """Every fine-tuned configuration, with what it trained."""
    groups = data_set.find_groups("finetune")
    if not groups:
        text = "No fine-tuning on these images yet: `make finetune STRATEGY=head` (or topk, full) does it."
        return Section("Fine-tuning", [Prose(text)])
    rows = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        result, test = group.best.result, estimate_accuracy(group)
        rows.append(
            [
                title,
                f"{len(group.records)}",
                " → ".join(f"{stage['name']} {wording.brief(stage['parameters'])}" for stage in _stages(result)),
                f"{result['parameters']:,}",
                f"{result['epochs']:,}",
                wording.duration(result["seconds"]),
                percent(estimate_accuracy(group, "validation").value),  # type: ignore[union-attr]
                percent(test.value) if test else "–",
                f"{wording.interval(test)}, {test.num:,}{wording.SPACE}{test.unit}" if test else "–",
            ]
        )
    head = ["strategy: backbone", "seeds", "stages and what they train", "parameters", "epochs", "time", "validation"]
    caption = (
        "Best validation accuracy first. The 95 % interval is over test images where there is one seed, over seeds "
        "where there are several; the last column says which, and how many."
    )
    table = Table(caption, "lrlrrrrrr", [*head, "test", "95 % interval, n"], rows)
    return Section("Fine-tuning", [table, *_draw_groups("finetuning", groups, data_set, album)])


def compare_ways(data_set: DataSet, album: Album) -> Section:
    """From scratch against fine-tuned, on the same test images."""
    scratch, tuned = data_set.find_groups("train-best"), data_set.find_groups("finetune")
    section = Section("From scratch against fine-tuned")
    if not scratch or not tuned:
        missing = "make train-best" if not scratch else "make finetune"
        section.blocks = [Prose(f"To compare the two ways on these images, `{missing}` is still to be run on them.")]
        return section
    section.blocks = [*_draw_groups("ways", [*tuned, *scratch], data_set, album)]
    base = scratch[0].best.read_predictions()
    rows = []
    for group, title in zip(tuned, name_groups(tuned), strict=True):
        other = group.best.read_predictions()
        gain = compare_predictions(base, other) if base and other else None
        if gain:
            verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not told apart by these images"
            rows.append([title, *wording.points(gain), f"{gain.num:,}", verdict])
    if rows:
        caption = (
            f"Against the best run from scratch (`{scratch[0].best.folder.path.name}`), image by image on the same "
            "test images. The interval is for these trained models; what another seed would change is not in it."
        )
        section.blocks.append(
            Table(caption, "lrrrl", ["fine-tuned", "points more", "95 % interval", "images", "it is"], rows)
        )
    return section


def find_gain(data_set: DataSet) -> Estimate | None:
    """How much better the best fine-tuned model is than the best from scratch, on the same test images."""
    scratch, tuned = data_set.find_groups("train-best"), data_set.find_groups("finetune")
    if not scratch or not tuned:
        return None
    first, second = scratch[0].best.read_predictions(), tuned[0].best.read_predictions()
    return compare_predictions(first, second) if first and second else None


def name_groups(groups: Sequence[Group]) -> list[str]:
    """Their titles; those that share one get their run's name, and a number where that is the same too."""
    titles = [group.title for group in groups]
    taken = Counter(titles)
    named = [f"{t} ({g.best.name})" if taken[t] > 1 else t for t, g in zip(titles, groups, strict=True)]
    seen: Counter[str] = Counter()
    for index, title in enumerate(named):
        seen[title] += 1
        named[index] = f"{title} #{seen[title]}" if seen[title] > 1 else title
    return named


def _draw_groups(key: str, groups: list[Group], data_set: DataSet, album: Album) -> list[Block]:
    rows = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        if estimate := estimate_accuracy(group):
            seeds = [record.result["test_accuracy"] for record in group.records if "test_accuracy" in record.result]
            rows.append((title, estimate, seeds, group.command == "train-best"))
    if not rows:
        return []
    counts = data_set.data["per_class"]["test"] if data_set.data else [0]
    caption, chance = f"n = {sum(counts):,} test images, the same for all.", None
    if any(scratch for *_, scratch in rows):
        chance = max(counts) / max(sum(counts), 1)
        caption += f" Guessing the most frequent class is right on {percent(chance)}."
    if any(len(row[2]) > 1 for row in rows):
        caption += " Where there are several seeds the interval is Student's t over them, and small points are seeds."
    alt = "Test accuracy: " + "; ".join(f"{title} {percent(estimate.value)}" for title, estimate, _, _ in rows) + "."
    return [album.add(key, figures.draw_accuracies(rows, chance), alt, caption)]


def _stages(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": stage["stage"], "parameters": stage["parameters"]} for stage in result.get("stages", [])]
