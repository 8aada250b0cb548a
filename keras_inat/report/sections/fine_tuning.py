"""The sections on fine-tuning, and on the two ways to train compared.

Each function gives a section, or a sentence on the command that would fill it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose, Section, Table
from keras_inat.report.charts.accuracy_comparison import draw_accuracies
from keras_inat.report.charts.class_counts import MAX_CLASSES
from keras_inat.report.charts.compared_models import ComparedModel
from keras_inat.report.charts.cost_comparison import draw_costs
from keras_inat.report.charts.forest_plot import draw_forest_plot
from keras_inat.report.charts.learning_curves import draw_validation_by_time
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent
from keras_inat.report.groups import SeedGroup
from keras_inat.report.history import DataSet
from keras_inat.report.statistics.accuracy import estimate_accuracy
from keras_inat.report.statistics.estimates import Estimate
from keras_inat.report.statistics.paired_differences import compare_classes, compare_groups

GAINS = f"percentage points more of the class's images are recognised, with 95{formatting.SPACE}% interval"


def describe_finetuning(data_set: DataSet, figures: FigureFolder) -> Section:
    """Every fine-tuned configuration, with what it trained."""
    groups = data_set.find_groups("finetune")
    if not groups:
        text = "No fine-tuning on these images yet: `make finetune STRATEGY=head` (or topk, full) does it."
        return Section("Fine-tuning", [Prose(text)])
    rows = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        result, test = group.best.result, estimate_accuracy(group)
        stages = result.get("stages", [])
        rows.append(
            [
                title,
                f"{len(group.records)}",
                " → ".join(f"{stage['stage']} {formatting.abbreviate(stage['parameters'])}" for stage in stages),
                f"{result['parameters']:,}",
                f"{result['epochs']:,}",
                formatting.duration(result["seconds"]),
                percent(estimate_accuracy(group, "validation").value),  # type: ignore[union-attr]
                percent(test.value) if test else "–",
                f"{formatting.interval(test)}, {test.num:,}{formatting.SPACE}{test.unit}" if test else "–",
            ]
        )
    head = ["strategy: backbone", "seeds", "stages and what they train", "parameters", "epochs", "time", "validation"]
    caption = (
        "Best validation accuracy first. The 95 % interval allows for other test images and, where there are several "
        "seeds, for other seeds, too; the last column says how many of which."
    )
    table = Table(caption, "lrlrrrrrr", [*head, "test", "95 % interval, n"], rows)
    compared_models = _list_contenders(groups)
    blocks = [table, *_draw_accuracies("finetuning", compared_models, data_set, figures)]
    if len(compared_models) > 1:
        alt = "Test accuracy against trained parameters, and against time, of " + _join(compared_models) + "."
        caption = (
            "What accuracy costs: higher and further left is better. Bars are the intervals of the table above. Where "
            "one would cover another it is moved to the right, so that they stay in their order. What a frozen "
            "backbone makes of the images is kept, and the time for it is that of the first run to need it."
        )
        blocks.append(figures.add("costs", draw_costs(compared_models), alt, caption))
        blocks += tabulate_gains(
            groups[0], groups[1:], name_groups(groups)[1:], "the configuration with the best validation accuracy"
        )
    return Section("Fine-tuning", blocks)


def compare_ways(data_set: DataSet, figures: FigureFolder) -> Section:
    """From scratch against fine-tuned, on the same test images."""
    scratch, tuned = data_set.find_groups("train-best"), data_set.find_groups("finetune")
    section = Section("From scratch against fine-tuned")
    if not scratch or not tuned:
        missing = "make train-best" if not scratch else "make finetune"
        section.blocks = [Prose(f"To compare the two ways on these images, `{missing}` is still to be run on them.")]
        return section
    compared_models = _list_contenders([*tuned, *scratch])
    section.blocks = [*_draw_accuracies("ways", compared_models, data_set, figures)]
    if compared_models:
        compared_models = compared_models[
            : 1 + sum(not compared_model.scratch for compared_model in compared_models)
        ]  # best from scratch last
        alt = "Validation accuracy against time while training, of " + _join(compared_models) + "."
        caption = (
            "Learning curves on one scale of time, for each configuration its best run. The head of a frozen backbone "
            "learns from features that are taken once, and so in seconds; the time to take them is in no curve."
        )
        section.blocks.append(figures.add("races", draw_validation_by_time(compared_models), alt, caption))
    section.blocks += tabulate_gains(scratch[0], tuned, name_groups(tuned), "the best configuration from scratch")
    section.blocks += _show_gains(scratch[0], tuned[0], data_set, figures)
    return section


def tabulate_gains(base: SeedGroup, others: Sequence[SeedGroup], titles: Sequence[str], what: str) -> list[Block]:
    """A table of how much better others are than `base`, in as much as it can be told; none where it cannot at all."""
    rows, seeded = [], False
    for group, title in zip(others, titles, strict=True):
        if gain := compare_groups(base, group):
            verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not told apart"
            sample = f"{gain.num:,}{formatting.SPACE}{gain.unit}"
            rows.append([title, *formatting.percentage_points(gain), sample, verdict])
            seeded |= gain.unit == "seeds"
    caption = (
        f"Against {what} (`{base.best.folder.path.name}`), image by image on the same test images. n counts images "
        "where two trained models are compared: what another seed would change is not in it. Each interval stands by "
        "itself: one in twenty would exclude zero by chance."
    )
    if seeded:
        caption += " It counts seeds where both have several in common: then other seeds and other images are."
    head = ["which", "points more", "95 % interval", "n", "it is"]
    return [Table(caption, "lrrrl", head, rows)] if rows else []


def _show_gains(scratch: SeedGroup, tuned: SeedGroup, data_set: DataSet, figures: FigureFolder) -> list[Block]:
    """Class by class, what the best fine-tuned model recognises more often than the best from scratch."""
    first, second = scratch.best.read_predictions(), tuned.best.read_predictions()
    if not first or not second or not data_set.data:
        return []
    gains = compare_classes(first, second, data_set.data["classes"])
    if not gains:
        return []
    num_classes, half = len(gains), MAX_CLASSES // 2
    if num_classes > MAX_CLASSES:
        gains = gains[:half] + gains[-half:]
    clear = [name for name, gain in gains if gain.excludes_zero]
    alt = "Gain by class, in percentage points: " + ", ".join(
        f"{name} {formatting.percentage_points(gain)[0]}" for name, gain in gains
    )
    some = f": the {half} that gain most and the {half} that gain least of {num_classes}"
    left_out = some if num_classes > len(gains) else ""
    caption = (
        f"{tuned.title} against {scratch.title}, the best run on validation of each, on the same test images, class by "
        f"class{left_out}. Filled points exclude zero ({len(clear)} of {len(gains)}); with intervals of 95 % one in "
        "twenty would by chance. What other seeds would change is not in them."
    )
    return [figures.add("gains", draw_forest_plot(gains, GAINS, in_points=True), alt + ".", caption)]


def find_gain(data_set: DataSet) -> Estimate | None:
    """How much better the best fine-tuned configuration is than the best from scratch, on the same test images."""
    scratch, tuned = data_set.find_groups("train-best"), data_set.find_groups("finetune")
    return compare_groups(scratch[0], tuned[0]) if scratch and tuned else None


def name_groups(groups: Sequence[SeedGroup]) -> list[str]:
    """Their titles; those that share one get their run's name, and a number where that is the same too."""
    titles = [group.title for group in groups]
    taken = Counter(titles)
    named = [f"{t} ({g.best.name})" if taken[t] > 1 else t for t, g in zip(titles, groups, strict=True)]
    seen: Counter[str] = Counter()
    for index, title in enumerate(named):
        seen[title] += 1
        named[index] = f"{title} #{seen[title]}" if seen[title] > 1 else title
    return named


