"""Every setting, typed and documented."""

from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field

Activation = Literal["relu", "gelu", "silu", "mish", "elu", "leaky_relu", "selu", "tanh"]
Strategy = Literal["head", "topk", "full", "gradual", "lpft", "all"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Scalar = bool | int | float | str
Choice = Scalar | list[int | float] | None
SMALLEST_IMAGE = 8


class Section(pydantic.BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("must be a number")  # Python's true is 1
        return value


class Run(Section):
    name: str = Field("default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="names the run's folder")
    seed: int = Field(0, ge=0, lt=2**31, description="initial weights, data order and augmentation follow from it")
    directory: str = Field("runs", description="where run folders are made")
    seeds: int = Field(1, ge=1, description="train-best, finetune: how many to train with: seed, seed + 1, ...")
    deterministic: bool = Field(False, description="the same bits each time on the same machine; slower")

    @pydantic.model_validator(mode="after")
    def _check_seeds(self) -> "Run":
        if self.seed + self.seeds > 2**31:
            raise ValueError(f"`run.seed`={self.seed} + `run.seeds`={self.seeds} must be at most 2**31 = {2**31}")
        return self


class Data(Section):
    source: str = Field("data/inaturalist_12K", description="a folder with train/ and val/, a .zip of one, or 'demo'")
    directory: str = Field("data", description="where downloads, the demo and the packs of decoded pixels are kept")
    image_size: int = Field(
        128, ge=SMALLEST_IMAGE, le=1024, description="side in pixels of the square images that the model sees"
    )
    val_fraction: float = Field(0.2, gt=0, lt=0.9, description="part of train/ held out, stratified, for validation")
    split_seed: int = Field(0, ge=0, description="which images are held out; the same for every run.seed")
    near_duplicates: bool = Field(
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
    ensemble_size: int = Field(
        1,
        ge=1,
        le=16,
        description="networks side by side, each with a loss of its own, of which the mean is taken",
    )
    num_blocks: int = Field(5, ge=1, le=8, description="blocks of convolution, activation and 2x2 pooling")
    filters: int | tuple[int, ...] = Field(32, description="of the first block, or a list with those of each block")
    filter_organization: Literal["same", "double", "half"] = Field(
        "same", description="how filters go on, block by block"
    )
    min_filters: int = Field(8, ge=1, description="half: never fewer than these, or than `filters`; 1: no floor")
    kernel_size: int | tuple[int, ...] = Field(3, description="one for all blocks, or one a block")
    convolutions: int | tuple[int, ...] = Field(1, description="in each block: one number for all, or one a block")
    residual: bool = Field(
        False, description="pool after a block's first convolution; the rest are 3x3, in pairs that add to their input"
    )
    activation: Activation = Field("relu", description="after every convolution")
    batch_norm: bool = Field(True, description="batch normalisation between convolution and activation")
    block_pooling: Literal["max", "average"] = Field("max", description="what 2x2 pooling makes of four numbers")
    pool_first: bool = Field(
        False, description="pool before normalisation and activation, which then cost a quarter; false: after them"
    )
    block_dropout: Fraction = Field(0.0, description="feature maps dropped after every block, while training")
    pooling: Literal["flatten", "average", "max"] = Field("flatten", description="how the last block meets the head")
    dense_units: int = Field(256, ge=0, le=16384, description="neurons of the dense layer; 0 leaves it out")
    dense_activation: Activation | None = Field(None, description="of the dense layer; null follows `activation`")
    dropout: Fraction = Field(0.0, description="dropped in the head, while training")
    dropout_placement: Literal["before_dense", "after_dense"] = Field(
        "after_dense", description="on which side of the dense layer the head's dropout is"
    )

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
        self._check_filters()
        self._check_residual()
        return self

    def _check_filters(self) -> None:
        if isinstance(self.filters, tuple):
            if self.filter_organization != "same":
                raise ValueError(
                    f"`model.filters`={list(self.filters)} already says how filters go on, so it goes with "
                    f"`model.filter_organization`=same only. Received: {self.filter_organization!r}."
                )
            return
        halvings = self.num_blocks - 1
        if self.filter_organization == "half" and self.min_filters == 1 and self.filters < 2**halvings:
            raise ValueError(
                f"`model.filters`={self.filters} cannot be halved {halvings} times: {self.filters} / 2**{halvings} = "
                f"{self.filters / 2**halvings:g}. It needs at least {2**halvings}, or `model.min_filters`=2 or more"
            )

    def _check_residual(self) -> None:
        counts = self.convolutions_per_block
        if self.residual and (max(counts) == 1 or not all(count % 2 for count in counts)):
            raise ValueError(
                "`model.residual`=true puts pairs of convolutions after the first of a block, so it goes with "
                f"`model.convolutions`=3 or other odd numbers, above 1 in some block. Received: {list(counts)}."
            )

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


class Training(Section):
    epochs: int = Field(30, ge=1, le=10**6, description="passes over the training images")
    min_steps: int = Field(
        0, ge=0, le=10**9, description="an epoch is several passes where images are too few for these steps"
    )
    batch_size: int = Field(64, ge=1, le=10**6, description="images a step")
    optimizer: Literal["adam", "adamw", "muon", "sgd", "rmsprop"] = Field(
        "adam", description="sgd has Nesterov momentum 0.9; muon leaves all but hidden kernels to adamw"
    )
    learning_rate: float = Field(1e-3, gt=0, le=1e38, description="the peak of the schedule")
    schedule: Literal["constant", "linear", "cosine", "onecycle", "step", "plateau"] = Field(
        "constant", description="what the rate does after the warm-up"
    )
    warmup: Fraction = Field(0.0, description="part of all steps over which the rate rises to its peak")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, on kernels only")
    label_smoothing: Fraction = Field(0.0, description="probability taken from the true class and shared by all")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare classes count for more, as if all had as many images"
    )
    codistillation: Fraction = Field(
        0.0, description="part of what each of `model.ensemble_size` is to predict that is the mean of them all"
    )
    ema: Fraction = Field(
        0.0, description="part of the steps that a running average of the weights reaches back; it is kept; 0 is off"
    )
    image_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (), description="sides of the training images over data.image_size, each for as many epochs; empty: 1"
    )
    test_time_augmentation: bool = Field(
        False, description="also judge the mean over each image and its mirror image, and report both"
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "auto", description="auto: the fastest that the device has units for"
    )
    steps_per_execution: int = Field(1, ge=1, description="steps that a GPU takes at a stretch, at most")
    patience: int = Field(0, ge=0, description="stop after as many epochs without a better val_accuracy; 0 is off")


class Finetune(Section):
    strategy: Strategy = Field("head", description="which layers train, and when; all: each strategy, one by one")
    backbone: str = Field("MobileNetV2", description="a network of keras.applications, as `make backbones` lists them")
    weights: str = Field("imagenet", description="'imagenet', 'none', an .h5 or .weights.h5 file, or one of our .keras")
    unfreeze: int | float | str = Field(
        20, description="topk: what trains from the top: a number of layers with kernels, a part of them, or a block"
    )
    dropout: Fraction = Field(0.2, description="before the new head")
    batch_norm: Literal["frozen", "trained"] = Field(
        "frozen", description="whether the batch normalisation of unfrozen layers trains with them"
    )
    backbone_rate: float = Field(
        0.1, gt=0, le=1, description="learning rate of the backbone's last layer, over the head's"
    )
    bottom_rate: float = Field(
        1.0, gt=0, le=1, description="that of its first layer, over its last; in between it falls geometrically"
    )
    decay_to: Literal["zero", "pretrained"] = Field(
        "zero", description="what weight decay draws the backbone's kernels to; pretrained is L2-SP"
    )
    cache_features: bool = Field(
        True, description="run a frozen backbone once, on images and their mirror images, and not every epoch"
    )

    @pydantic.field_validator("unfreeze")
    @classmethod
    def _check_unfreeze(cls, value: int | float | str) -> int | float | str:
        if not isinstance(value, str) and (value <= 0 or (isinstance(value, float) and value > 1)):
            raise ValueError("must be a number of layers, 1 or more, a part of them up to 1.0, or the name of a block")
        return value


class Sweep(Section):
    trials: int = Field(30, ge=1, description="configurations to try in all")
    epochs: int = Field(10, ge=1, description="epochs of one trial; training.epochs is for the final training")
    space: dict[str, Choice | list[Choice] | dict[str, Any]] = Field(
        default_factory=dict,
        description="dotted names of settings, with one value, a list of choices, or {min, max, log, step}; with "
        "{choices, when} or {min, max, when} only where other settings have the values that `when` gives",
    )
    forbid: list[dict[str, Choice | list[Choice]]] = Field(
        default_factory=list, description="combinations never to try, each as settings with a value or a list of values"
    )
    oracle: Literal["bayesian", "random", "grid", "hyperband"] = Field(
        "bayesian", description="which of KerasTuner's oracles proposes configurations"
    )
    prune: Literal["halving", "median", "none"] = Field(
        "halving", description="which trials are stopped early: those behind the best third, or behind the median"
    )
    workers: int = Field(1, ge=0, description="trials at a time, a process each; 0: one by one, in this process")
    chief: str = Field(
        "127.0.0.1:8487",
        pattern=r"^[^\s:]+:\d{1,5}$",
        description="host:port of the chief of a sweep on several machines",
    )
    trial_timeout_seconds: float | None = Field(None, gt=0, description="what takes longer fails; null: nothing does")

    @pydantic.model_validator(mode="after")
    def _check_timeout(self) -> "Sweep":
        if self.trial_timeout_seconds and not self.workers:
            raise ValueError("`sweep.trial_timeout_seconds` needs `sweep.workers` of 1 or more, processes to be ended")
        return self


class TrainBest(Section):
    sweep: str | None = Field(None, description="name of the sweep to take the best configuration of; null: the last")


class Tracking(Section):
    wandb: Literal["auto", "online", "offline", "disabled"] = Field("auto", description="auto: online when logged in")
    project: str = Field("keras-inat", description="the W&B project")
    tensorboard: bool = Field(True, description="write scalars and HParams for `make dashboard`")


class Report(Section):
    directory: str = Field("reports", description="where the page goes")
    compare: str | None = Field(
        None,
        description="runs to set side by side: their folders, or names for all seeds of these, with spaces between",
    )
    strict: bool = Field(False, description="fail where something that the task asks for is not in the page")
    filter_order: Literal["index", "strength", "similarity"] = Field(
        "index", description="of the first layer's filters: as they are, strongest first, or neighbours alike"
    )
    neurons: Literal["random", "selective"] = Field(
        "random", description="which ten neurons of the last block are explained: drawn, or the most selective ones"
    )


class Predict(Section):
    run: str | None = Field(None, description="a run folder; null: the newest with a model")
    image: str | None = Field(None, description="an image file, or a folder of them")
    format: Literal["text", "json"] = Field(
        "text", description="json: an object a line and image, with the probability of every class; the rest on stderr"
    )


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

    @pydantic.model_validator(mode="after")
    def _check_image_scales(self) -> "Config":
        scales, epochs = self.training.image_scales, self.training.epochs
        if len(scales) > epochs:
            raise ValueError(f"`training.image_scales` has {len(scales)} sizes, for `training.epochs`={epochs}")
        if min(self.training_sizes) < SMALLEST_IMAGE:
            raise ValueError(
                f"`training.image_scales` make images of {min(self.training_sizes)} pixels, at least {SMALLEST_IMAGE} "
                "are needed"
            )
        if scales and not self.finetune:
            if self.model.pooling == "flatten":
                raise ValueError("`training.image_scales` needs `model.pooling`=average or max: flatten has one size")
            if min(self.training_sizes) < 2**self.model.num_blocks:
                raise ValueError(
                    f"`training.image_scales` make images of {min(self.training_sizes)} pixels; `model.num_blocks`="
                    f"{self.model.num_blocks} needs at least {2**self.model.num_blocks}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _check_distillation(self) -> "Config":
        if self.training.codistillation and (self.finetune or self.model.ensemble_size == 1):
            raise ValueError(
                "`training.codistillation` needs `model.ensemble_size` of 2 or more to learn from one another, no `finetune`"
            )
        return self

    @property
    def training_sizes(self) -> tuple[int, ...]:
        """Sides of the training images in pixels, each for an equal part of the epochs."""
        return tuple(round(scale * self.data.image_size) for scale in self.training.image_scales or (1.0,))
