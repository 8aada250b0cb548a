"""Every setting, typed and documented."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

Activation = Literal["relu", "gelu", "silu", "mish", "elu", "leaky_relu", "selu", "tanh"]
Strategy = Literal["head", "topk", "full", "gradual", "lpft"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Scalar = bool | int | float | str


class Section(pydantic.BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Run(Section):
    name: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="names the run's folder")
    seed: int = Field(0, ge=0, lt=2**31, description="initial weights, data order and augmentation follow from it")
    directory: str = Field("runs", description="where run folders are made")


class Data(Section):
    source: str = Field("data/inaturalist_12K", description="a folder with train/ and val/, a .zip of one, or 'demo'")
    directory: str = Field("data", description="where downloads, the demo and the packs of decoded pixels are kept")
    image_size: int = Field(128, ge=8, le=1024, description="side in pixels of the square images that the model sees")
    val_fraction: float = Field(0.2, gt=0, lt=0.9, description="part of train/ held out, stratified, for validation")
    split_seed: int = Field(0, ge=0, description="which images are held out; the same for every run.seed")
    near_copies: bool = Field(
        True, description="whether images that are resized, recompressed or mirrored others count as their copies"
    )
    zip: str | None = Field(None, description="`make data`: an archive to take instead of a download")
    url: str = Field(
        "https://storage.googleapis.com/wandb_datasets/nature_12K.zip", description="`make data`: what to download"
    )


class Augment(Section):
    flip: bool = Field(True, description="mirror left to right, half of the time")
    crop: float = Field(0.5, gt=0, le=1, description="smallest area of a random resized crop; 1 is off")
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, degrees")
    color: Fraction = Field(0.2, description="largest change of brightness, contrast and saturation, as a fraction")
    cutout: Fraction = Field(0.0, description="side of an erased grey square, as a fraction of the image's")
    mixup: float = Field(0.0, ge=0, description="blend pairs of images by shares of Beta(mixup, mixup); 0 is off")
    cutmix: float = Field(0.0, ge=0, description="the same with pasted squares; with both on, each batch draws one")
    policy: Literal["none", "randaugment", "trivialaugment"] = Field(
        "none", description="random operations on top, as in the paper of that name"
    )
    policy_operations: int = Field(2, ge=1, le=14, description="randaugment: operations an image")
    policy_magnitude: float = Field(0.3, ge=0, le=1, description="randaugment: how strong; 1 is the paper's strongest")


class Model(Section):
    num_blocks: int = Field(5, ge=1, le=8, description="blocks of convolution, activation and 2x2 max-pooling")
    filters: int = Field(32, ge=1, le=4096, description="filters of the first block")
    organisation: Literal["same", "double", "half"] = Field("same", description="how filters go on, block by block")
    kernel_size: int | tuple[int, ...] = Field(3, description="one for all blocks, or one a block")
    activation: Activation = Field("relu", description="after every convolution")
    batch_norm: bool = Field(True, description="batch normalisation between convolution and activation")
    pooling: Literal["flatten", "average"] = Field("flatten", description="how the last block meets the dense layer")
    dense_units: int = Field(256, ge=0, le=16384, description="neurons of the dense layer; 0 leaves it out")
    dense_activation: Activation | None = Field(None, description="of the dense layer; null follows `activation`")
    dropout: Fraction = Field(0.0, description="dropped after the dense layer, while training")

    @pydantic.field_validator("kernel_size")
    @classmethod
    def _check_kernel_size(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if not all(1 <= size <= 31 for size in ([value] if isinstance(value, int) else value)):
            raise ValueError("must lie between 1 and 31")
        return value

    @pydantic.model_validator(mode="after")
    def _check_blocks(self) -> "Model":
        if isinstance(self.kernel_size, tuple) and len(self.kernel_size) != self.num_blocks:
            raise ValueError(f"`model.kernel_size` needs one size for each of the {self.num_blocks} blocks")
        if min(self.filters_per_block) < 1:
            raise ValueError(
                f"`model.filters`={self.filters} cannot be halved {self.num_blocks - 1} times: "
                f"it needs at least {2 ** (self.num_blocks - 1)}"
            )
        return self

    @property
    def filters_per_block(self) -> tuple[int, ...]:
        """Filters of each block, first to last."""
        scale = {"same": 1.0, "double": 2.0, "half": 0.5}[self.organisation]
        return tuple(int(self.filters * scale**block) for block in range(self.num_blocks))

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Kernel side of each block, first to last."""
        return (self.kernel_size,) * self.num_blocks if isinstance(self.kernel_size, int) else self.kernel_size


