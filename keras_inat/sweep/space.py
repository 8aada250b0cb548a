"""The search space: YAML in the configuration's own dotted names, as KerasTuner hyperparameters and back."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any, get_args

from keras_tuner import HyperParameters

from keras_inat.config import list_settings, override
from keras_inat.errors import UserError, describe_choices
from keras_inat.sections import Config

RANGE_KEYS = {"min", "max", "step", "log"}
# What may be searched: the rest would make scores incomparable, or choose a lucky split or seed.
SEARCHABLE = [
    name
    for name in list_settings()
    if name.split(".")[0] in ("augment", "model", "training", "finetune") or name == "data.image_size"
    # A trial's epochs are `sweep.epochs`.
    if name not in ("training.epochs", "training.min_steps")
]


def build_hyperparameters(config: Config) -> HyperParameters:
    """The hyperparameters of `sweep.space`.

    A value is fixed; a list is a set of choices; `{min, max}` a range, of integers when both are, with `log: true`
    searched on a logarithmic scale and with `step` in steps. `{choices: [...], when: {name: values}}`, or a range with
    `when`, is searched only where the settings that `when` names, which come before it, have one of these values;
    elsewhere it is as the configuration has it.

    Raises:
        UserError: When a name is no setting, or a value is none that the setting accepts.
    """
    space = config.sweep.space
    if not space:
        raise UserError("`sweep.space` is empty: give a CONFIG with a space, such as configs/sweep.yaml")
    hyperparameters = HyperParameters()
    for name, given in space.items():
        if name not in SEARCHABLE:
            raise UserError(f"a name in `sweep.space` {describe_choices(name, SEARCHABLE)}")
        if isinstance(given, dict) and "choices" in given and set(given) - {"choices", "when"}:
            raise UserError(f"`{name}` in `sweep.space`: choices go with `when` only. Received: {sorted(given)}.")
        domain = _domain(given)
        with contextlib.ExitStack() as conditions:
            for parent, values in _conditions(config, name, given).items():
                conditions.enter_context(hyperparameters.conditional_scope(parent, values))
            if isinstance(domain, list):
                _add_choices(hyperparameters, config, name, domain)
            else:
                _add_range(hyperparameters, config, name, domain)
    _check_forbidden(config)
    return hyperparameters


def encode_base(config: Config) -> dict[str, Any] | None:
    """The configuration itself as a point of its space; None where it lies outside."""
    settings = config.model_dump(mode="json")
    values: dict[str, Any] = {}
    for name, given in config.sweep.space.items():
        if not is_active(config, name, values):
            continue
        section, key = name.split(".")
        value: Any = (settings[section] or {}).get(key)
        domain = _domain(given)
        if isinstance(domain, list):
            if value not in domain:
                return None
            values[name] = _encode(domain)[domain.index(value)]
            continue
        low, high = float(domain["min"]), float(domain["max"])  # numbers, as `build_hyperparameters` made sure
        if not isinstance(value, int | float) or "step" in domain or not low <= value <= high:
            return None
        values[name] = value
    return None if is_forbidden(config, values) else values


def decode_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameter values as settings: what `build_hyperparameters` encoded as text is itself again."""
    decoded = {}
    for name, given in config.sweep.space.items():
        if name in values:
            domain = _domain(given)
            choices = dict(zip(_encode(domain), domain, strict=True)) if isinstance(domain, list) else {}
            decoded[name] = choices.get(values[name], values[name])
    return decoded


def is_active(config: Config, name: str, values: Mapping[str, Any]) -> bool:
    """Whether the conditions of a hyperparameter hold among `values`, encoded, of those before it."""
    conditions = _conditions(config, name, config.sweep.space[name])
    return all(parent in values and values[parent] in choices for parent, choices in conditions.items())


def is_forbidden(config: Config, values: Mapping[str, Any]) -> bool:
    """Whether encoded `values` are among the combinations of `sweep.forbid`; settings not searched count too."""
    if not config.sweep.forbid:
        return False
    settings, decoded = config.model_dump(mode="json"), decode_values(config, values)

    def has(name: str, wanted: Any) -> bool:
        section, key = name.split(".")
        value = decoded[name] if name in decoded else (settings[section] or {}).get(key)
        return value in _list_wanted(wanted, _list_choices(config, name))

    return any(all(has(name, wanted) for name, wanted in rule.items()) for rule in config.sweep.forbid)


def describe_values(values: Mapping[str, Any]) -> str:
    """A configuration in a few words, such as `filters=32 activation=gelu`."""
    texts = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return " ".join(f"{name.split('.')[1]}={text}" for name, text in texts.items())


def _domain(given: Any) -> list[Any] | dict[str, Any]:
    """A list of choices, or a range without its conditions."""
    if isinstance(given, dict):
        if "choices" in given:
            choices = given["choices"]
            return choices if isinstance(choices, list) else [choices]
        return {key: value for key, value in given.items() if key != "when"}
    return given if isinstance(given, list) else [given]


