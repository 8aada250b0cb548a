"""Fine-tuning: every fine-tuned configuration with its stages, its accuracy and its cost."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Picture, Prose, Section, Table
from keras_inat.report.charts.comparison import ComparedModel, draw_accuracies, draw_costs
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import SPACE, percent
from keras_inat.report.history import DataSet
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.report.statistics.accuracy import compare_groups, estimate_test_accuracy, estimate_validation_accuracy
from keras_inat.report.statistics.estimates import Estimate

TITLE = "Fine-tuning"


def describe_fine_tuning(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section on the fine-tuned configurations."""
    groups = data_set.find_groups("finetune")
    if not groups:
        text = "No model was fine-tuned on these images yet. Run `make finetune STRATEGY=head` (or topk, full)."
        return Section(TITLE, [Prose(text)])
    models = list_models(groups)
    blocks: list[Block] = [
        _tabulate_configurations(groups),
        draw_model_accuracies("fine-tuning", models, data_set, figures),
    ]
    if len(models) > 1:
        caption = (
            "Cost of accuracy: higher and further to the left is better. Bars are the intervals of the table above. "
            "Points that would cover each other are moved to the right, in their order. The features of a frozen "
            "backbone are cached. The time to compute them counts in the first run that needs them."
        )
        alt = f"Test accuracy against trained parameters and against training time, of {join_models(models)}."
        blocks.append(figures.add("costs", draw_costs(models), alt, caption))
        reference = "the configuration with the best validation accuracy"
        blocks += tabulate_differences(groups[0], groups[1:], name_groups(groups)[1:], reference)
    return Section(TITLE, blocks)


def name_groups(groups: Sequence[SeedGroup]) -> list[str]:
    """Returns unique titles: with the name of the run if several groups have one title, then with a number."""
    num_uses = Counter(group.title for group in groups)
    names = []
    for group in groups:
        is_unique = num_uses[group.title] == 1
        names.append(group.title if is_unique else f"{group.title} ({group.best.name})")
    seen = Counter[str]()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name} #{seen[name]}"
    return names


def list_models(groups: Sequence[SeedGroup]) -> list[ComparedModel]:
    """Returns the groups as the charts take them."""
    models = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        models.append(
            ComparedModel(
                title=title,
                accuracy=estimate_test_accuracy(group),
                seeds=[run.test.accuracy for run in group.runs],
                scratch=group.command == "train-best",
                parameters=group.best.trained_parameters,
                seconds=float(np.mean([run.result.seconds for run in group.runs])),
                epochs=group.best.folder.read_epochs(),
            )
        )
    return models


def join_models(models: Sequence[ComparedModel]) -> str:
    """Returns the titles and the accuracies of models as text."""
    return "; ".join(f"{model.title} ({percent(model.accuracy.value)})" for model in models)


def draw_model_accuracies(name: str, models: list[ComparedModel], data_set: DataSet, figures: FigureFolder) -> Picture:
    """Draws the test accuracies of models, with that of guessing if one was trained from scratch."""
    counts = data_set.data.per_class.test if data_set.data else (0,)
    caption = f"n = {sum(counts):,} test images, the same for all models."
    chance = None
    if any(model.scratch for model in models):
        chance = max(counts) / max(sum(counts), 1)
        caption += f" Guessing the most frequent class has an accuracy of {percent(chance)}."
    if any(len(model.seeds) > 1 for model in models):
        caption += " Small points are seeds. With several seeds, the intervals cover the variation over seeds as well."
    return figures.add(name, draw_accuracies(models, chance), f"Test accuracy: {join_models(models)}.", caption)


def tabulate_differences(
    base: SeedGroup, others: Sequence[SeedGroup], titles: Sequence[str], reference: str
) -> list[Block]:
    """Tabulates the paired differences of groups from `base`. Returns nothing if no predictions can be compared."""
    rows = []
    has_seeds = False
    for group, title in zip(others, titles, strict=True):
        difference = compare_groups(base, group)
        if difference:
            sample = f"{difference.num:,}{SPACE}{difference.unit}"
            rows.append([title, *formatting.percentage_points(difference), sample, _describe_difference(difference)])
            has_seeds = has_seeds or difference.unit == "seeds"
    if not rows:
        return []
    caption = (
        f"Paired differences in test accuracy relative to {reference} (`{base.best.title}`), on the same test images. "
        "Intervals over n images do not cover the variation over seeds."
    )
    if has_seeds:
        caption += " Intervals over n seeds cover the variation over seeds and over images."
    caption += " The intervals are not simultaneous: one in twenty would exclude zero by chance."
    return [Table(caption, "lrrrl", ["model", "points", "95 % interval", "n", "result"], rows)]


def _tabulate_configurations(groups: Sequence[SeedGroup]) -> Table:
    rows = []
    for group, title in zip(groups, name_groups(groups), strict=True):
        result = group.best.result
        accuracy = estimate_test_accuracy(group)
        stages = [f"{stage.stage} {formatting.abbreviate(stage.parameters)}" for stage in result.stages]
        rows.append(
            [
                title,
                f"{len(group.runs)}",
                " → ".join(stages),
                f"{result.parameters:,}",
                f"{result.epochs:,}",
                formatting.duration(result.seconds),
                percent(estimate_validation_accuracy(group).value),
                percent(accuracy.value),
                f"{formatting.interval(accuracy)}, {accuracy.num:,}{SPACE}{accuracy.unit}",
            ]
        )
    caption = (
        "Fine-tuned configurations, the best validation accuracy first. The last column has n. A 95 % interval over n "
        "images covers the variation over test images. Over n seeds it covers the variation over seeds as well."
    )
    head = ["strategy: backbone", "seeds", "stages and trained parameters", "parameters", "epochs", "time"]
    return Table(caption, "lrlrrrrrr", [*head, "validation", "test", "95 % interval, n"], rows)


def _describe_difference(difference: Estimate) -> str:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "not significant"
