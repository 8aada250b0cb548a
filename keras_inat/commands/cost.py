"""The command `cost`: the cost of a configuration without training it, and of the CNN without building it."""

import textwrap

from keras_inat.models.backbones import name_backbone
from keras_inat.models.cost import LayerCost, count_cnn, count_layers, describe_symbols, list_terms
from keras_inat.models.memory import WEIGHT_SETS, estimate_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.settings.schema import Config

NUM_CLASSES = 10
TEXT_WIDTH = 112
MEMORY_NOTE = (
    "The sets of weights are those of the training model, of the evaluation model and of the best epoch. Values are "
    "float32; under a mixed `training.precision`, activations are half as large. The gradients of the activations are "
    "temporary, so only those of the largest layer's output and input count. TensorFlow itself, its workspace and the "
    "queued images are not included. The peaks measured on a CPU were 0.5 to 1.6 times the estimate, the highest with "
    "smooth activation functions such as GELU, the lowest with ReLU and many convolutions a block."
)


def run(config: Config) -> None:
    """Prints the cost of each layer, and for the CNN also the totals in closed form and the memory for training."""
    size = config.data.image_size
    if config.finetune is None:
        name = f"{config.model.num_blocks}-block CNN"
        _print_layers(f"{name}, {size} px", count_cnn(config.model, size, NUM_CLASSES))
        _print_closed_form(config)
        _print_memory(config)
        return
    with hide_startup_messages():
        from keras_inat.models.pretrained import build_finetune

    finetune = config.finetune
    name = name_backbone(finetune)
    if finetune.weights == "imagenet":
        finetune = finetune.model_copy(update={"weights": "none"})  # random weights have the same cost
    _print_layers(f"{name}, {size} px", count_layers(build_finetune(finetune, size, NUM_CLASSES)))


def _print_layers(title: str, rows: list[LayerCost]) -> None:
    print(f"{title}, {NUM_CLASSES} classes; multiply-accumulates (the task's 'computations') are for one image")
    width = max(len(row.name) for row in rows)
    print(f"{'layer':{width}} {'output':>16} {'parameters':>14} {'multiply-accumulates':>20} {'activations':>14}")
    for row in rows:
        output = " x ".join(map(str, row.output))
        print(f"{row.name:{width}} {output:>16} {row.parameters:>14,} {row.macs:>20,} {row.activations:>14,}")
    parameters = sum(row.parameters for row in rows)
    macs = sum(row.macs for row in rows)
    activations = sum(row.activations for row in rows)
    print(f"{'total':{width}} {'':16} {parameters:>14,} {macs:>20,} {activations:>14,}")


def _print_closed_form(config: Config) -> None:
    arguments = (config.model, config.data.image_size, NUM_CLASSES)
    print("\n" + textwrap.fill(f"In closed form, with {describe_symbols(*arguments)}:", TEXT_WIDTH))
    quantities = list_terms(*arguments)
    width = max(map(len, quantities))
    for quantity, terms in quantities.items():
        print(f"{quantity:{width}} = {' + '.join(term.symbols for term in terms)}")
        print(f"{'':{width}} = {' + '.join(term.numbers for term in terms)}")
        print(f"{'':{width}} = {sum(term.value for term in terms):,}")


def _print_memory(config: Config) -> None:
    memory = estimate_memory(config, NUM_CLASSES)
    training = config.training
    print(
        f"\nMemory for training with batches of {training.batch_size} images of {max(config.training_sizes)} px, "
        f"estimated: {memory.total / 1e6:,.1f} MB"
    )
    for name, size in (
        (f"weights, {WEIGHT_SETS} sets", memory.weights),
        ("gradients of the weights", memory.gradients),
        (f"moments of {training.optimizer}", memory.moments),
        ("activations", memory.activations),
        ("gradients of the activations", memory.output_gradients),
    ):
        print(f"  {name:36} {size / 1e6:>12,.1f} MB")
    print(textwrap.fill(MEMORY_NOTE, TEXT_WIDTH))
