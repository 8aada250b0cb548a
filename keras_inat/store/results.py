"""The outcome of a run: its epochs, its result and its scores on the test images."""

from keras_inat.settings.schema import Config
from keras_inat.store.data_summary import DataSummary
from keras_inat.store.stored import Stored

Interval = tuple[float, float]  # the ends of a 95 % interval


class Epoch(Stored):
    """One epoch of a run, a line of `metrics.jsonl`."""

    epoch: int  # number of the epoch, from 1, counted over all stages
    stage: str  # name of the stage that it belongs to
    loss: float  # mean training loss, on augmented images and while the weights change
    accuracy: float  # training accuracy, measured in the same way
    val_loss: float  # mean negative log-likelihood of the validation images
    val_accuracy: float  # validation accuracy
    learning_rate: float  # at the end of the epoch
    seconds: float  # duration of the epoch, validation included
    images_per_second: float  # training images per second, validation excluded


class StageSummary(Stored):
    """A stage of a training run: the layers that it trained and their learning rates."""

    stage: str  # its name
    parameters: int  # trainable parameters
    learning_rate: float  # of the head, or of the whole network trained from scratch
    layers: int | None = None  # trainable layers of the backbone that have kernels; None from scratch
    # Highest and lowest learning rate of the backbone's layers; empty when it is frozen.
    backbone_rates: tuple[float, ...] = ()


class FlipScores(Stored):
    """Scores with test-time augmentation: predictions averaged over each image and its horizontal flip."""

    val_accuracy: float
    test_accuracy: float
    test_interval: Interval


class EvaluationScores(Stored):
    """The scores of the final evaluation."""

    accuracy: float  # on the test images
    interval: Interval  # its 95 % interval over images
    num_images: int  # number of test images
    flip: FlipScores | None = None  # the scores with test-time augmentation, if the run was configured for it


class Result(Stored):
    """The outcome of a run, `result.json`."""

    command: str  # the command that made the run
    name: str  # `run.name`
    created: str  # end of the run, UTC, ISO 8601
    config: Config  # the configuration of the run
    seed: int  # `run.seed`
    val_accuracy: float  # best validation accuracy
    best_epoch: int  # the epoch that reached it
    epochs: int  # number of epochs trained
    planned_epochs: int  # number of epochs that were planned
    seconds: float  # duration of the training
    images_per_second: float  # median over the epochs
    parameters: int  # parameters of the network
    macs: int  # multiply-accumulates for one image
    precision: str  # Keras's dtype policy during training
    weights_hash: str  # SHA-256 of the file of initial weights; empty where there is none
    stages: tuple[StageSummary, ...]  # the stages of the training
    data: DataSummary  # the images
    packages: dict[str, str]  # versions of the packages that decide a result
    commit: str | None  # of the program; None outside a git checkout
    pruned: bool = False  # whether the run is a trial that was stopped early
    test: EvaluationScores | None = None  # the scores on the test images; None for runs that must not see them

    @property
    def test_scores(self) -> EvaluationScores:
        """The scores on the test images, of a run that was evaluated on them."""
        if self.test is None:
            raise ValueError(f"the run {self.name!r} of {self.command!r} was not evaluated on the test images")
        return self.test
