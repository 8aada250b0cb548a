"""What a configuration costs, without training it, and the CNN without even building it."""

import textwrap

from keras_inat.models.cost import NETWORKS, LayerCost, count_cnn, count_layers, estimate_memory
from keras_inat.models.formula import explain_letters, write_terms
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config

NUM_CLASSES = 10


def run(config: Config) -> None:
    """Prints parameters, multiply-accumulates and activations for one image, layer by layer.

    For the CNN also in closed form, and the memory that its training takes.
    """
    size = config.data.image_size
    if config.finetune:
        own = config.finetune.weights.endswith(".keras")
        name, rows = config.finetune.weights if own else config.finetune.backbone, _count_finetune(config)
    else:
        name, rows = f"{config.model.num_blocks}-block CNN", count_cnn(config.model, size, NUM_CLASSES)
    print(f"{name}, {size} px, {NUM_CLASSES} classes; computations are for one image")
    width = max(len(row.name) for row in rows)
    print(f"{'layer':{width}} {'output':>16} {'parameters':>14} {'multiply-adds':>16} {'activations':>14}")
    for row in rows:
        output = " x ".join(map(str, row.output))
        print(f"{row.name:{width}} {output:>16} {row.parameters:>14,} {row.macs:>16,} {row.activations:>14,}")
    totals = [sum(getattr(row, name) for row in rows) for name in ("parameters", "macs", "activations")]
    print(f"{'total':{width}} {'':16} {totals[0]:>14,} {totals[1]:>16,} {totals[2]:>14,}")
    if not config.finetune:
        _print_closed_form(config)
        _print_memory(config)


def _print_closed_form(config: Config) -> None:
    arguments = (config.model, config.data.image_size, NUM_CLASSES)
    print()
    _print_text(f"In closed form, with {explain_letters(*arguments)}:")
    terms = write_terms(*arguments)
    for quantity in ("parameters", "computations"):
        chosen = [term for term in terms if term.quantity == quantity]
        print(f"{quantity:12} = {' + '.join(term.symbols for term in chosen)}")
        print(f"{'':12} = {' + '.join(term.numbers for term in chosen)}")
        print(f"{'':12} = {sum(term.value for term in chosen):,}")


def _print_memory(config: Config) -> None:
    memory, training = estimate_memory(config, NUM_CLASSES), config.training
    print(
        f"\nMemory for training with batches of {training.batch_size} images of {max(config.training_sizes)} px, "
        f"estimated: {memory.total / 1e6:,.1f} MB"
    )
    for name, size in (
        (f"weights, of {NETWORKS} networks", memory.weights),
        ("their gradients", memory.gradients),
        (f"what {training.optimizer} keeps of them", memory.moments),
        ("activations: every layer's output", memory.activations),
        ("gradients of activations", memory.passing),
    ):
        print(f"  {name:36} {size / 1e6:>12,.1f} MB")
    _print_text(
        "The networks are the one in training, its twin that is judged, and the best so far. Numbers are float32, "
        "activations of a mixed `training.precision` half as large. Gradients of activations are there in passing: for "
        "the largest layer, those of its output and its input. Not counted: TensorFlow itself, what it computes with, "
        "and the images that wait. Peaks measured on a CPU were 0.5 to 1.6 times the estimate, the most with smooth "
        "activations such as GELU, the least with ReLU and many convolutions a block."
    )


def _print_text(text: str) -> None:
    print(textwrap.fill(text, 112))


def _count_finetune(config: Config) -> list[LayerCost]:
    from keras_inat.progress import hide_startup_messages

    with hide_startup_messages():
        from keras_inat.models.pretrained import build_finetune

    # Random weights cost the same, and need no download.
    own = config.finetune and config.finetune.weights.endswith(".keras")
    settings = (config if own else override(config, {"finetune.weights": "none"})).finetune
    assert settings
    return count_layers(build_finetune(settings, config.data.image_size, NUM_CLASSES))
