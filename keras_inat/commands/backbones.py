"""The networks that `make finetune` can adapt."""

from keras_inat.models.backbones import BACKBONES, RANGES
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a row for each, the most accurate last."""
    print(f"{'BACKBONE':18} {'ImageNet':>8} {'parameters':>12} {'download':>9} {'size, px':>8} {'least':>5}  pixels")
    for name, row in sorted(BACKBONES.items(), key=lambda item: (item[1].top1, item[0])):
        print(
            f"{name:18} {row.top1:>6.1f} % {row.parameters:>12,} {row.megabytes:>6,.0f} MB {row.default_size:>8} "
            f"{row.min_size:>5}  {RANGES[row.pixels]}"
        )
    print(
        "\nImageNet: top-1 accuracy as the documentation of Keras gives it, at that size. Parameters and download are "
        "without\nthe head. Images may have any size from the least on (data.image_size); pixels are brought to the "
        "range by the model."
    )
