"""The command `backbones`: the networks that `finetune` can adapt."""

from keras_inat.models.backbones import BACKBONES, PREPROCESSING
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a row for each backbone, the most accurate one last."""
    print(
        f"{'backbone':18} {'top-1':>7} {'parameters':>12} {'download':>9} {'size, px':>9} {'minimum':>8}  pixel range"
    )
    for name, row in sorted(BACKBONES.items(), key=lambda item: (item[1].top1, item[0])):
        print(
            f"{name:18} {row.top1:>5.1f} % {row.parameters:>12,} {row.megabytes:>6,.0f} MB {row.default_size:>9} "
            f"{row.min_size:>8}  {PREPROCESSING[row.preprocessing].pixel_range}"
        )
    print(
        "\ntop-1: ImageNet accuracy at that size, from the documentation of Keras. Parameters and download are without "
        "the head.\ndata.image_size may have any value from the minimum on. The model converts pixels to their range."
    )
