"""The outcome of a run: its epochs, its result and its scores on the test images."""

from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import DataSummary
from keras_inat.store.stored import Stored

Interval = tuple[float, float]  # the ends of a 95 % interval


class Epoch(Stored):
    """One epoch of a run, a line of `metrics.jsonl`.

    Attributes:
        epoch: Number of the epoch, from 1, counted over all stages.
        stage: Name of the stage that it belongs to.
        loss: Mean training loss, on augmented images and while the weights change.
        accuracy: Training accuracy, measured in the same way.
        val_loss: Mean negative log-likelihood of the validation images.
        val_accuracy: Validation accuracy.
        learning_rate: At the end of the epoch.
        seconds: Duration of the epoch, validation included.
        images_per_second: Training images per second, validation excluded.
    """

    epoch: int
    stage: str
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float


class StageSummary(Stored):
    """A stage of a training run: the layers that it trained and their learning rates.

    Attributes:
        stage: Its name.
        parameters: Trainable parameters.
        learning_rate: Of the head, or of the whole network trained from scratch.
        layers: Trainable layers of the backbone that have kernels; None from scratch.
        backbone_rates: Highest and lowest learning rate of the backbone's layers; empty when it is frozen.
    """

    stage: str
    parameters: int
    learning_rate: float
    layers: int | None = None
    backbone_rates: tuple[float, ...] = ()


class FlipScores(Stored):
    """Scores with test-time augmentation: predictions averaged over each image and its horizontal flip."""

    val_accuracy: float
    test_accuracy: float
    test_interval: Interval


class EvaluationScores(Stored):
    """The scores of the final evaluation.

    Attributes:
        accuracy: On the test images.
        interval: Its 95 % interval over images.
        num_images: Number of test images.
        flip: The scores with test-time augmentation, if the run was configured for it.
    """

    accuracy: float
    interval: Interval
    num_images: int
    flip: FlipScores | None = None


class Result(Stored):
    """The outcome of a run, `result.json`.

    Attributes:
        command: The command that made the run.
        name: `run.name`.
        created: End of the run, UTC, ISO 8601.
        config: The configuration of the run.
        seed: `run.seed`.
        val_accuracy: Best validation accuracy.
        best_epoch: The epoch that reached it.
        epochs: Number of epochs trained.
        planned_epochs: Number of epochs that were planned.
        seconds: Duration of the training.
        images_per_second: Median over the epochs.
        parameters: Parameters of the network.
        macs: Multiply-accumulates for one image.
        precision: Keras's dtype policy during training.
        weights_hash: SHA-256 of the file of initial weights; empty where there is none.
        stages: The stages of the training.
        data: The images.
        packages: Versions of the packages that decide a result.
        commit: Of the program; None outside a git checkout.
        pruned: Whether the run is a trial that was stopped early.
        test: The scores on the test images; None for runs that must not see them.
    """

    command: str
    name: str
    created: str
    config: Config
    seed: int
    val_accuracy: float
    best_epoch: int
    epochs: int
    planned_epochs: int
    seconds: float
    images_per_second: float
    parameters: int
    macs: int
    precision: str
    weights_hash: str
    stages: tuple[StageSummary, ...]
    data: DataSummary
    packages: dict[str, str]
    commit: str | None
    pruned: bool = False
    test: EvaluationScores | None = None
