"""Learning curves: accuracy and loss of a run by epoch."""

from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Prose
from keras_inat.report.charts.learning_curves import draw_training
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent_with_interval, plural
from keras_inat.report.seed_groups import SeedGroup
from keras_inat.report.statistics.accuracy import estimate_test_accuracy

TITLE = "Learning curves"


def describe_learning_curves(group: SeedGroup, figures: FigureFolder) -> list[Block]:
    """Describes the training of the best run of a group, with the curves of the other seeds."""
    run = group.best
    result = run.result
    seeds = ""
    if len(group.runs) > 1:
        seeds = f", the best of {plural(len(group.runs), 'seed')} by validation accuracy"
    # Epochs are numbered as planned, even if a stage ended early and omitted some.
    epochs = plural(result.epochs, "epoch")
    if result.epochs < result.planned_epochs:
        epochs = f"{result.epochs} of {plural(result.planned_epochs, 'epoch')}"
    blocks: list[Block] = [
        Prose(
            f"`{run.title}` (seed {result.seed}{seeds}) trained for {epochs} in {formatting.duration(result.seconds)}. "
            f"The weights of epoch {result.best_epoch} were kept, because they have the best validation accuracy. The "
            f"test accuracy of this configuration is {percent_with_interval(estimate_test_accuracy(group))}."
        )
    ]
    curve = run.folder.read_epochs()
    if curve:
        others = [other.folder.read_epochs() for other in group.runs if other is not run]
        blocks.append(
            figures.add(
                f"{run.command}-learning-curves",
                draw_training(curve, result.best_epoch, [other for other in others if other]),
                f"Training and validation accuracy and loss over {epochs}.",
                "Training accuracy is measured on augmented images while the weights still change, so it may be lower "
                "than validation accuracy. The targets of the training loss are softened by label smoothing, mixing "
                "and co-distillation, so it may be higher than the validation loss.",
            )
        )
    return blocks
