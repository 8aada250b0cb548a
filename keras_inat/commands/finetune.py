"""A pretrained backbone, adapted by one strategy and judged once."""

import re
from pathlib import Path

from keras_inat.config import override
from keras_inat.errors import UserError
from keras_inat.sections import Config
from keras_inat.training.evaluation import train_and_judge


def run(config: Config) -> None:
    """Fine-tunes as `finetune.strategy` says, and says how well it did."""
    settings = config.finetune
    if settings is None:
        raise UserError("this configuration has no `finetune` section: give one, or finetune.strategy=head")
    name = config.run.name
    if name == Config().run.name:
        # One of our own models has no name but that of the run that made it.
        own = settings.weights.endswith(".keras")
        name = f"{settings.strategy}-{Path(settings.weights).resolve().parent.name if own else settings.backbone}"
        config = override(config, {"run.name": re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]})
    train_and_judge(config, "finetune", settings.strategy)