class Training(Section):
    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(64, ge=1, description="images a step")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = Field("adam", description="sgd has Nesterov momentum 0.9")
    learning_rate: float = Field(1e-3, gt=0, description="the peak of the schedule")
    schedule: Literal["constant", "cosine"] = Field("constant", description="what the rate does after the warm-up")
    warmup: Fraction = Field(0.0, description="part of all steps over which the rate rises linearly from 0")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, on kernels only")
    label_smoothing: Fraction = Field(0.0, description="probability taken from the true class and shared by all")
    patience: int = Field(0, ge=0, description="stop after as many epochs without a better val_accuracy; 0 is off")


class Finetune(Section):
    strategy: Strategy = Field("head", description="which layers train, and when")
    backbone: str = Field("MobileNetV2", description="a row of the table in models/backbones.py")
    weights: str = Field("imagenet", description="'imagenet', 'none', an .h5 or .weights.h5 file, or one of our .keras")
    unfreeze: int = Field(20, ge=1, description="topk: how many of the last layers with weights train")
    dropout: Fraction = Field(0.2, description="before the new head")
    batch_norm: Literal["frozen", "trained"] = Field(
        "frozen", description="whether the batch normalisation of unfrozen layers trains with them"
    )
    backbone_rate: float = Field(0.1, gt=0, le=1, description="learning rate of unfrozen stages, over training's")


class Sweep(Section):
    trials: int = Field(20, ge=1, description="configurations to try in all")
    epochs: int = Field(10, ge=1, description="epochs of one trial; training.epochs is for the final training")
    space: dict[str, list[Scalar | list[int] | None] | dict[str, Scalar]] = Field(
        default_factory=dict, description="dotted names of settings, with a list of choices or {min, max, log, step}"
    )


class TrainBest(Section):
    sweep: str | None = Field(None, description="name of the sweep to take the best configuration of; null: the last")
    seeds: int = Field(1, ge=1, description="how many times to train, with seeds run.seed, run.seed + 1, ...")


class Tracking(Section):
    wandb: Literal["auto", "online", "offline", "disabled"] = Field("auto", description="auto: online when logged in")
    project: str = Field("keras-inat", description="the W&B project")
    tensorboard: bool = Field(True, description="write scalars and HParams for `make dashboard`")


class Report(Section):
    directory: str = Field("reports", description="where the page goes")


class Predict(Section):
    run: str | None = Field(None, description="a run folder; null: the newest with a model")
    image: str | None = Field(None, description="an image file, or a folder of them")


class Config(Section):
    run: Run = Run()
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    training: Training = Training()
    finetune: Finetune | None = None
    sweep: Sweep = Sweep()
    train_best: TrainBest = TrainBest()
    tracking: Tracking = Tracking()
    report: Report = Report()
    predict: Predict = Predict()

    @pydantic.model_validator(mode="after")
    def _check_image_size(self) -> "Config":
        size, blocks = self.data.image_size, self.model.num_blocks
        if self.finetune is None and size < 2**blocks:
            raise ValueError(
                f"`data.image_size`={size} is too small for `model.num_blocks`={blocks}: "
                f"each block halves the side, so at least 2**{blocks} = {2**blocks} pixels are needed"
            )
        return self
