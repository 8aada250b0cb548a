"""With a teacher: the CNNs that learned from the predictions of another run, beside those that learned from labels."""

from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Section, Table
from keras_inat.reporting.formatting import SPACE, percent, setting_value
from keras_inat.reporting.history import STUDENT, DataSet
from keras_inat.reporting.sections.fine_tuning import list_models
from keras_inat.reporting.sections.paired_differences import describe_seeds, tabulate_differences
from keras_inat.store.balance import NAMES

TITLE = "With a teacher"
LEAD = (
    "CNNs that learned from the predictions of a teacher, another finished run, for the same augmented images "
    "(Beyer et al. 2022). Through its teacher, a CNN gets what the teacher's pretraining knows, so it is not compared "
    "as a model from scratch."
)


def describe_distillation(data_set: DataSet) -> Section:
    """Returns the section on the models with a teacher, each with all of its seeds."""
    students = data_set.find_groups(STUDENT)
    scratch = data_set.find_groups("train-best")
    models = list_models(students)
    is_imbalanced = students[0].best.data.is_imbalanced
    rows = []
    for group, model in zip(students, models, strict=True):
        result = group.best.result
        training = result.config.training
        balanced = [percent(group.val_balanced_accuracy), percent(group.test_balanced_accuracy)]
        rows.append(
            [
                model.title,
                f"{len(group.runs)}",
                group.best.teacher,
                setting_value(training.distillation_temperature),
                setting_value(training.teacher_weight),
                f"{result.epochs:,}",
                formatting.duration(result.seconds),
                percent(group.val_accuracy),
                percent(model.accuracy.value),
                f"{formatting.interval(model.accuracy)}, {model.accuracy.num:,}{SPACE}{model.accuracy.unit}",
                *(balanced if is_imbalanced else []),
            ]
        )
    head = ["model", "seeds", "teacher", "temperature", "weight", "epochs", "time", "validation", "test"]
    head += ["95 % interval, n", *(["balanced validation", "balanced test"] if is_imbalanced else [])]
    caption = f"Models with a teacher, the best {NAMES[data_set.objective]} first. {describe_seeds(students)}"
    blocks: list[Block] = [Table(caption, f"lrl{'r' * (len(head) - 3)}", head, rows)]
    if scratch:
        titles = [model.title for model in models]
        blocks += tabulate_differences(scratch[0], students, titles, f"the best {scratch[0].subject} from scratch")
    return Section(TITLE, blocks, lead=LEAD)
