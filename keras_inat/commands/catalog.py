"""A table of the commands: their variables, settings, recipe and an example. Imports no TensorFlow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A row of the table."""

    help: str  # one phrase
    example: str  # its words on the command line
    variables: tuple[str, ...] = ()  # short names of settings, besides CONFIG
    sections: tuple[str, ...] = ()  # the sections of the configuration that it reads
    recipe: str | None = None  # the recipe that it uses unless CONFIG names another one
    flags: tuple[str, ...] = ()  # settings that `--<last part of the name>` makes true


NETWORK = ("run", "data", "augment", "model", "training")
COMMANDS = {
    "demo": Command(
        "search, train, fine-tune, export and report on drawn images, offline, in minutes",
        example="",
        sections=(*NETWORK, "sweep", "tracking", "export", "app", "report"),
        recipe="demo",
    ),
    "data": Command(
        "download or unpack a data set, decode it and list what was found",
        example="DATA=photos.zip",
        variables=("ZIP", "URL", "DATA"),
        sections=("data",),
        recipe="sweep",
    ),
    "sweep": Command(
        "search hyperparameters; run it again to resume",
        example="DATA=photos.zip TRIALS=30",
        variables=("DATA", "NAME", "TRIALS", "WORKERS", "CLUSTER"),
        sections=(*NETWORK, "sweep", "tracking"),
        recipe="sweep",
    ),
    "train-best": Command(
        "train a sweep's best configuration, evaluate each seed once on the test images",
        example="SWEEP=first SEEDS=3",
        variables=("DATA", "SWEEP", "SEEDS", "NAME", "CLUSTER"),
        sections=(*NETWORK, "train_best", "tracking"),
    ),
    "finetune": Command(
        "fine-tune a pretrained backbone: head, topk, full, gradual, lpft or all",
        example="DATA=photos.zip STRATEGY=topk BACKBONE=MobileNetV2",
        variables=("DATA", "STRATEGY", "BACKBONE", "WEIGHTS", "UNFREEZE", "SEEDS", "NAME", "CLUSTER"),
        sections=("run", "data", "augment", "training", "finetune", "tracking"),
        recipe="finetune",
    ),
    "suspects": Command(
        "list the images whose labels are probably wrong",
        example="DATA=photos.zip BACKBONE=MobileNetV2",
        variables=("DATA", "BACKBONE", "WEIGHTS", "NAME"),
        sections=(*NETWORK, "finetune", "suspects"),
        recipe="finetune",
    ),
    "backbones": Command("list the pretrained networks: accuracy, size, pixel range", example=""),
    "report": Command(
        "write reports/index.html; STRICT=1 fails if a required section is missing",
        example='RUNS="first second"',
        variables=("RUNS", "STRICT"),
        sections=("run", "report"),
    ),
    "predict": Command(
        "class probabilities and an attribution map, for an image or a folder",
        example="IMAGE=photo.jpg",
        variables=("RUN", "IMAGE"),
        sections=("run", "predict"),
    ),
    "export": Command(
        "the model for other programs: ONNX, LiteRT or SavedModel, each compared with Keras",
        example="FORMAT=onnx,litert",
        variables=("RUN", "FORMAT"),
        sections=("run", "export"),
    ),
    "app": Command(
        "write a page that classifies images in the browser, and a Hugging Face Space; --serve opens it here",
        example="--serve",
        variables=("RUN",),
        sections=("run", "export", "app"),
        flags=("app.serve",),
    ),
    "cost": Command(
        "parameters, multiply-accumulates and memory, by layer and in closed form",
        example="CONFIG=scratch",
        sections=("data", "model", "training"),
    ),
    "dashboard": Command("open TensorBoard (scalars, HParams) on runs/", example="", sections=("run",)),
    "bench": Command(
        "measure speed, as ratios of two things run together",
        example="DATA=photos.zip",
        variables=("DATA",),
        sections=("data", "augment", "model", "training"),
        recipe="demo",
    ),
    "replay": Command("compare search methods on recorded trials", example=""),
    "clean-packs": Command(
        "remove decoded pixels of images that were changed or deleted", example="", sections=("data",)
    ),
    "settings": Command("list every setting with its default and description", example=""),
}
