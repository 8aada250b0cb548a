"""What a configuration costs, without training or even building it."""

from keras_inat.config import Config
from keras_inat.models.cost import count_cnn

NUM_CLASSES = 10


def run(config: Config) -> None:
    """Prints parameters, multiply-accumulates and activations for one image, layer by layer."""
    rows = count_cnn(config.model, config.data.image_size, NUM_CLASSES)
    size = config.data.image_size
    print(f"{config.model.num_blocks}-block CNN, {size} px, {NUM_CLASSES} classes; computations are for one image")
    print(f"{'layer':20} {'output':>14} {'parameters':>14} {'multiply-adds':>16} {'activations':>14}")
    for row in rows:
        output = " x ".join(map(str, row.output))
        print(f"{row.name:20} {output:>14} {row.parameters:>14,} {row.macs:>16,} {row.activations:>14,}")
    totals = [sum(getattr(row, name) for row in rows) for name in ("parameters", "macs", "activations")]
    print(f"{'total':20} {'':14} {totals[0]:>14,} {totals[1]:>16,} {totals[2]:>14,}")
