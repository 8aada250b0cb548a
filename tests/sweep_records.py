"""The records of a sweep that was never run."""

from typing import Any

from keras_inat.files import write_text
from keras_inat.settings import roles
from keras_inat.settings.catalog import nest, select
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml
from keras_inat.store.checksums import sign_lines
from keras_inat.store.records import Trial
from keras_inat.store.sweeps import SweepFolder, SweepIdentity

DEFAULTS = Config()


def write_sweep(folder: SweepFolder, settings: dict[str, Any], base: Config = DEFAULTS, data_hash: str = "abc") -> None:
    """Writes a sweep of one completed trial, which is the best one."""
    base = override(base, {"run.name": folder.name})
    identity = SweepIdentity(space={}, settings=select(base, roles.SWEEP), data_hash=data_hash)
    folder.write_identity(identity)
    trial = Trial(id="0", values={}, settings=settings, sweep=identity.hash, status="completed", score=0.5)
    trial.write(folder.trial_file("0"))
    best = select(override(base, settings), roles.BEST)
    write_text(folder.best, sign_lines(format_yaml(nest(best)), subject=identity.hash))
