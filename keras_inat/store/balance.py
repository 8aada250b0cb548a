"""The balance of classes: recall by class, the majority baseline and the score that selects epochs, trials and runs.

Recall is the fraction of the images of a class that are predicted as this class. Balanced accuracy is the mean recall
of the classes that have images (Brodersen et al. 2010, doi:10.1109/ICPR.2010.764). Each class has the same weight in
it, whatever its number of images. On classes of equal size it equals accuracy.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeVar

Objective = Literal["accuracy", "balanced_accuracy"]
T = TypeVar("T")

# Balanced accuracy is shown beside accuracy if the largest class has more than this many times the smallest.
SHOWN_RATIO = 1.5
# With `training.objective`=auto, balanced accuracy selects if the ratio of the training images is larger than this.
SELECTING_RATIO = 3.0
# The score that selects, as text. It is measured on the validation images.
NAMES: dict[Objective, str] = {
    "accuracy": "validation accuracy",
    "balanced_accuracy": "balanced validation accuracy",
}


class Validated(Protocol):
    """A record of scores on the validation images."""

    @property
    def val_accuracy(self) -> float: ...

    @property
    def val_balanced_accuracy(self) -> float: ...


def select(objective: Objective, accuracy: T, balanced_accuracy: T) -> T:
    """Returns the one that the objective names. Everything that selects goes through here."""
    return balanced_accuracy if objective == "balanced_accuracy" else accuracy


def read_score(objective: Objective, record: Validated) -> float:
    """Returns the score of an epoch or of a run that selects."""
    return select(objective, record.val_accuracy, record.val_balanced_accuracy)


def choose_objective(setting: str, training_counts: Sequence[int]) -> Objective:
    """Returns the score that `training.objective` means for classes with these numbers of images in `train/`."""
    if setting == "accuracy":
        return "accuracy"
    if setting == "balanced_accuracy" or measure_ratio(training_counts) > SELECTING_RATIO:
        return "balanced_accuracy"
    return "accuracy"


def choose_common(objectives: Iterable[Objective]) -> Objective:
    """Returns the score that compares runs with these objectives: balanced accuracy if any was selected by it."""
    return "balanced_accuracy" if "balanced_accuracy" in set(objectives) else "accuracy"


def describe_objective(setting: str, objective: Objective, training_counts: Sequence[int]) -> str:
    """Returns a line that names the objective and its reason; empty for the usual one, accuracy by default."""
    if setting != "auto":
        return f"training.objective={setting}: the {NAMES[objective]} selects" if setting != "accuracy" else ""
    if objective == "accuracy":
        return ""
    return (
        f"the largest class has {measure_ratio(training_counts):.1f} times as many training images as the smallest, so "
        f"the {NAMES[objective]} selects (training.objective=accuracy selects by accuracy)"
    )


def measure_ratio(counts: Sequence[int]) -> float:
    """Returns the number of images of the largest class divided by that of the smallest one that has images."""
    present = [count for count in counts if count]
    return max(present) / min(present) if present else 1.0


def is_imbalanced(counts: Sequence[int]) -> bool:
    """Returns True if balanced accuracy is worth showing beside accuracy."""
    return measure_ratio(counts) > SHOWN_RATIO


def measure_baseline(counts: Sequence[int]) -> float:
    """Returns the majority baseline, the accuracy of predicting the most frequent class for every image."""
    return max(counts) / sum(counts)
