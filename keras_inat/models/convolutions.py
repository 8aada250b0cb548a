"""The convolutions of the CNN in order, for the builder and for the cost. Imports no Keras."""

from dataclasses import dataclass

from keras_inat.settings.schema import Model

COLORS = 3
PAIR_KERNEL_SIZE = 3


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution and its position in the network."""

    block: int  # from 1
    number: int  # within its block, from 1
    inputs: int  # channels
    filters: int
    kernel_size: int
    num_poolings: int  # before it
    pooled: bool  # followed by the pooling of its block
    opens_pair: bool  # the first of a residual pair, which begins with the input of this convolution
    closes_pair: bool  # the second of a residual pair, whose input is added to the output of this convolution

    @property
    def weights(self) -> int:
        """The number of weights in its kernels."""
        return self.filters * self.kernel_size**2 * self.inputs

    def name(self, kind: str) -> str:
        """Returns the name of a layer that belongs to it: `block1_conv`, `block1_conv2`, ..."""
        suffix = str(self.number) if self.number > 1 else ""
        return f"block{self.block}_{kind}{suffix}"


def halve(side: int, times: int) -> int:
    """Returns the side of a feature map after `times` poolings, each of which rounds up."""
    return -(-side // 2**times)


def list_prefixes(config: Model) -> list[str]:
    """Returns the prefix of the layer names of each ensemble member: an empty one, `member2_`, ..."""
    return ["", *(f"member{number}_" for number in range(2, config.ensemble_size + 1))]


def list_convolutions(config: Model) -> list[Convolution]:
    """Returns all convolutions, first to last. The input of each is the output of the one before it."""
    convolutions = []
    inputs = COLORS
    blocks = zip(config.filters_per_block, config.kernel_sizes, config.convolutions_per_block, strict=True)
    for block, (filters, kernel_size, count) in enumerate(blocks, 1):
        pooled = 1 if config.residual else count
        for number in range(1, count + 1):
            paired = number > pooled
            convolution = Convolution(
                block=block,
                number=number,
                inputs=inputs,
                filters=filters,
                kernel_size=PAIR_KERNEL_SIZE if paired else kernel_size,
                num_poolings=block if paired else block - 1,
                pooled=number == pooled,
                opens_pair=paired and number % 2 == 0,
                closes_pair=paired and number % 2 == 1,
            )
            convolutions.append(convolution)
            inputs = filters
    return convolutions
