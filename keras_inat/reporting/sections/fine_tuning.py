"""Fine-tuning: every fine-tuned model or configuration, and the comparison with models from scratch."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from keras_inat.errors import PROGRAM
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Details, Picture, Prose, Section, Table, choose_unique
from keras_inat.reporting.charts import comparison as charts
from keras_inat.reporting.charts.classification import MAX_CLASSES
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import SPACE, percent
from keras_inat.reporting.history import STUDENT, DataSet, SeedGroup
from keras_inat.reporting.sections.paired_differences import describe_seeds, tabulate_differences
from keras_inat.reporting.statistics.accuracy import compare_classes, estimate_test_accuracy
from keras_inat.store.balance import NAMES

TITLE = "Fine-tuning"
LEAD = (
    "Strategies that adapt a pretrained backbone. head: only the new output layer is trained. topk: then the top "
    "layers of the backbone as well. full: all layers at once. gradual and lpft: all layers, after the head."
)
COMPARISON = "Comparison of scratch and fine-tuned"


def describe_fine_tuning(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section on the fine-tuned models, each with all of its seeds."""
    groups = data_set.find_groups("finetune")
    if not groups:
        text = f"No model was fine-tuned on these images yet. Run `{PROGRAM} finetune STRATEGY=head` (or topk, full)."
        return Section(TITLE, [Prose(text)])
    models = list_models(groups)
    blocks: list[Block] = [_tabulate_configurations(data_set, groups, models)]
    if not data_set.find_groups("train-best"):  # otherwise the comparison shows them
        blocks.append(_draw_accuracies("fine-tuning", models, data_set, figures))
    if len(models) > 1:
        caption = (
            "Cost of accuracy: higher and further to the left is better. Bars are the intervals of the table above. "
            "Points that would cover each other are moved to the right, in their order. The features of a frozen "
            "backbone are cached. The time to compute them counts in the first run that needs them."
        )
        alt = f"Test accuracy against trained parameters and against training time, of {_join_models(models)}."
        costs = figures.add("costs", partial(charts.draw_costs, models), alt, caption)
        blocks.append(Details("Accuracy against trained parameters and training time", [costs]))
        titles = [model.title for model in models[1:]]
        reference = f"the {groups[0].subject} with the best {NAMES[data_set.objective]}"
        differences = tabulate_differences(groups[0], groups[1:], titles, reference)
        if differences:
            blocks.append(Details(f"Paired differences from {reference}", differences))
    return Section(TITLE, blocks, lead=LEAD)


