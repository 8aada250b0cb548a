"""Checks of arguments that name files, before a command starts TensorFlow, which takes seconds."""

import importlib.util
import tempfile
from pathlib import Path

from keras_inat.commands.catalog import COMMANDS, Command
from keras_inat.errors import UserError, explain_errors
from keras_inat.files import suggest_path
from keras_inat.settings.schema import Config


def check_arguments(command: Command, config: Config) -> None:
    """Refuses an argument of a command that names a file or folder that cannot be used.

    Raises:
        UserError: The file is missing or of the wrong kind.
    """
    # `data` itself creates the folder that DATA names.
    if "DATA" in command.variables and "URL" not in command.variables:
        from keras_inat.data.source import check_source

        check_source(config.data.source)
    if "DATA" in command.variables and config.data.exclude:
        from keras_inat.data.exclusion import read_exclusion

        read_exclusion(config.data.exclude)
    if "WEIGHTS" in command.variables and config.finetune:
        from keras_inat.models.backbones import check_backbone

        check_backbone(config.finetune)
    if config.training.teacher and command is COMMANDS["train-best"]:
        from keras_inat.store.runs import open_teacher

        open_teacher(config)  # refuses a run that does not exist
    elif config.training.teacher and {"sweep", "suspects"} & {*command.sections}:
        raise UserError("`training.teacher` is for train-best: remove it here")
    if "CLUSTER" in command.variables and config.run.cluster:
        _check_cluster(config)
    if "tracking" in command.sections:
        from keras_inat.training.mlflow_run import check_mlflow
        from keras_inat.training.wandb_run import read_mode_variable

        if config.tracking.wandb == "auto":
            read_mode_variable()  # refuses an unknown mode
        check_mlflow(config)
        _check_writable(Path(config.run.directory))
    if "FORMAT" in command.variables:
        from keras_inat.export.packages import check_packages
        from keras_inat.store.runs import choose_run

        check_packages(config.export.formats)
        choose_run(config)
    if command is COMMANDS["app"]:
        from keras_inat.export.app.runtime import check_runtime
        from keras_inat.export.packages import check_packages
        from keras_inat.store.exports import find_export
        from keras_inat.store.runs import choose_run

        run, _ = choose_run(config)
        check_runtime(config.app.runtime)
        if not find_export(run, "onnx"):
            check_packages(["onnx"])
    if "IMAGE" in command.variables:
        _check_image(config.predict.image)


def _check_cluster(config: Config) -> None:
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            f"CLUSTER={config.run.cluster} needs Ray, which is not installed: pip install 'keras-inat[cluster]'"
        )
    if config.sweep.workers == 0:
        raise UserError(
            "`sweep.workers`=0 trains in this process, and CLUSTER on other machines: give only one of them"
        )


def _check_writable(folder: Path) -> None:
    """Raises a `FileError` if a folder cannot be made or written, rather than after the images are decoded."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with explain_errors("write the folder", folder), tempfile.TemporaryFile(dir=existing):
        pass


def _check_image(image: str | None) -> None:
    if not image:
        raise UserError("IMAGE is missing: give IMAGE=<image file or folder>")
    if not Path(image).exists():
        raise UserError(
            f"IMAGE {image!r} does not exist: give an image file or a folder of images.{suggest_path(image)}"
        )
