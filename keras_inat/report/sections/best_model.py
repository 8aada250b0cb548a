"""Best model from scratch, best fine-tuned model: one trained model in detail."""

from keras_inat.report.blocks import Heading, Prose, Section
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.sections import (
    calibration,
    confusion_matrix,
    example_predictions,
    filters_and_attribution,
    learning_curves,
)
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.settings.schema import Report

TITLES = {"train-best": "Best model from scratch", "finetune": "Best fine-tuned model"}


def describe_best_model(group: SeedGroup, figures: FigureFolder, settings: Report) -> Section:
    """Returns the section on the run of a group with the best validation accuracy."""
    run = group.best
    section = Section(TITLES[run.command])
    section.blocks = [
        Heading(learning_curves.TITLE),
        *learning_curves.describe_learning_curves(group, figures),
    ]
    predictions = run.read_predictions()
    if predictions is None:
        section.blocks.append(Prose(f"The predictions of `{run.title}` are not on disk, so they are not shown."))
        return section
    section.blocks += [
        Heading(example_predictions.TITLE),
        *example_predictions.describe_example_predictions(run, predictions, figures),
        Heading(confusion_matrix.TITLE),
        *confusion_matrix.describe_confusion_matrix(run, predictions, figures),
        Heading(calibration.TITLE),
        *calibration.describe_calibration(run, predictions, figures),
        Heading(filters_and_attribution.TITLE),
        *filters_and_attribution.describe_filters_and_attribution(run, predictions, figures, settings),
    ]
    return section
