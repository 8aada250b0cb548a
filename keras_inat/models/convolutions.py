"""The convolutions of the CNN in order, for the builder and for the cost. Imports no Keras."""

from dataclasses import dataclass

from keras_inat.settings.schema import Model

COLORS = 3
PAIR_KERNEL_SIZE = 3


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution and its position in the network.

    Attributes:
        block: The number of its block, from 1.
        number: Its number within the block, from 1.
        inputs: The number of input channels.
        filters: The number of output channels.
        kernel_size: The side of its kernels.
        num_poolings: The number of poolings before it.
        pooled: True if the pooling of its block follows.
        opens_pair: True for the first convolution of a residual pair. The input of the pair is its input.
        closes_pair: True for the second convolution of a residual pair. The input of the pair is added to its output.
        ends_block: True for the last convolution of a block.
    """

    block: int
    number: int
    inputs: int
    filters: int
    kernel_size: int
    num_poolings: int
    pooled: bool
    opens_pair: bool
    closes_pair: bool
    ends_block: bool

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
            convolutions.append(
                Convolution(
                    block=block,
                    number=number,
                    inputs=inputs,
                    filters=filters,
                    kernel_size=PAIR_KERNEL_SIZE if paired else kernel_size,
                    num_poolings=block if paired else block - 1,
                    pooled=number == pooled,
                    opens_pair=paired and number % 2 == 0,
                    closes_pair=paired and number % 2 == 1,
                    ends_block=number == count,
                )
            )
            inputs = filters
    return convolutions
