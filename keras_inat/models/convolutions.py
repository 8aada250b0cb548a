"""The CNN's convolutions in order: the one list that is built from and counted by. Imports no Keras."""

from dataclasses import dataclass

from keras_inat.settings.schema import Model

COLORS = 3
PAIR_KERNEL_SIZE = 3


@dataclass(frozen=True)
class Convolution:
    """A convolution, and what comes with it.

    Attributes:
        block: Its block, from 1.
        number: Its place in the block, from 1.
        inputs: Channels that it reads.
        filters: Channels that it puts out.
        kernel_size: Side of its kernels.
        halvings: How many poolings come before it.
        pooled: Whether its block's pooling follows.
        opens: Whether it is the first of a residual pair, whose input is kept.
        closes: Whether it is the second of a residual pair, to whose output that input is added.
        last: Whether it ends its block.
    """

    block: int
    number: int
    inputs: int
    filters: int
    kernel_size: int
    halvings: int
    pooled: bool
    opens: bool
    closes: bool
    last: bool

    @property
    def weights(self) -> int:
        """Numbers in its kernels."""
        return self.filters * self.kernel_size**2 * self.inputs

    def name(self, part: str) -> str:
        """Of a layer that goes with it: `block1_conv`, `block1_conv2`, ..."""
        return f"block{self.block}_{part}{self.number if self.number > 1 else ''}"


def halve(side: int, times: int) -> int:
    """Side of a map after so many poolings, each rounding up: nothing at an odd border is dropped."""
    return -(-side // 2**times)


def list_prefixes(config: Model) -> list[str]:
    """What the names of each tower's layers begin with: nothing, `tower2_`, ..."""
    return ["", *(f"tower{number}_" for number in range(2, config.ensemble_size + 1))]


def list_convolutions(config: Model) -> list[Convolution]:
    """Every convolution, first to last; each reads what the one before it puts out."""
    found, inputs = list[Convolution](), COLORS
    blocks = zip(config.filters_per_block, config.kernel_sizes, config.convolutions_per_block, strict=True)
    for block, (filters, kernel_size, count) in enumerate(blocks, 1):
        pooled = 1 if config.residual else count
        for number in range(1, count + 1):
            paired = number > pooled
            found.append(
                Convolution(
                    block,
                    number,
                    inputs,
                    filters,
                    PAIR_KERNEL_SIZE if paired else kernel_size,
                    halvings=block if paired else block - 1,
                    pooled=number == pooled,
                    opens=paired and number % 2 == 0,
                    closes=paired and number % 2 == 1,
                    last=number == count,
                )
            )
            inputs = filters
    return found