def _list_choices(config: Config, name: str) -> list[Any]:
    """What a setting is searched among; nothing where it is not, or in a range."""
    domain = _domain(config.sweep.space[name]) if name in config.sweep.space else None
    return domain if isinstance(domain, list) else []


def _list_wanted(wanted: Any, choices: list[Any]) -> list[Any]:
    """A value, or each of several; a list that is itself a choice is one value."""
    return wanted if isinstance(wanted, list) and wanted not in choices else [wanted]


def _conditions(config: Config, name: str, given: Any) -> dict[str, list[Any]]:
    """Encoded values that settings before this one must have, by their name."""
    when = given.get("when", {}) if isinstance(given, dict) else {}
    if not isinstance(when, dict):
        raise UserError(f"`when` of `{name}` in `sweep.space` must give values by the names of settings")
    space = config.sweep.space
    before = list(space)[: list(space).index(name)]
    conditions = {}
    for parent, wanted in when.items():
        choices = _domain(space[parent]) if parent in before else None
        if not isinstance(choices, list):
            raise UserError(
                f"`when` of `{name}` in `sweep.space` names `{parent}`, which must come before it, as choices"
            )
        wanted = _list_wanted(wanted, choices)
        if unknown := [value for value in wanted if value not in choices]:
            raise UserError(
                f"`when` of `{name}` in `sweep.space`: `{parent}` is never {unknown[0]!r}, but one of {choices}"
            )
        conditions[parent] = [_encode(choices)[choices.index(value)] for value in wanted]
    return conditions


def _check_forbidden(config: Config) -> None:
    for rule in config.sweep.forbid:
        if not rule:
            raise UserError("`sweep.forbid` holds an empty combination, which would forbid everything")
        for name in rule:
            if name not in SEARCHABLE:
                raise UserError(f"a name in `sweep.forbid` {describe_choices(name, SEARCHABLE)}")
            choices = _list_choices(config, name)
            unknown = [value for value in _list_wanted(rule[name], choices) if value not in choices]
            if unknown and len(choices) > 1:  # of a single one, which may have been given for this time, it is as well
                raise UserError(f"`sweep.forbid`: `{name}` is never {unknown[0]!r}, but one of {choices}")


def _add_choices(hyperparameters: HyperParameters, config: Config, name: str, domain: list[Any]) -> None:
    if not domain:
        raise UserError(f"`sweep.space` gives no choice for `{name}`")
    for choice in domain:
        _check(config, name, choice)
    if len(domain) == 1:
        hyperparameters.Fixed(name, _encode(domain)[0])
    elif sorted(map(str, domain)) == ["False", "True"]:
        hyperparameters.Boolean(name)  # as a choice, KerasTuner would turn it into 0 and 1
    else:
        hyperparameters.Choice(name, _encode(domain))


def _add_range(hyperparameters: HyperParameters, config: Config, name: str, domain: dict[str, Any]) -> None:
    if not {"min", "max"} <= set(domain) <= RANGE_KEYS:
        raise UserError(
            f"the range of `{name}` in `sweep.space` needs min and max, and may have log, step and when; choices with "
            "conditions are {choices, when}"
        )
    low, high, sampling = domain["min"], domain["max"], "log" if domain.get("log") else "linear"
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or low >= high:
        raise UserError(f"the range of `{name}` in `sweep.space` must go from a number to a larger one")
    if sampling == "log" and low <= 0:
        raise UserError(f"the range of `{name}` in `sweep.space` is logarithmic, so min must be above 0")
    if isinstance(step := domain.get("step"), int | float) and not 0 < step < math.inf:
        raise UserError(f"`step` of `{name}` in `sweep.space` must be above 0. Received: {step!r}.")
    if not isinstance(domain.get("log", False), bool):
        raise UserError(f"`log` of `{name}` in `sweep.space` must be true or false. Received: {domain['log']!r}.")
    _check(config, name, low)
    _check(config, name, high)
    # A setting that takes integers is searched among integers, however the ends are written.
    annotation = list_settings()[name].annotation
    kinds = {annotation, *get_args(annotation)}
    if not kinds & {int, float}:
        raise UserError(f"`{name}` in `sweep.space` is no number: give a list of choices")
    whole = int in kinds
    add = hyperparameters.Int if whole else hyperparameters.Float
    try:
        add(name, low, high, step=step, sampling=sampling)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"the range of `{name}` in `sweep.space` cannot be searched: {error}") from None


def _check(config: Config, name: str, value: Any) -> None:
    try:
        override(config, {name: value})
    except UserError as error:
        # A choice that only fails together with another setting is for the trial to find out.
        if f"`{name}` " in str(error):
            raise UserError(f"in `sweep.space`: {error}") from None


def _encode(domain: list[Any]) -> list[Any]:
    """Numbers of one kind as they are, everything else as text, since KerasTuner takes no lists, None or mixtures."""
    kinds = {type(choice) for choice in domain}
    if kinds == {int} or kinds == {bool}:
        return domain
    return list(map(float, domain)) if kinds <= {int, float} else list(map(str, domain))
