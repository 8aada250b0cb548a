"""The records: everything that crosses a file or a process boundary, each declared once, with every field's meaning."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from keras_inat.errors import describe_os_error
from keras_inat.files import read_regular, write_json
from keras_inat.log import warn
from keras_inat.settings.catalog import name_places
from keras_inat.settings.places import name_path
from keras_inat.settings.schema import Config, Fit
from keras_inat.store import balance
from keras_inat.store.balance import Objective
from keras_inat.store.checksums import WRONG, add_checksum, hash_values, parse_record

FITS: dict[Fit, str] = {
    "crop": "the centered square of the upright image, resized",
    "pad": "the whole upright image, resized and padded with gray to a square",
    "squash": "the whole upright image, resized to a square without its aspect ratio",
}
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0)]
Interval = tuple[Fraction, Fraction]  # the ends of a 95 % interval of a fraction
Status = Literal["running", "completed", "pruned", "failed"]


class Stored(pydantic.BaseModel):
    """An immutable record. Reading one checks its checksum and every field, and refuses unknown fields."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def write(self, path: Path) -> None:
        """Writes the record as JSON, whole or not at all, with its checksum."""
        write_json(path, add_checksum(self.model_dump(mode="json")))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            ValueError: The file is not a record of this kind, or it was changed.
            OSError: There is no such file, or it cannot be read.
        """
        return cls.model_validate(parse_record(read_regular(path)))

    @classmethod
    def read_if_sound(cls, path: Path) -> Self | None:
        """Reads a record. Returns None where there is none and, with a warning, where it is damaged or unreadable."""
        try:
            return cls.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            warn(describe_os_error(error, "read", str(path)))
        except ValueError:
            warn(f"{path} {WRONG}, and is skipped")
        return None


class SkippedFile(Stored):
    """A file that is not used."""

    path: str  # the path relative to the source
    reason: str  # a phrase that follows "it", such as "is not an image"


class DuplicatePair(Stored):
    """Two files that show the same picture."""

    path: str  # the second file, relative to the source
    of: str  # the first file
    similarity: float  # correlation of the aligned images; 1 for identical contents
    cells: Count  # parts of the aligned images that were compared; 0 for identical contents
    agreeing_cells: Count  # parts with the same details
    mirrored: bool  # true if one is the mirror image of the other
    same_class: bool  # true if both lie in folders of the same class
    rows: tuple[int, int]  # indices of `of` and `path` among all files; the test files come first


class DuplicateCounts(Stored):
    """Numbers of pairs of duplicates, by kind."""

    identical: Count
    near: Count
    mirrored: Count
    of_another_class: Count
    train_and_test: Count


class SplitCounts(Stored):
    """Numbers of images or files, by split."""

    train: Count
    validation: Count = 0  # 0 as long as the validation images are not split off from the training images
    test: Count


class ClassCounts(Stored):
    """Numbers of usable images of each class, by split."""

    train: tuple[Count, ...]
    validation: tuple[Count, ...] = ()  # empty if the validation images are split off from the training images
    test: tuple[Count, ...]


class Preparation(Stored):
    """The conversion of an image file to the square of 8-bit pixels that a model sees."""

    fit: Fit = "crop"  # `data.fit`
    bit_depth: int = 16  # bits that the values of 16-bit pixels use
    float_range: float = 1.0  # value of floating-point pixels that becomes white

    @property
    def white(self) -> int:
        """The value of 16-bit pixels that becomes white."""
        return 2**self.bit_depth - 1

    @property
    def description(self) -> str:
        """The square as a phrase."""
        return FITS[self.fit]


class Origins(Stored):
    """The place of each split's images in the source, such as `val/` or `labels.csv (test)`."""

    train: str = "train/"
    validation: str | None = None  # None: split off from the training images
    test: str | None = None  # None: split off from the training images

    def describe(self, val_fraction: float, test_fraction: float) -> str:
        """Returns the origins in one line: `train from train/, validation split off (0.2 of them), test from val/`."""
        validation = f"from {self.validation}" if self.validation else f"split off ({val_fraction:g} of them)"
        test = f"from {self.test}" if self.test else f"split off first ({test_fraction:g} of all)"
        return f"train from {self.train}, validation {validation}, test {test}"


class TableSettings(Stored):
    """The table that gives the classes, and its columns, where the user has named them."""

    path: str | None = None  # path of the table in the source
    file: str | None = None  # the column of file names
    label: str | None = None  # the column of classes
    split: str | None = None  # the column of splits


