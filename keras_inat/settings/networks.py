"""The settings of the two kinds of network: the CNN trained from scratch and the pretrained backbone."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from keras_inat.settings.section import PATH, Activation, Fraction, Section

Strategy = Literal["head", "topk", "full", "gradual", "lpft", "all"]


class Model(Section):
    ensemble_size: int = Field(
        1, ge=1, le=16, description="networks whose mean prediction is the model's; each has a loss of its own"
    )
    num_blocks: int = Field(5, ge=1, le=8, description="blocks of convolution, activation and 2x2 max pooling")
    filters: int | tuple[int, ...] = Field(32, description="filters of the first block, or one number a block")
    filter_organization: Literal["same", "double", "half"] = Field(
        "same", description="filters from block to block: constant, doubled or halved"
    )
    min_filters: int = Field(8, ge=1, description="half: lower limit of a block's filters; 1: no limit")
    kernel_size: int | tuple[int, ...] = Field(3, description="one size for all blocks, or one a block")
    convolutions: int | tuple[int, ...] = Field(1, description="convolutions in each block, or one number a block")
    residual: bool = Field(
        False, description="residual pairs of 3x3 convolutions after the first convolution and pooling of a block"
    )
    activation: Activation = Field("relu", description="activation after every convolution and the dense layer")
    batch_norm: bool = Field(True, description="batch normalization between convolution and activation")
    pool_first: bool = Field(
        False, description="pool before normalization and activation, at a quarter of their cost; false: after them"
    )
    pooling: Literal["flatten", "average", "max"] = Field(
        "flatten", description="between the last block and the head: flatten, or global pooling"
    )
    dense_units: int = Field(256, ge=0, le=16384, description="neurons of the dense layer; 0: no dense layer")
    dropout: Fraction = Field(0.0, description="dropout rate in the head")
    dropout_placement: Literal["before_dense", "after_dense"] = Field("after_dense", description="place of the dropout")

    @pydantic.field_validator("filters", "kernel_size", "convolutions")
    @classmethod
    def _check_range(cls, value: int | tuple[int, ...], info: pydantic.ValidationInfo) -> int | tuple[int, ...]:
        most = {"filters": 4096, "kernel_size": 31, "convolutions": 16}[str(info.field_name)]
        if not all(1 <= number <= most for number in ([value] if isinstance(value, int) else value)):
            raise ValueError(f"must lie between 1 and {most}")
        return value

    @pydantic.model_validator(mode="after")
    def _check_blocks(self) -> "Model":
        for name, word in (("filters", "number"), ("kernel_size", "size"), ("convolutions", "number")):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.num_blocks:
                raise ValueError(
                    f"`model.{name}` needs one {word} for each of the {self.num_blocks} blocks. "
                    f"Received: {len(value)}, {list(value)}."
                )
        if isinstance(self.filters, tuple) and self.filter_organization != "same":
            raise ValueError(
                f"`model.filters`={list(self.filters)} is one number a block, so it goes with "
                f"`model.filter_organization`=same only. Received: {self.filter_organization!r}."
            )
        halvings = self.num_blocks - 1
        is_halved = self.filter_organization == "half" and self.min_filters == 1
        if is_halved and isinstance(self.filters, int) and self.filters < 2**halvings:
            raise ValueError(
                f"`model.filters`={self.filters} cannot be halved {halvings} times: {self.filters} / 2**{halvings} = "
                f"{self.filters / 2**halvings:g}. It needs at least {2**halvings}, or `model.min_filters`=2 or more"
            )
        counts = self.convolutions_per_block
        if self.residual and (max(counts) == 1 or not all(count % 2 for count in counts)):
            raise ValueError(
                "`model.residual`=true puts pairs of convolutions after the first of a block, so it goes with "
                f"`model.convolutions`=3 or other odd numbers, above 1 in some block. Received: {list(counts)}."
            )
        return self

    @property
    def filters_per_block(self) -> tuple[int, ...]:
        """Filters of each block, first to last."""
        if isinstance(self.filters, tuple):
            return self.filters
        scale = {"same": 1.0, "double": 2.0, "half": 0.5}[self.filter_organization]
        least = min(self.min_filters, self.filters)
        return tuple(max(int(self.filters * scale**block), least) for block in range(self.num_blocks))

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Kernel side of each block, first to last."""
        return (self.kernel_size,) * self.num_blocks if isinstance(self.kernel_size, int) else self.kernel_size

    @property
    def convolutions_per_block(self) -> tuple[int, ...]:
        """Convolutions of each block, first to last."""
        return (self.convolutions,) * self.num_blocks if isinstance(self.convolutions, int) else self.convolutions


class Finetune(Section):
    strategy: Strategy = Field(
        "head", description="a sequence of stages with their trainable layers; all: each strategy, one after the other"
    )
    backbone: str = Field("MobileNetV2", description="a network that the command `backbones` lists")
    weights: Annotated[str, PATH] = Field(
        "imagenet",
        description="pretrained weights: 'imagenet', 'none', an .h5 or .weights.h5 file, or a .keras model",
    )
    unfreeze: int | float | str = Field(
        20, description="topk: trainable layers, from the top: a number of layers with kernels, a fraction, or a block"
    )
    dropout: Fraction = Field(0.2, description="dropout rate before the new head")
    batch_norm: Literal["frozen", "trained"] = Field(
        "frozen", description="batch normalization of unfrozen layers: with its pretrained statistics, or trained"
    )
    backbone_rate: float = Field(
        0.1, gt=0, le=1, description="learning rate of the backbone's last layer, as a fraction of the head's"
    )
    bottom_rate: float = Field(
        1.0, gt=0, le=1, description="that of its first layer, as a fraction of its last; geometric in between"
    )
    decay_to: Literal["zero", "pretrained"] = Field(
        "zero", description="the target of the backbone's weight decay; pretrained is L2-SP"
    )
    cache_features: bool = Field(
        True, description="run a frozen backbone once, on images and their horizontal flips, not every epoch"
    )

    @pydantic.field_validator("unfreeze")
    @classmethod
    def _check_unfreeze(cls, value: int | float | str) -> int | float | str:
        if not isinstance(value, str) and (value <= 0 or (isinstance(value, float) and value > 1)):
            raise ValueError(
                "must be a number of layers, 1 or more, a fraction of them up to 1.0, or the name of a block"
            )
        return value
