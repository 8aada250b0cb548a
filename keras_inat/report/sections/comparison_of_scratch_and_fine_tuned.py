"""Comparison of scratch and fine-tuned: accuracies, learning curves over time, and differences by class."""

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose, Section
from keras_inat.report.charts.classification import MAX_CLASSES
from keras_inat.report.charts.comparison import draw_forest_plot
from keras_inat.report.charts.learning_curves import draw_validation_by_time
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.history import DataSet
from keras_inat.report.sections.fine_tuning import (
    draw_model_accuracies,
    join_models,
    list_models,
    name_groups,
    tabulate_differences,
)
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.report.statistics.accuracy import compare_classes, compare_groups
from keras_inat.report.statistics.estimates import Estimate

TITLE = "Comparison of scratch and fine-tuned"
CLASS_LABEL = f"difference in recall, in percentage points, with 95{formatting.SPACE}% interval"


def describe_comparison(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section that compares models from scratch with fine-tuned ones, on the same test images."""
    scratch = data_set.find_groups("train-best")
    tuned = data_set.find_groups("finetune")
    if not scratch or not tuned:
        command = "make finetune" if scratch else "make train-best"
        text = f"The comparison needs a model from scratch and a fine-tuned one on these images. Run `{command}`."
        return Section(TITLE, [Prose(text)])
    models = list_models([*tuned, *scratch])
    best_models = models[: len(tuned) + 1]  # the best one from scratch is the last
    return Section(
        TITLE,
        [
            draw_model_accuracies("scratch-and-fine-tuned", models, data_set, figures),
            figures.add(
                "validation-by-time",
                draw_validation_by_time(best_models),
                f"Validation accuracy against training time, of {join_models(best_models)}.",
                "Learning curves over training time, of the best run of each configuration. The head of a frozen "
                "backbone trains on cached features, within seconds. The time to compute them is not included.",
            ),
            *tabulate_differences(scratch[0], tuned, name_groups(tuned), "the best configuration from scratch"),
            *_draw_class_differences(scratch[0], tuned[0], figures),
        ],
    )


def compare_scratch_and_fine_tuned(data_set: DataSet) -> Estimate | None:
    """Returns the test accuracy of the best fine-tuned configuration minus that of the best one from scratch.

    Returns:
        None if one of them or its predictions are missing.
    """
    scratch = data_set.find_groups("train-best")
    tuned = data_set.find_groups("finetune")
    return compare_groups(scratch[0], tuned[0]) if scratch and tuned else None


def _draw_class_differences(scratch: SeedGroup, tuned: SeedGroup, figures: FigureFolder) -> list[Block]:
    """Draws the paired difference of each class between the best runs."""
    first = scratch.best.read_predictions()
    second = tuned.best.read_predictions()
    if not first or not second:
        return []
    differences = compare_classes(first, second, tuned.best.data.classes)
    if not differences:
        return []
    num_classes = len(differences)
    shown = ""
    if num_classes > MAX_CLASSES:
        half = MAX_CLASSES // 2
        differences = differences[:half] + differences[-half:]
        shown = f" Shown are the {half} largest and the {half} smallest differences of {num_classes} classes."
    num_significant = sum(difference.excludes_zero for _, difference in differences)
    values = [f"{name} {formatting.percentage_points(difference)[0]}" for name, difference in differences]
    caption = (
        f"“{tuned.title}” minus “{scratch.title}”, class by class on the same test images, for the run of each with "
        f"the best validation accuracy.{shown} Filled: the interval excludes zero ({num_significant} of "
        f"{len(differences)}). By chance alone, one in twenty 95 % intervals would. The intervals do not cover the "
        "variation over seeds."
    )
    return [
        figures.add(
            "class-differences",
            draw_forest_plot(differences, CLASS_LABEL, in_points=True),
            f"Difference by class, in percentage points: {', '.join(values)}.",
            caption,
        )
    ]