class Manifest(Stored):
    """The summary of a pack: its images, classes, skipped files and duplicates."""

    name: str  # name of the data set, taken from its folder or archive
    variant: str = ""  # settings that tell packs of one source apart, in the name of the pack
    source: str  # absolute path of the folder or archive
    table: TableSettings = TableSettings()  # the table of classes, where the user has named one
    origins: Origins = Origins(test="val/")  # the place of each split's images
    test_fraction: float | None = None  # fraction of the images that was split off for the test; None if given
    near_duplicates: bool  # true if images that only look the same count as duplicates
    hash: str  # hash of the contents, classes and splits of the usable images
    classes: tuple[str, ...]  # sorted class names
    files: SplitCounts  # number of files by split, usable or not
    counts: SplitCounts  # number of usable images by split
    per_class: ClassCounts  # number of usable images by split and class
    formats: dict[str, Count]  # number of files by image format
    traits: dict[str, Count]  # number of files by unusual trait, such as "CMYK"
    reasons: dict[str, Count]  # number of quarantined files by reason
    num_quarantined: Count  # number of files that cannot be decoded
    # Number of training images that are duplicates of a test image or of a given validation image, and of given
    # validation images that are duplicates of a test image.
    num_leaked: Count
    # Number of usable training and validation images that `data.exclude` names. The other counts do not include them.
    num_excluded: Count = 0
    num_duplicates: DuplicateCounts  # number of duplicate pairs
    bit_depth: int = 16  # bits that the values of 16-bit pixels use
    float_range: float = 1.0  # value of floating-point pixels that becomes white
    # Files that cannot be decoded. `scan.json` lists all, a summary the first ones.
    quarantined: tuple[SkippedFile, ...] = ()
    leaked: tuple[SkippedFile, ...] = ()  # the images that `num_leaked` counts, listed likewise
    duplicates: tuple[DuplicatePair, ...] = ()  # duplicate pairs, listed likewise

    @property
    def hash_without_source(self) -> str:
        """The SHA-256 of all fields but the path of the source."""
        return hash_values(self.model_dump(mode="json", exclude={"source"}))

    @property
    def is_imbalanced(self) -> bool:
        """True if balanced accuracy is worth showing beside accuracy."""
        return balance.is_imbalanced(self.per_class.train) or balance.is_imbalanced(self.per_class.test)


class PackFiles(Stored):
    """The checksums of a pack, `checksums.json`."""

    folder: str  # the name of the pack, which tells its settings
    key: str  # hash of the files of the source
    manifest: str  # SHA-256 of `manifest.json` without the path of the source, which changes when the images are moved
    files: dict[str, str]  # SHA-256 of the other files, by name


class DataSummary(Manifest):
    """The data of a run: the pack's manifest, the image size and the counts after the validation split.

    Its `source` is as records have it; see `name_path`.
    """

    image_size: Count  # side in pixels of the model's input images
    validation_hash: str  # hash of the contents of the validation images
    fit: Fit = "crop"  # conversion of images that are not square

    @pydantic.field_validator("source")
    @classmethod
    def _name_source(cls, value: str) -> str:
        return name_path(value)

    @property
    def preparation(self) -> Preparation:
        """The conversion of image files to the model's input."""
        return Preparation(fit=self.fit, bit_depth=self.bit_depth, float_range=self.float_range)


class Epoch(Stored):
    """One epoch of a run, a line of `metrics.jsonl`."""

    epoch: Count  # number of the epoch, from 1, counted over all stages
    stage: str  # name of the stage that it belongs to
    loss: NonNegative  # mean training loss, on augmented images and while the weights change
    accuracy: Fraction  # training accuracy, measured in the same way
    val_loss: NonNegative  # mean negative log-likelihood of the validation images
    val_accuracy: Fraction  # validation accuracy
    val_balanced_accuracy: Fraction  # mean recall of the classes on the validation images
    learning_rate: NonNegative  # at the end of the epoch
    seconds: NonNegative  # duration of the epoch, validation included
    images_per_second: NonNegative  # training images per second, validation excluded


class StageSummary(Stored):
    """A stage of a training run: the layers that it trained and their learning rates."""

    stage: str  # its name
    parameters: Count  # trainable parameters
    learning_rate: NonNegative  # of the head, or of the whole network trained from scratch
    layers: int | None = None  # trainable layers of the backbone that have kernels; None from scratch
    # Highest and lowest learning rate of the backbone's layers; empty when it is frozen.
    backbone_rates: tuple[NonNegative, ...] = ()


class FlipScores(Stored):
    """Scores with test-time augmentation: predictions averaged over each image and its horizontal flip."""

    val_accuracy: Fraction
    val_balanced_accuracy: Fraction
    test_accuracy: Fraction
    test_interval: Interval
    test_balanced_accuracy: Fraction
    test_balanced_interval: Interval


class EvaluationScores(Stored):
    """The scores of the final evaluation."""

    accuracy: Fraction  # on the test images
    interval: Interval  # its 95 % interval over images
    balanced_accuracy: Fraction  # mean recall of the classes that have test images
    balanced_interval: Interval  # its 95 % interval over images
    majority_baseline: Fraction  # fraction of the test images that belong to their most frequent class
    num_images: Count  # number of test images
    images_per_class: tuple[Count, ...]  # number of test images of each class
    correct_per_class: tuple[Count, ...]  # number of them that are classified correctly
    flip: FlipScores | None = None  # the scores with test-time augmentation, if the run was configured for it


