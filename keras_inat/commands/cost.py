"""What a configuration costs, without training it, and the CNN without even building it."""

from keras_inat.config import override
from keras_inat.models.cost import LayerCost, count_cnn, count_layers
from keras_inat.sections import Config

NUM_CLASSES = 10


def run(config: Config) -> None:
    """Prints parameters, multiply-accumulates and activations for one image, layer by layer."""
    size = config.data.image_size
    if config.finetune:
        name, rows = config.finetune.backbone, _count_finetune(config)
    else:
        name, rows = f"{config.model.num_blocks}-block CNN", count_cnn(config.model, size, NUM_CLASSES)
    print(f"{name}, {size} px, {NUM_CLASSES} classes; computations are for one image")
    print(f"{'layer':32} {'output':>16} {'parameters':>14} {'multiply-adds':>16} {'activations':>14}")
    for row in rows:
        output = " x ".join(map(str, row.output))
        print(f"{row.name:32} {output:>16} {row.parameters:>14,} {row.macs:>16,} {row.activations:>14,}")
    totals = [sum(getattr(row, name) for row in rows) for name in ("parameters", "macs", "activations")]
    print(f"{'total':32} {'':16} {totals[0]:>14,} {totals[1]:>16,} {totals[2]:>14,}")


def _count_finetune(config: Config) -> list[LayerCost]:
    from keras_inat.progress import hide_startup_messages

    with hide_startup_messages():
        from keras_inat.models.backbones import build_finetune

    # Random weights cost the same, and need no download.
    own = config.finetune and config.finetune.weights.endswith(".keras")
    settings = (config if own else override(config, {"finetune.weights": "none"})).finetune
    assert settings
    return count_layers(build_finetune(settings, config.data.image_size, NUM_CLASSES))
