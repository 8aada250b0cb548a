"""Runs a command by its name, for the command line and for the API."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_inat.commands.catalog import COMMANDS
from keras_inat.commands.preflight import check_arguments
from keras_inat.errors import UserError
from keras_inat.settings.loading import build_config, load_config, parse_overrides
from keras_inat.settings.recipes import find_recipe
from keras_inat.signals import raise_signals


def run_command(name: str, words: Sequence[str]) -> Any:
    """Runs a command with its words, `VARIABLE=value` or `section.key=value`. Returns what the command returns.

    Raises:
        UserError: A word is not accepted, or the command cannot do its work.
    """
    chosen = [word.removeprefix("CONFIG=") for word in words if word.startswith("CONFIG=")]
    settings = [word for word in words if not word.startswith("CONFIG=")]
    config = load_config(settings, _find_config(name, chosen, settings))
    check_arguments(COMMANDS[name], config)  # before the seconds that TensorFlow takes to start
    command = _import_command(name)
    with raise_signals():
        return command.run(config)


def _import_command(name: str) -> Any:
    """Imports the module of a command, and with it TensorFlow if the command needs it."""
    from keras_inat.progress import import_quietly

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(f"keras-inat needs TensorFlow, and KERAS_BACKEND={backend} is set: unset this variable")
    os.environ["MPLBACKEND"] = "agg"  # the user's may open windows, or be unknown
    return import_quietly(f"keras_inat.commands.{name.replace('-', '_')}")


def _find_config(name: str, chosen: list[str], settings: list[str]) -> Path | None:
    """Returns the configuration file: the one that CONFIG names, the best of a sweep, or the recipe of the command."""
    if chosen:
        if any(setting.startswith(("SWEEP=", "train_best.sweep=")) for setting in settings):
            raise UserError("SWEEP and CONFIG both choose a configuration: give only one of them")
        return find_recipe(chosen[-1])
    if name == "train-best":
        from keras_inat.store.sweeps import find_best_config

        # The other settings may be valid only for the best configuration, so they are read after it is found.
        overrides = parse_overrides(settings)
        given = build_config({section: overrides.get(section, {}) for section in ("run", "train_best")})
        return find_best_config(given.run.directory, given.train_best.sweep)
    recipe = COMMANDS[name].recipe
    return find_recipe(recipe) if recipe else None