def describe_comparison(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section that compares models from scratch with fine-tuned ones, on the same test images."""
    scratch = data_set.find_groups("train-best")
    tuned = data_set.find_groups("finetune")
    if not scratch or not tuned:
        command = "finetune" if scratch else "train-best"
        text = "The comparison needs a model from scratch and a fine-tuned one on these images."
        return Section(COMPARISON, [Prose(f"{text} Run `{PROGRAM} {command}`.")])
    others = [*tuned, *data_set.find_groups(STUDENT)]
    models = list_models([*others, *scratch])
    best_models = models[: len(others) + 1]  # the best one from scratch is the last
    titles = [model.title for model in models[: len(others)]]
    curves = figures.add(
        "validation-by-time",
        partial(charts.draw_validation_by_time, best_models),
        f"Validation accuracy against training time, of {_join_models(best_models)}.",
        "The best run of each row above. The head of a frozen backbone trains on cached features, within seconds. The "
        "time to compute them is in the table of the fine-tuned models, but not in this figure.",
    )
    blocks = [
        _draw_accuracies("scratch-and-fine-tuned", models, data_set, figures),
        *tabulate_differences(scratch[0], others, titles, f"the best {scratch[0].subject} from scratch"),
        Details("Learning curves over training time", [curves]),
    ]
    if by_class := _draw_class_differences(scratch[0], tuned[0], figures):
        blocks.append(Details("Differences by class", by_class))
    return Section(COMPARISON, blocks, lead="All models on the same test images.")


def list_models(groups: Sequence[SeedGroup]) -> list[charts.ComparedModel]:
    """Returns the groups as the charts take them.

    Titles are unique: with the name of the run if several groups have one title, then with a number.
    """
    titles = [group.title for group in groups]
    taken = set[str]()
    models = []
    for group in groups:
        title = group.title if titles.count(group.title) == 1 else f"{group.title} ({group.best.result.name})"
        models.append(
            charts.ComparedModel(
                title=choose_unique(title, taken, " #"),
                accuracy=estimate_test_accuracy(group),
                seeds=[run.test.accuracy for run in group.runs],
                training=group.best.command,
                parameters=group.best.trained_parameters,
                seconds=float(np.mean([run.result.seconds for run in group.runs])),
                epochs=group.best.read_epochs(),
            )
        )
    return models


def _join_models(models: Sequence[charts.ComparedModel]) -> str:
    """Returns the titles and the accuracies of models as text."""
    return "; ".join(f"{model.title} ({percent(model.accuracy.value)})" for model in models)


def _draw_accuracies(
    name: str, models: list[charts.ComparedModel], data_set: DataSet, figures: FigureFolder
) -> Picture:
    """Draws the test accuracies of models, with that of guessing unless all were fine-tuned."""
    counts = data_set.groups[0].best.data.per_class.test
    caption = f"n = {sum(counts):,} test images, the same for all models."
    chance = None
    if any(model.training != "finetune" for model in models):
        chance = max(counts) / sum(counts)
        caption += f" Guessing the most frequent class has an accuracy of {percent(chance)}."
    if data_set.groups[0].best.data.is_imbalanced:
        caption += (
            " Accuracy counts every image alike; the tables have balanced accuracy, which counts every class alike."
        )
    if any(len(model.seeds) > 1 for model in models):
        caption += " Small points are seeds. With several seeds, the intervals cover the variation over seeds as well."
    return figures.add(
        name, partial(charts.draw_accuracies, models, chance), f"Test accuracy: {_join_models(models)}.", caption
    )


def _tabulate_configurations(
    data_set: DataSet, groups: Sequence[SeedGroup], models: Sequence[charts.ComparedModel]
) -> Table:
    rows = []
    is_imbalanced = groups[0].best.data.is_imbalanced
    for group, model in zip(groups, models, strict=True):
        result = group.best.result
        stages = [f"{stage.stage} {formatting.abbreviate(stage.parameters)}" for stage in result.stages]
        rows.append(
            [
                model.title,
                f"{len(group.runs)}",
                " → ".join(stages),
                f"{result.parameters:,}",
                f"{result.epochs:,}",
                formatting.duration(result.seconds),
                percent(group.val_accuracy),
                percent(model.accuracy.value),
                f"{formatting.interval(model.accuracy)}, {model.accuracy.num:,}{SPACE}{model.accuracy.unit}",
                *(
                    [percent(group.val_balanced_accuracy), percent(group.test_balanced_accuracy)]
                    if is_imbalanced
                    else []
                ),
            ]
        )
    remark = "The last column has n."
    head = ["strategy: backbone", "seeds", "stages and trained parameters", "parameters", "epochs", "time"]
    head += ["validation", "test", "95 % interval, n"]
    if is_imbalanced:
        remark = f"The majority baseline of test accuracy is {percent(groups[0].best.test.majority_baseline)}."
        head += ["balanced validation", "balanced test"]
    caption = f"Fine-tuned models, the best {NAMES[data_set.objective]} first. {describe_seeds(groups)} {remark}"
    return Table(caption, f"lrl{'r' * (len(head) - 3)}", head, rows)


def _draw_class_differences(scratch: SeedGroup, tuned: SeedGroup, figures: FigureFolder) -> list[Block]:
    """Draws the paired difference of each class between the best runs."""
    first = scratch.best.predictions
    second = tuned.best.predictions
    differences = compare_classes(first, second, tuned.best.data.classes) if first and second else []
    if not differences:
        return []
    shown = ""
    if len(differences) > MAX_CLASSES:
        half = MAX_CLASSES // 2
        shown = f" Shown are the {half} largest and the {half} smallest differences of {len(differences)} classes."
        differences = differences[:half] + differences[-half:]
    num_significant = sum(difference.excludes_zero for _, difference in differences)
    values = [f"{name} {formatting.percentage_points(difference)[0]}" for name, difference in differences]
    label = f"difference in recall, in percentage points, with 95{SPACE}% interval"
    return [
        figures.add(
            "class-differences",
            partial(charts.draw_forest_plot, differences, label, in_points=True),
            f"Difference by class, in percentage points: {', '.join(values)}.",
            f"“{tuned.title}” minus “{scratch.title}”, class by class on the same test images, for the run of each "
            f"with the best {NAMES[tuned.objective]}.{shown} Filled: the interval excludes zero ({num_significant} of "
            f"{len(differences)}). By chance alone, one in twenty 95 % intervals would. These are two trained "
            "models: the intervals do not cover the variation over seeds.",
        )
    ]
