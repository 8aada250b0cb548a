"""Learning curves: accuracy and loss of the best models over their epochs."""

from functools import partial

from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Prose, Section
from keras_inat.reporting.charts.comparison import draw_training
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import plural
from keras_inat.reporting.history import STUDENT, DataSet, SeedGroup
from keras_inat.reporting.sections.trained_models import TITLES, choose_groups, place_beside
from keras_inat.reporting.statistics.accuracy import describe_test_accuracy
from keras_inat.store.balance import NAMES

TITLE = "Learning curves"
LEAD = (
    "Accuracy and loss after each epoch. Training accuracy is measured on augmented images while the weights still "
    "change, so it may be lower than validation accuracy. Label smoothing, mixing and "
    "co-distillation, where used, raise the training loss above the validation loss."
)
LEAD_ON_TEACHERS = "With a teacher, the training loss is on another scale: it compares with the teacher's predictions."


def describe_learning_curves(data_set: DataSet, figures: FigureFolder) -> Section:
    """Returns the section on the training of the best run of each group, with the curves of its other seeds."""
    groups = choose_groups(data_set)
    columns = [_describe_training(group, figures) for group in groups.values()]
    lead = f"{LEAD} {LEAD_ON_TEACHERS}" if STUDENT in groups else LEAD
    return Section(TITLE, place_beside([TITLES[command] for command in groups], columns), lead=lead)


def _describe_training(group: SeedGroup, figures: FigureFolder) -> list[Block]:
    run = group.best
    result = run.result
    num_seeds = len(group.runs)
    selected_by = NAMES[group.objective]
    seeds = f", the best of {plural(num_seeds, 'seed')} by {selected_by}" if num_seeds > 1 else ""
    # Epochs are numbered as planned, even if a stage ended early and omitted some.
    epochs = plural(result.epochs, "epoch")
    if result.epochs < result.planned_epochs:
        epochs = f"{result.epochs} of {plural(result.planned_epochs, 'epoch')}"
    text = (
        f"`{run.title}` (seed {result.seed}{seeds}) trained for {epochs} in {formatting.duration(result.seconds)}. The "
        f"weights of epoch {result.best_epoch} were kept, because they have the best {selected_by}. This "
        f"{group.subject} has a test accuracy of {describe_test_accuracy(group)}."
    )
    if run.predictions is None:
        text += " Its predictions are not on disk, so they are not shown."
    curve = run.read_epochs()
    if not curve:
        return [Prose(text)]
    others = [other.read_epochs() for other in group.runs if other is not run]
    picture = figures.add(
        f"{run.command}-learning-curves",
        partial(draw_training, curve, result.best_epoch, [other for other in others if other], run.data.is_imbalanced),
        f"Training and validation accuracy and loss over {epochs}.",
        "Dotted line: the epoch whose weights were kept."
        + (" Pale lines: the validation curves of the other seeds." if num_seeds > 1 else ""),
    )
    return [picture, Prose(text)]
