"""The configuration: every setting, typed and documented, with its role."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from keras_inat.settings.budgets import Budget, apply_budget
from keras_inat.settings.export import App, Export
from keras_inat.settings.networks import Finetune, Model
from keras_inat.settings.roles import Role
from keras_inat.settings.section import CLUSTER, PATH, PATHS, SMALLEST_IMAGE, URL, Fraction, Section

Scalar = bool | int | float | str
Choice = Scalar | list[int | float] | None
Fit = Literal["crop", "pad", "squash"]
Rule = Literal["freeze-thaw", "halving", "median", "none"]  # of early stopping
DATA_SET_URL = "https://storage.googleapis.com/wandb_datasets/nature_12K.zip"


class Run(Section):
    role: ClassVar[Role] = Role.SEED

    name: Annotated[str, Role.NAME] = Field(
        "default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="part of the name of the run's folder"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="determines initial weights, data order and augmentation")
    seeds: Annotated[int, Role.EXECUTION] = Field(
        1, ge=1, le=10_000, description="train-best, finetune: number of runs, with seed, seed + 1, ..."
    )
    directory: Annotated[str, PATH, Role.PLACE] = Field("runs", description="folder of the run folders")
    cluster: Annotated[str | None, CLUSTER, Role.EXECUTION] = Field(
        None,
        description="a Ray cluster for the trainings: auto, local, host:port or ray://host:port; null: this machine",
    )
    path: Annotated[str | None, PATH, Role.DISPLAY] = Field(
        None, description="predict, export, app: a run folder; null: the newest with a model"
    )
    deterministic: bool = Field(False, description="bitwise the same result each time on the same machine; slower")


class Data(Section):
    role: ClassVar[Role] = Role.PLACE

    source: Annotated[str, PATH] = Field(
        "data/inaturalist_12K", description="a folder or archive of labeled images, or 'demo'"
    )
    directory: Annotated[str, PATH] = Field(
        "data", description="folder of downloads, the demo and the packs of decoded pixels"
    )
    image_size: Annotated[int, Role.OUTCOME] = Field(
        128, ge=SMALLEST_IMAGE, le=1024, description="side in pixels of the square images that the model sees"
    )
    fit: Annotated[Fit, Role.OUTCOME] = Field(
        "crop", description="images that are not square: the centered square, the whole image on gray, or distorted"
    )
    bit_depth: Annotated[Literal["auto", 8, 10, 12, 14, 16], Role.DATA] = Field(
        "auto", description="bits that 16-bit images really use; auto: found in the training images"
    )
    val_fraction: Annotated[float, Role.DATA] = Field(
        0.2,
        gt=0,
        lt=0.9,
        description="fraction of each class of training images held out if there are no validation images",
    )
    test_fraction: Annotated[float, Role.DATA] = Field(
        0.2, gt=0, lt=0.9, description="fraction of each class of images held out if there are no test images"
    )
    split_seed: Annotated[int, Role.DATA] = Field(
        0, ge=0, description="determines the validation images; the same for every run.seed"
    )
    near_duplicates: Annotated[bool, Role.DATA] = Field(
        True, description="treat resized, recompressed, mirrored, framed or cropped versions of an image as duplicates"
    )
    table: str | None = Field(
        None, description="path in the data set of the CSV, TSV, JSONL or Parquet file with the classes; null: found"
    )
    file_column: str | None = Field(None, description="the table's column of file names; null: found by usual names")
    label_column: str | None = Field(None, description="the table's column of classes; null: found by usual names")
    split_column: str | None = Field(None, description="the table's column of splits; null: found by usual names")
    ignore_duplicates: Annotated[str | None, PATH] = Field(
        None, description="a CSV file with two columns of paths: pairs that are no near-duplicates, as the report shows"
    )
    exclude: Annotated[str | None, PATH] = Field(
        None, description="a CSV file with the column file, or one path a line: training images that are not used"
    )
    zip: Annotated[str | None, PATH] = Field(
        None, description="the command `data`: an archive to unpack instead of a download"
    )
    url: Annotated[str, URL] = Field(
        DATA_SET_URL, description="the command `data`: the address of the .zip archive to download"
    )


class Augment(Section):
    flip: bool = Field(True, description="horizontal flip with probability 1/2")
    crop: float = Field(0.5, gt=0, le=1, description="smallest area of a random resized crop, a fraction; 1: no crop")
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation in either direction, degrees")
    color: Fraction = Field(0.2, description="largest change of brightness, contrast and saturation, as a fraction")
    cutout: Fraction = Field(0.0, description="side of an erased gray square, as a fraction of the image's side")
    mixup: float = Field(0.0, ge=0, description="MixUp with weights from Beta(mixup, mixup); 0: off")
    cutmix: float = Field(
        0.0,
        ge=0,
        description="CutMix with areas from Beta(cutmix, cutmix); 0: off. Beside MixUp, a batch uses one of them",
    )
    policy: Literal["none", "randaugment", "trivialaugment"] = Field(
        "none", description="additional random operations, as in the paper of that name"
    )


class Training(Section):
    budget: Annotated[Budget | None, Role.LENGTH] = Field(
        None,
        description="a table of settings for the CNN and about 12, 40 or 120 passes over the images; it gives epochs, "
        "optimizer, rate, decay, averaging, augmentation and dropout, unless they are given",
    )
    epochs: Annotated[int, Role.LENGTH] = Field(30, ge=1, le=10**6, description="passes over the training images")
    min_steps: Annotated[int, Role.LENGTH] = Field(
        0, ge=0, le=10**9, description="more epochs if the training images are too few for this many steps; 0: off"
    )
    batch_size: int = Field(64, ge=1, le=10**6, description="images a step")
    optimizer: Literal["adam", "adamw", "muon", "sgd", "rmsprop"] = Field(
        "adam", description="sgd has Nesterov momentum 0.9; muon trains hidden kernels and leaves the rest to adamw"
    )
    learning_rate: float = Field(1e-3, gt=0, le=1e38, description="the peak of the schedule")
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="the rate after the warm-up")
    warmup: Fraction = Field(0.0, description="fraction of all steps in which the learning rate rises to its peak")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of kernels; other weights have none")
    label_smoothing: Fraction = Field(0.0, description="probability moved from the true class to all classes")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: equal total weights of classes")
    sampling: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="shuffle: an epoch has every image once; balanced: every class equally often"
    )
    objective: Annotated[Literal["auto", "accuracy", "balanced_accuracy"], Role.SELECTION] = Field(
        "auto",
        description="the score on the validation images that selects epochs and trials; auto: balanced_accuracy if the "
        "largest class has more than 3 times as many training images as the smallest, else accuracy",
    )
    codistillation: Fraction = Field(0.0, description="weight of the ensemble's prediction in each network's target")
    teacher: Annotated[str | None, PATH, Role.TEACHER] = Field(
        None, description="train-best: the folder of a finished run whose predictions the CNN learns; null: labels only"
    )
    distillation_temperature: Annotated[float, Role.TEACHER] = Field(
        1.0, gt=0, le=100, description="above 1, it softens the predictions of teacher and CNN in their loss"
    )
    teacher_weight: Annotated[float, Role.TEACHER] = Field(
        1.0, gt=0, le=1, description="fraction of the loss for the teacher's predictions; the rest is for labels"
    )
    ema: Fraction = Field(0.0, description="time constant of averaged weights, as a fraction of all steps; 0: off")
    image_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (), description="sides of the training images as fractions of data.image_size, for equally many epochs each"
    )
    test_time_augmentation: bool = Field(
        False, description="also evaluate the mean of an image and its horizontal flip"
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "auto", description="auto: the fastest that the device supports in hardware"
    )
    steps_per_execution: int = Field(1, ge=1, description="most steps that a GPU takes per call, as in Keras")
    patience: int = Field(0, ge=0, description="epochs without a better training.objective that stop it; 0: off")

    @pydantic.field_validator("teacher")
    @classmethod
    def _name_folder(cls, value: str | None) -> str | None:
        """Returns the folder of the run, also for the path of its model, so that it has one name."""
        if value is None:
            return None
        path = Path(value)
        return str(path.parent if path.suffix == ".keras" else path)

    @pydantic.model_validator(mode="after")
    def _check_teacher(self) -> "Training":
        for name in ("distillation_temperature", "teacher_weight"):
            if self.teacher is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`training.{name}` needs `training.teacher`, the folder of a finished run")
        return self


class Sweep(Section):
    role: ClassVar[Role] = Role.SEARCH

    trials: Annotated[int, Role.EXECUTION] = Field(30, ge=1, description="total number of trials")
    epochs: int = Field(10, ge=1, description="epochs of a trial; training.epochs is for the final training")
    space: dict[str, Choice | list[Choice] | dict[str, Any]] = Field(
        default_factory=dict,
        description="dotted names of settings, each with one value, a list of choices, or {min, max, log, step}; "
        "{choices, when} or {min, max, when} is searched only if other settings have the values in `when`",
    )
    forbid: list[dict[str, Choice | list[Choice]]] = Field(
        default_factory=list, description="combinations to exclude, each as settings with a value or a list of values"
    )
    oracle: Literal["bayesian", "random", "grid"] = Field("bayesian", description="the KerasTuner oracle")
    prune: Rule | None = Field(
        None,
        description="early stopping of trials: freeze-thaw resumes the one that promises most, halving stops all but "
        "the best third, median those below the median; null: freeze-thaw, or halving without the Bayesian oracle",
    )
    workers: Annotated[int | None, Role.EXECUTION] = Field(
        None,
        ge=0,
        description="trials at a time, each in a process of its own; null: one, or as many as fit into a cluster; "
        "0: one after the other in this process",
    )
    trial_cpus: Annotated[int | None, Role.EXECUTION] = Field(
        None, ge=1, description="CPU cores of a trial in a cluster; null: an even share"
    )
    trial_gpus: Annotated[float | None, Role.EXECUTION] = Field(
        None, ge=0, description="GPUs of a trial in a cluster, such as 0.5; null: one if the cluster has any"
    )
    trial_timeout_seconds: Annotated[float | None, Role.EXECUTION] = Field(
        None, gt=0, description="a trial that takes longer fails; null: no limit"
    )

    @property
    def rule(self) -> Rule:
        """The rule of early stopping."""
        return self.prune or ("freeze-thaw" if self.oracle == "bayesian" else "halving")

    @pydantic.model_validator(mode="after")
    def _check_rule(self) -> "Sweep":
        if self.rule == "freeze-thaw" and self.oracle != "bayesian":
            raise ValueError("`sweep.prune=freeze-thaw` needs `sweep.oracle=bayesian`")
        return self

    @pydantic.model_validator(mode="after")
    def _check_timeout(self) -> "Sweep":
        if self.trial_timeout_seconds and self.workers == 0:
            raise ValueError(
                "`sweep.trial_timeout_seconds` needs `sweep.workers` of 1 or more: only another process can be ended"
            )
        return self


class TrainBest(Section):
    role: ClassVar[Role] = Role.EXECUTION

    sweep: str | None = Field(None, description="name of the sweep with the best configuration; null: the newest")


class Suspects(Section):
    role: ClassVar[Role] = Role.EXECUTION

    folds: int = Field(5, ge=2, le=100, description="models; each predicts the images that the others are trained on")


class Tracking(Section):
    role: ClassVar[Role] = Role.DISPLAY

    wandb: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: as WANDB_MODE says, otherwise online when logged in"
    )
    mlflow: bool = Field(False, description="track runs in MLflow, where MLFLOW_TRACKING_URI says")
    project: str | None = Field(
        None,
        description="the W&B project and MLflow experiment; null: as WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says, "
        "otherwise keras-inat",
    )
    artifacts: bool = Field(
        True, description="W&B and MLflow also get the predictions for the test images, some pictures, and the model"
    )
    tensorboard: bool = Field(True, description="write scalars and HParams for the command `dashboard`")


class Report(Section):
    role: ClassVar[Role] = Role.DISPLAY

    directory: Annotated[str, PATH] = Field("reports", description="folder of the page")
    author: str = Field("", max_length=200, description="the author, whom the page and the model cards name")
    compare: Annotated[str | None, PATHS] = Field(
        None, description="runs to compare, separated by spaces: their folders, or their names for all seeds of a run"
    )
    strict: bool = Field(False, description="fail if a required section is missing from the page")
    single_file: bool | None = Field(
        None, description="write the figures into index.html itself; null: if it then has at most 15 MB"
    )
    neurons: Literal["random", "selective"] = Field(
        "random", description="the ten neurons of the last block for guided backpropagation: random, or most selective"
    )


class Predict(Section):
    role: ClassVar[Role] = Role.DISPLAY

    image: Annotated[str | None, PATH] = Field(None, description="an image file, or a folder of images")
    format: Literal["text", "json", "csv"] = Field(
        "text", description="stdout has a line for each image; json: one object a line; csv: a table with a head"
    )
    top: int | None = Field(
        None, ge=1, description="most probable classes for each image; null: 3, and in json every class"
    )
    threshold: Fraction = Field(0.0, description="a confidence below it is marked as uncertain")
    calibrated: bool = Field(
        True, description="temperature scaling, as fitted on the validation images; false: the output of the model"
    )
    runtime: Literal["auto", "keras"] = Field(
        "auto", description="auto: ONNX Runtime if the run has an export that agrees with Keras, otherwise Keras"
    )
    explain: bool = Field(True, description="write pictures that explain the first predictions")
    output: Annotated[str | None, PATH] = Field(
        None, description="folder of these pictures; null: in the run, or in predictions/ if the run is read-only"
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
    suspects: Suspects = Suspects()
    tracking: Tracking = Tracking()
    report: Report = Report()
    predict: Predict = Predict()
    export: Export = Export()
    app: App = App()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _apply_budget(cls, values: Any) -> Any:
        return apply_budget(values)

    @pydantic.model_validator(mode="after")
    def _check_sections(self) -> "Config":
        size = self.data.image_size
        blocks = self.model.num_blocks
        if self.finetune is None and size < 2**blocks:
            raise ValueError(
                f"`data.image_size`={size} is too small for `model.num_blocks`={blocks}: "
                f"each block halves the side, so at least 2**{blocks} = {2**blocks} pixels are needed"
            )
        scales = self.training.image_scales
        epochs = self.training.epochs
        if len(scales) > epochs:
            raise ValueError(f"`training.image_scales` has {len(scales)} sizes, for `training.epochs`={epochs}")
        smallest = min(self.training_sizes)
        needed = SMALLEST_IMAGE if self.finetune else max(SMALLEST_IMAGE, 2**self.model.num_blocks)
        if scales and smallest < needed:
            raise ValueError(f"`training.image_scales` make images of {smallest} pixels, at least {needed} are needed")
        if scales and not self.finetune and self.model.pooling == "flatten":
            raise ValueError("`training.image_scales` needs `model.pooling`=average or max: flatten has one size")
        if self.training.class_weights == "balanced" and self.training.sampling == "balanced":
            raise ValueError(
                "`training.class_weights`=balanced and `training.sampling`=balanced each make the classes equal, and "
                "together they would favor the rare ones: set one of them"
            )
        if self.training.codistillation and (self.finetune or self.model.ensemble_size == 1):
            raise ValueError(
                "`training.codistillation` needs `model.ensemble_size` of 2 or more and no `finetune` section"
            )
        if self.training.teacher and self.finetune:
            raise ValueError(
                "`training.teacher` is for training the CNN from scratch, and this configuration has a `finetune` "
                "section: give only one of them"
            )
        if self.training.budget and self.finetune:
            raise ValueError("`training.budget` is for a CNN trained from scratch, and there is a `finetune` section")
        return self

    @property
    def training_sizes(self) -> tuple[int, ...]:
        """Sides of the training images in pixels, each for an equal number of epochs."""
        return tuple(round(scale * self.data.image_size) for scale in self.training.image_scales or (1.0,))