class Result(Stored):
    """The outcome of a run, `result.json`."""

    command: str  # the command that made the run
    name: str  # `run.name`
    created: str  # end of the run, UTC, ISO 8601
    config: Config  # the configuration of the run
    seed: int  # `run.seed`
    objective: Objective  # the score that selected the best epoch
    val_accuracy: Fraction  # validation accuracy of the best epoch
    val_balanced_accuracy: Fraction  # mean recall of the classes on the validation images, in the best epoch
    val_majority_baseline: Fraction  # fraction of the validation images that belong to their most frequent class
    best_epoch: Count  # the epoch with the best score
    epochs: Count  # number of epochs trained
    planned_epochs: Count  # number of epochs that were planned
    seconds: NonNegative  # duration of the training
    images_per_second: NonNegative  # median over the epochs
    parameters: Count  # parameters of the network
    macs: Count  # multiply-accumulates for one image
    precision: str  # Keras's dtype policy during training
    weights_hash: str  # SHA-256 of the file of initial weights; empty where there is none
    teacher_hash: str  # SHA-256 of the teacher's model file; empty without a teacher
    stages: tuple[StageSummary, ...]  # the stages of the training
    data: DataSummary  # the images
    packages: dict[str, str]  # versions of this program, of Python and of the packages that decide a result
    device: str  # the devices of the training, such as `2 x NVIDIA H200`
    commit: str | None  # of the program's own checkout; None if there is none
    pruned: bool = False  # whether the run is a trial that was stopped early
    test: EvaluationScores | None = None  # the scores on the test images; None for runs that must not see them
    # Fitted on the validation images; softmax(log(probabilities) / temperature) is calibrated. None: not fitted.
    temperature: Annotated[float, Field(gt=0)] | None = None
    folder: str = ""  # the name of the folder of a finished run
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of the other files of a finished run, by name

    @pydantic.field_serializer("config")
    def _name_places(self, config: Config, info: pydantic.FieldSerializationInfo) -> dict[str, Any]:
        return name_places(config).model_dump(mode=info.mode)

    @property
    def strategy(self) -> str:
        """The fine-tuning strategy, or `scratch`, or `scratch with a teacher`."""
        if self.config.finetune:
            return self.config.finetune.strategy
        return "scratch with a teacher" if self.config.training.teacher else "scratch"

    @property
    def val_score(self) -> float:
        """The score on the validation images that selected the best epoch."""
        return balance.read_score(self.objective, self)

    @property
    def test_scores(self) -> EvaluationScores:
        """The scores on the test images, of a run that was evaluated on them."""
        if self.test is None:
            raise ValueError(f"the run {self.name!r} of {self.command!r} was not evaluated on the test images")
        return self.test


class Trial(Stored):
    """One configuration of a sweep and its outcome, `trial.json`."""

    id: str  # its number, zero-padded
    values: dict[str, Any]  # hyperparameters as KerasTuner encodes them
    settings: dict[str, Any]  # the same as settings, by dotted name. A setting that does not apply is missing
    sweep: str = ""  # hash of the sweep's space, settings and images
    status: Status = "running"  # "running", "completed", "pruned" or "failed"
    objective: Objective = "accuracy"  # the score that selects among epochs and trials
    # Best score of its epochs on the validation images; None if it has failed, or until its training has ended once.
    score: Fraction | None = None
    epochs: Count | None = None  # epochs trained
    val_accuracies: tuple[Fraction, ...] = ()  # validation accuracy of each epoch
    val_balanced_accuracies: tuple[Fraction, ...] = ()  # mean recall of the classes in each epoch
    val_majority_baseline: Fraction | None = None  # fraction of the validation images in their most frequent class
    seconds: NonNegative | None = None  # duration of the training
    parameters: Count | None = None  # parameters of the network
    macs: Count | None = None  # multiply-accumulates for one image
    started: str = ""  # UTC, ISO 8601
    ended: str = ""  # UTC, ISO 8601
    error: str = ""  # the reason of a failure, in one line

    @property
    def best_accuracies(self) -> tuple[float, float] | None:
        """Accuracy and balanced accuracy on the validation images in the best epoch; None before the first epoch."""
        if not self.curve:
            return None
        epoch = self.curve.index(self.curve[-1])
        return self.val_accuracies[epoch], self.val_balanced_accuracies[epoch]

    def describe_balance(self) -> str:
        """Returns its validation accuracy, balanced accuracy and baseline as text; empty before the first epoch."""
        if not self.best_accuracies:
            return ""
        accuracy, balanced = self.best_accuracies
        baseline = self.val_majority_baseline or 0.0
        return f"accuracy {accuracy:.1%}, balanced {balanced:.1%}, majority baseline {baseline:.1%}"

    @property
    def curve(self) -> list[float]:
        """Best score up to and including each epoch."""
        return build_curve(balance.select(self.objective, self.val_accuracies, self.val_balanced_accuracies))


def build_curve(scores: Iterable[float]) -> list[float]:
    """Returns the best score up to and including each epoch."""
    return list(itertools.accumulate(scores, max))


def find_best(trials: list[Trial]) -> Trial | None:
    """Returns the completed trial with the best score, the earliest among equals."""
    completed = [trial for trial in trials if trial.status == "completed" and trial.score is not None]
    return max(completed, key=lambda trial: trial.score or 0.0, default=None)
