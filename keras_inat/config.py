"""Every setting, typed and documented: defaults < YAML file < `section.key=value`.

Imports no TensorFlow, so that `--help` and a mistyped setting answer at once.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field
from ruamel.yaml import YAML, YAMLError

from keras_inat.errors import UserError, describe_choices

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


# The Makefile's variables are short names for settings.
VARIABLES = {
    "DATA": "data.source",
    "ZIP": "data.zip",
    "URL": "data.url",
    "NAME": "run.name",
    "TRIALS": "sweep.trials",
    "SWEEP": "train_best.sweep",
    "SEEDS": "train_best.seeds",
    "STRATEGY": "finetune.strategy",
    "BACKBONE": "finetune.backbone",
    "WEIGHTS": "finetune.weights",
    "UNFREEZE": "finetune.unfreeze",
    "RUN": "predict.run",
    "IMAGE": "predict.image",
}


def load_config(arguments: Iterable[str] = (), path: str | Path | None = None) -> Config:
    """Reads a configuration.

    Args:
        arguments: `section.key=value` or `VARIABLE=value`, the value written as in YAML.
        path: A YAML file of sections that states only what differs from the defaults.

    Raises:
        UserError: Naming the setting, what is accepted and what was received.
    """
    values = read_yaml(path) if path else {}
    merged = merge(values, parse_overrides(arguments))
    try:
        return build_config(merged)
    except UserError:
        build_config(values, str(path))  # names the file where the mistake is the file's own
        raise


def build_config(values: Mapping[str, Any], origin: str | None = None) -> Config:
    """Checks nested values into a `Config`; `origin` names the file they come from in errors."""
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(_explain(error, origin)) from None


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of `config` with dotted `section.key` names set to `values`."""
    return build_config(merge(config.model_dump(), _nest(values)))


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Turns `section.key=value` words into nested values."""
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise UserError(f"settings are written section.key=value. Received: {argument!r}.")
        if "." not in name:
            if name not in VARIABLES:
                raise UserError(f"a variable {describe_choices(name, VARIABLES)}")
            # Make's variables are plain text: a folder called 2024 is not a number.
            field = _field(VARIABLES[name])
            value: Any = text if field.annotation in (str, str | None) else _parse(text, name)
            name = VARIABLES[name]
        else:
            value = _parse(text, name)
        values = merge(values, _nest({name: value}))
    return values


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML 1.2 mapping (`1e-3` is a number, `no` is a word)."""
    try:
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {str(path)!r}: {error.strerror}") from None
    except (YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{path} must hold sections with settings. Received: {values!r:.80}")
    return values or {}


def format_yaml(values: Mapping[str, Any]) -> str:
    """Writes nested values as YAML text."""
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(_plain(dict(values)), text)
    return text.getvalue()


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section; a space is replaced as a whole."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "space"
        merged[key] = merge(merged[key], value) if both else value
    return merged


def list_settings() -> dict[str, pydantic.fields.FieldInfo]:
    """Every dotted setting with its field, in the order of declaration."""
    return {
        f"{section}.{name}": field
        for section, parent in Config.model_fields.items()
        for name, field in _section(parent).model_fields.items()
    }


def _section(parent: pydantic.fields.FieldInfo) -> type[Section]:
    kinds = (parent.annotation, *get_args(parent.annotation))
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))


def _field(name: str) -> pydantic.fields.FieldInfo:
    return list_settings()[name]


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = value
    return nested


def _parse(text: str, name: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):  # a date that does not exist is a ValueError
        raise UserError(f"the value of `{name}` is not valid YAML. Received: {text!r}.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _explain(error: pydantic.ValidationError, origin: str | None) -> str:
    """The first thing wrong, in one line that names the setting, what is accepted and what came."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    name, received = ".".join(parts[:2]), first["input"]
    where = f" (in {origin})" if origin else ""
    if first["type"] == "extra_forbidden":
        known = list_settings() if len(parts) > 1 else Config.model_fields
        siblings = [setting for setting in known if len(parts) == 1 or setting.startswith(parts[0] + ".")]
        return f"unknown setting{where}: it {describe_choices(name, siblings)}"
    if first["type"] == "literal_error":
        choices = [str(choice) for choice in _choices(_field(name).annotation)]
        return f"`{name}` {describe_choices(received, choices)}{where}"
    if not parts:
        return first["msg"].removeprefix("Value error, ") + where
    if len(parts) == 1:
        # A check across settings names them itself; anything else is a section that is no mapping.
        message = first["msg"].removeprefix("Value error, ")
        return message + where if first["type"] == "value_error" else f"`{name}` must be a section of settings{where}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "string_pattern_mismatch":
        message = "letters, digits, '.', '_' and '-', and begin with a letter or digit"
    message = message if message.startswith("must") else f"must be {message}"
    return f"`{name}` {message}. Received: {received!r}.{where}"


def _choices(annotation: Any) -> tuple[Any, ...]:
    for kind in get_args(annotation):
        if get_args(kind):
            return get_args(kind)
    return get_args(annotation)