def _list_contenders(groups: Sequence[SeedGroup]) -> list[ComparedModel]:
    """Those that have been judged, as the charts take them."""
    compared_models = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        if estimate := estimate_accuracy(group):
            results = [record.result for record in group.records]
            compared_models.append(
                ComparedModel(
                    title,
                    estimate,
                    [result["test_accuracy"] for result in results if "test_accuracy" in result],
                    group.command == "train-best",
                    group.best.trained_parameters,
                    float(np.mean([result["seconds"] for result in results])),
                    group.best.folder.read_metrics(),
                )
            )
    return compared_models


def _join(compared_models: Sequence[ComparedModel]) -> str:
    return "; ".join(
        f"{compared_model.title} ({percent(compared_model.accuracy.value)})" for compared_model in compared_models
    )


def _draw_accuracies(
    key: str, compared_models: list[ComparedModel], data_set: DataSet, figures: FigureFolder
) -> list[Block]:
    if not compared_models:
        return []
    counts = data_set.data["per_class"]["test"] if data_set.data else [0]
    caption, chance = f"n = {sum(counts):,} test images, the same for all.", None
    if any(compared_model.scratch for compared_model in compared_models):
        chance = max(counts) / max(sum(counts), 1)
        caption += f" Guessing the most frequent class is right on {percent(chance)}."
    if any(len(compared_model.seeds) > 1 for compared_model in compared_models):
        caption += " Small points are seeds; where there are several, intervals allow for other seeds, too."
    return [
        figures.add(
            key,
            draw_accuracies(compared_models, chance),
            f"Test accuracy: {_join(compared_models)}.",
            caption,
        )
    ]
