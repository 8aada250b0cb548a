"""Checks of arguments that name files, before a command starts TensorFlow, which takes seconds."""

import tempfile
from pathlib import Path

from keras_inat.commands.catalog import Command
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
    if "IMAGE" in command.variables:
        _check_image(config.predict.image)


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
