"""Reads a configuration: defaults < YAML file < `section.key=value`.

Imports no TensorFlow, so that `--help` and a mistyped setting answer at once.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pydantic
from ruamel.yaml import YAML, YAMLError

from keras_inat.errors import UserError, describe_choices
from keras_inat.settings.schema import Config, Section

# The Makefile's variables are short names for settings.
VARIABLES = {
    "DATA": "data.source",
    "ZIP": "data.zip",
    "URL": "data.url",
    "NAME": "run.name",
    "TRIALS": "sweep.trials",
    "WORKERS": "sweep.workers",
    "CHIEF": "sweep.chief",
    "SWEEP": "train_best.sweep",
    "SEEDS": "run.seeds",
    "STRICT": "report.strict",
    "RUNS": "report.compare",
    "STRATEGY": "finetune.strategy",
    "BACKBONE": "finetune.backbone",
    "WEIGHTS": "finetune.weights",
    "UNFREEZE": "finetune.unfreeze",
    "RUN": "predict.run",
    "IMAGE": "predict.image",
}


# What reading text that is no YAML may raise: also of a date that does not exist, of a tag that does not fit its value,
# and of thousands of brackets.
MALFORMED = (YAMLError, ValueError, LookupError, RecursionError)
# What the patterns of `sections` say, in words.
PATTERNS = {
    "run.name": "up to 100 letters, digits, '.', '_' and '-', and begin with a letter or digit",
    "sweep.chief": "host:port",
}


def load_config(arguments: Iterable[str] = (), path: str | Path | None = None) -> Config:
    """Reads a configuration.

    Args:
        arguments: `section.key=value` or `VARIABLE=value`, the value written as in YAML. A setting that is given is not
            searched.
        path: A YAML file of sections that states only what differs from the defaults.

    Raises:
        UserError: Naming the setting, what is accepted and what was received.
    """
    values = read_yaml(path) if path else {}
    overrides = parse_overrides(arguments)
    if any(not isinstance(values.get(section, {}), Mapping) for section in overrides):
        build_config(values, str(path))  # refuses what is no section, which would be replaced as a whole
    merged = merge(_fix_searched(values, overrides), overrides)
    try:
        config = build_config(merged)
    except UserError:
        build_config(values, str(path))  # names the file where the mistake is the file's own
        raise
    tuned = overrides.get("finetune", {})
    if tuned and not values.get("finetune") and not any(name in tuned for name in ("strategy", "backbone", "weights")):
        raise UserError(
            f"`finetune.{next(iter(tuned))}` is for a pretrained backbone, and this configuration trains from scratch: "
            "use `make finetune`, or give STRATEGY, BACKBONE or WEIGHTS, too"
        )
    return config


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
    except MALFORMED as error:
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


def list_choices(annotation: Any) -> tuple[Any, ...]:
    """The words that a setting of this type takes; none where others would do."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((choices for kind in get_args(annotation) if (choices := list_choices(kind))), ())


def _fix_searched(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values` with a single choice for what their space would search and `overrides` give."""
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
            # else it cannot apply any more
        else:
            fixed[name] = domain
    return merge(values, {"sweep": {"space": fixed}})


def _includes(wanted: Any, value: Any) -> bool:
    return value == wanted or (isinstance(wanted, list) and value in wanted)


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
    except MALFORMED:
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
        choices = [str(choice) for choice in list_choices(_field(name).annotation)]
        return f"`{name}` {describe_choices(received, choices)}{where}"
    if not parts:
        return first["msg"].removeprefix("Value error, ") + where
    if len(parts) == 1:
        # A check across settings names them itself; anything else is a section that is no mapping.
        message = first["msg"].removeprefix("Value error, ")
        return message + where if first["type"] == "value_error" else f"`{name}` must be a section of settings{where}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "string_pattern_mismatch":
        message = PATTERNS[name]
    message = message if message.startswith("must") else f"must be {message}"
    return f"`{name}` {message}. Received: {received!r}.{where}"
