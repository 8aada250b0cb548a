"""The memory for training the CNN from scratch, estimated without TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_inat.errors import UserError
from keras_inat.machine import read_memory
from keras_inat.models.cost import LayerCost, count_cnn
from keras_inat.settings.schema import Config

# The values that an optimizer stores for each trainable weight.
MOMENTS = {"sgd": 1, "rmsprop": 1, "adam": 2, "adamw": 2, "muon": 1}
WEIGHT_SETS = 3  # of the training model, of the evaluation model and of the best epoch


@dataclass(frozen=True)
class Memory:
    """The memory for training, in bytes."""

    weights: int  # all parameters, `WEIGHT_SETS` times
    gradients: int  # of the trainable parameters
    moments: int  # the optimizer's values for each trainable parameter, including the exponential moving average
    activations: int  # the output of every layer for one batch, stored for the backward pass
    activation_inputs: int  # those that are inputs of activation functions; a ReLU follows from its output instead
    output_gradients: int  # of the output and of the input of the largest layer; they are temporary

    @property
    def minimum(self) -> int:
        """A lower bound of the memory: without temporary gradients and without the inputs of activation functions."""
        return self.total - self.activation_inputs - self.output_gradients

    @property
    def total(self) -> int:
        """The estimated memory."""
        return self.weights + self.gradients + self.moments + self.activations + self.output_gradients


def estimate_memory(config: Config, num_classes: int) -> Memory:
    """Estimates the memory for training the CNN from scratch, without TensorFlow itself and the queued images.

    Activations are float32, or half as large under a mixed `training.precision`. The measured peaks of whole steps on
    a CPU were 0.5 to 1.6 times the estimate. ReLU does not store its input. Smooth activation functions store more
    than their output.
    """
    rows = count_cnn(config.model, max(config.training_sizes), num_classes)
    parameters = sum(row.parameters for row in rows)
    # Half of the parameters of batch normalization are statistics, which are not trainable.
    trainable = parameters - sum(row.parameters // 2 for row in rows if "_norm" in row.name)
    moments = MOMENTS[config.training.optimizer] + (config.training.ema > 0)
    batch = config.training.batch_size * (2 if config.training.precision.startswith("mixed") else 4)
    return Memory(
        weights=4 * parameters * WEIGHT_SETS,
        gradients=4 * trainable,
        moments=4 * trainable * moments,
        activations=batch * sum(row.activations for row in rows),
        activation_inputs=batch * sum(row.activations for row in rows if "activation" in row.name),
        output_gradients=2 * batch * max(row.activations for row in rows),
    )


def estimate_inference(rows: Sequence[LayerCost], batch_size: int) -> int:
    """Estimates the bytes for predicting a batch in float32: the weights, and the outputs of the two largest layers."""
    largest = sorted(row.activations for row in rows)[-2:]
    return 4 * (sum(row.parameters for row in rows) + batch_size * sum(largest))


def check_memory(config: Config, num_classes: int, teacher: int = 0) -> None:
    """Checks that a training from scratch fits in the memory of this machine, before anything is allocated.

    Args:
        config: The configuration of the training.
        num_classes: The number of classes.
        teacher: Bytes for the predictions of a teacher.

    Raises:
        UserError: If it cannot fit. The message gives the arithmetic and the settings that help.
    """
    available = read_memory()
    memory = estimate_memory(config, num_classes)
    needed = memory.minimum + teacher
    if needed > available:
        rows = count_cnn(config.model, max(config.training_sizes), num_classes)
        largest = max(rows, key=lambda row: row.parameters)
        activations = memory.activations - memory.activation_inputs
        raise UserError(
            f"training needs at least {_format(needed)} of memory: {_format(activations)} for the activations "
            f"of a batch of {config.training.batch_size} and {_format(memory.minimum - activations)} for the weights, "
            f"their gradients and the moments of {config.training.optimizer}"
            f"{f', and {_format(teacher)} for the teacher' if teacher else ''}. This machine has {_format(available)}. "
            f"The largest layer, {largest.name}, has {largest.parameters:.2g} weights. Use a smaller "
            "`training.batch_size` or `data.image_size`, fewer `model.filters` or `model.dense_units`, or "
            "`model.pooling`=average."
        )


def _format(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.3g} GB"
