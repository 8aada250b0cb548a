"""Reads configurations. Defaults are overridden by a YAML file, and the file by `section.key=value` words.

Imports no TensorFlow, so that `--help` and a mistyped setting answer at once.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from keras_inat.errors import PROGRAM, UserError, describe_choices
from keras_inat.settings.catalog import list_choices, list_settings, nest
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import MALFORMED, parse_yaml, read_yaml

# The Makefile's variables are short names for settings.
VARIABLES = {
    "DATA": "data.source",
    "ZIP": "data.zip",
    "URL": "data.url",
    "NAME": "run.name",
    "TRIALS": "sweep.trials",
    "WORKERS": "sweep.workers",
    "CLUSTER": "run.cluster",
    "SWEEP": "train_best.sweep",
    "SEEDS": "run.seeds",
    "STRICT": "report.strict",
    "RUNS": "report.compare",
    "STRATEGY": "finetune.strategy",
    "BACKBONE": "finetune.backbone",
    "WEIGHTS": "finetune.weights",
    "UNFREEZE": "finetune.unfreeze",
    "RUN": "run.path",
    "IMAGE": "predict.image",
    "FORMAT": "export.formats",
}
# The regular expression of `run.name` in words.
NAME_PATTERN = "up to 100 letters, digits, '.', '_' and '-', and begin with a letter or a digit"


def load_config(arguments: Iterable[str] = (), path: str | Path | None = None) -> Config:
    """Reads a configuration.

    Args:
        arguments: `section.key=value` or `VARIABLE=value` words, with the value written as in YAML. A setting that is
            given here is not searched by a sweep. `training.epochs` also replaces `training.min_steps` of the file.
        path: A YAML file of sections that states only the differences from the defaults.

    Raises:
        UserError: A setting is unknown or its value is not accepted. The message names the setting.
    """
    values = read_yaml(path) if path else {}
    overrides = parse_overrides(arguments)
    given = overrides.get("training", {})
    if "epochs" in given and "min_steps" not in given:
        overrides = merge(overrides, {"training": {"min_steps": 0}})
    if any(not isinstance(values.get(section, {}), Mapping) for section in overrides):
        build_config(values, str(path))  # refuses a section that is not a mapping before it would be replaced
    merged = merge(_fix_searched(values, overrides), overrides)
    try:
        config = build_config(merged)
    except UserError:
        build_config(values, str(path))  # names the file if the mistake is in the file
        raise
    tuned = overrides.get("finetune", {})
    if tuned and not values.get("finetune") and not any(name in tuned for name in ("strategy", "backbone", "weights")):
        raise UserError(
            f"`finetune.{next(iter(tuned))}` is for a pretrained backbone, and this configuration trains from scratch: "
            f"use `{PROGRAM} finetune`, or also give STRATEGY, BACKBONE or WEIGHTS"
        )
    return config


def build_config(values: Mapping[str, Any], origin: str | None = None) -> Config:
    """Builds a `Config` from nested values. `origin` is the file that errors name."""
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(_explain(error, origin)) from None


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of `config` with new values for dotted `section.key` names."""
    return build_config(merge(config.model_dump(), nest(values)))


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Parses `section.key=value` words into nested values."""
    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals:
            raise UserError(f"settings are written section.key=value. Received: {argument!r}.")
        is_text = False
        if "." not in name:
            if name not in VARIABLES:
                raise UserError(f"a variable {describe_choices(name, VARIABLES)}")
            if not text:
                raise UserError(f"{name} is empty: give {name}=<value>, or leave it out")
            name = VARIABLES[name]
            # Make's variables are plain text: a folder called 2024 is not a number.
            is_text = list_settings()[name].annotation in (str, str | None)
        values = merge(values, nest({name: text if is_text else _parse(text, name)}))
    return values


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with `changes` merged in, section by section. A search space is replaced as a whole."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != "space"
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _fix_searched(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fixes the settings of the search space that `overrides` gives, and resolves the conditions on them."""
    sweep = values.get("sweep")
    space = sweep.get("space") if isinstance(sweep, Mapping) else None
    if not isinstance(space, Mapping):
        return values
    given = {f"{section}.{key}": value for section, pairs in overrides.items() for key, value in pairs.items()}
    fixed = dict[str, Any]()
    for name, domain in space.items():
        if name in given:
            fixed[name] = [given[name]]
        elif isinstance(domain, Mapping) and isinstance(domain.get("when"), Mapping):
            when = domain["when"]
            if all(_includes(wanted, given[parent]) for parent, wanted in when.items() if parent in given):
                still = {parent: wanted for parent, wanted in when.items() if parent not in given}
                fixed[name] = {**domain, "when": still}
        else:
            fixed[name] = domain
    return merge(values, {"sweep": {"space": fixed}})


def _includes(wanted: Any, value: Any) -> bool:
    return value == wanted or (isinstance(wanted, list) and value in wanted)


def _parse(text: str, name: str) -> Any:
    try:
        return parse_yaml(text)
    except MALFORMED:
        raise UserError(f"the value of `{name}` is not valid YAML. Received: {text!r:.300}.") from None


def _explain(error: pydantic.ValidationError, origin: str | None) -> str:
    """Describes the first error in one line: the setting, the accepted values and the received one."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    name = ".".join(parts[:2])
    where = f" (in {origin})" if origin else ""
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "extra_forbidden":
        known = list_settings() if len(parts) > 1 else Config.model_fields
        siblings = [setting for setting in known if len(parts) == 1 or setting.startswith(parts[0] + ".")]
        return f"unknown setting{where}: it {describe_choices(name, siblings)}"
    if first["type"] == "literal_error":
        choices = [str(choice) for choice in list_choices(list_settings()[name].annotation)]
        return f"`{name}` {describe_choices(first['input'], choices)}{where}"
    if len(parts) < 2:
        # A check across settings names them itself. Any other error is a section that is not a mapping.
        return message + where if first["type"] == "value_error" else f"`{name}` must be a section of settings{where}"
    if first["type"] == "int_parsing_size":
        message = "a smaller number"
    if first["type"] == "string_pattern_mismatch":
        message = NAME_PATTERN
    message = message if message.startswith("must") else f"must be {message}"
    return f"`{name}` {message}. Received: {first['input']!r:.300}.{where}"
