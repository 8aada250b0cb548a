"""The search space: YAML in the configuration's own dotted names, as KerasTuner hyperparameters and back."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from keras_tuner import HyperParameters
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, HyperParameter, Int
from keras_tuner.src.engine.conditions import Parent

from keras_inat.errors import UserError, describe_choices
from keras_inat.settings import roles
from keras_inat.settings.catalog import list_names, list_settings
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config

RANGE_KEYS = {"min", "max", "step", "log"}
MAX_STEPS = 1000
SEARCHABLE = list_names(roles.SEARCHABLE)


def build_hyperparameters(config: Config) -> HyperParameters:
    """The hyperparameters of `sweep.space`.

    A value is fixed; a list is a set of choices; `{min, max}` a range, of integers where the setting takes them, with
    `log: true` searched on a logarithmic scale. With `step` it is a set of choices, each so much more than the one
    before it, or with `log: true` so many times as much. `{choices: [...], when: {name: values}}`, or a range with
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
        _check_effect(config, name)
        domain = _domain(name, given)
        built = _build_choice(config, name, domain) if isinstance(domain, list) else _build_range(config, name, domain)
        # KerasTuner's `conditional_scope` takes no second condition, and none on what has one itself.
        built.conditions = [Parent(parent, values) for parent, values in _conditions(config, name, given).items()]
        hyperparameters.merge([built])
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
        domain = _domain(name, given)
        if isinstance(domain, list):
            if value not in domain:
                return None
            values[name] = _encode(domain)[domain.index(value)]
            continue
        low, high = float(domain["min"]), float(domain["max"])  # numbers, as `build_hyperparameters` made sure
        if not isinstance(value, int | float) or not low <= value <= high:
            return None
        values[name] = value
    return None if is_forbidden(config, values) else values


def decode_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameter values as settings: what `build_hyperparameters` encoded as text is itself again."""
    decoded = {}
    for name, given in config.sweep.space.items():
        if name in values:
            domain = _domain(name, given)
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


def _domain(name: str, given: Any) -> list[Any] | dict[str, Any]:
    """A list of choices, or a range without its conditions."""
    if isinstance(given, dict) and "choices" not in given:
        domain = {key: value for key, value in given.items() if key != "when"}
        _check_range(name, domain)
        return domain if domain.get("step") is None else _list_steps(name, domain)
    choices = given["choices"] if isinstance(given, dict) else given
    return choices if isinstance(choices, list) else [choices]


def _list_steps(name: str, domain: dict[str, Any]) -> list[Any]:
    """The values of a range in steps; KerasTuner counts them in floating point, and may leave out the last."""
    low, high, step = domain["min"], domain["max"], domain["step"]
    log = domain.get("log", False)
    if not isinstance(step, int | float) or isinstance(step, bool) or not (1 if log else 0) < step < math.inf:
        raise UserError(f"`step` of `{name}` in `sweep.space` must be above {1 if log else 0}. Received: {step!r}.")
    number = math.floor((math.log(high / low, step) if log else (high - low) / step) + 1e-9)
    if not 1 <= number < MAX_STEPS:
        raise UserError(
            f"`step` of `{name}` in `sweep.space` makes {number} steps: 1 to {MAX_STEPS - 1} can be searched"
        )
    values = [float(f"{low * step**index if log else low + index * step:.12g}") for index in range(number + 1)]
    return list(dict.fromkeys(map(round, values))) if _is_whole(name) else values


def _is_whole(name: str) -> bool:
    """Whether a setting takes integers: it is searched among these, however the ends of a range are written."""
    return int in _list_kinds(name)


def _list_kinds(name: str) -> set[Any]:
    annotation = list_settings()[name].annotation
    return {annotation, *get_args(annotation)}


def _list_choices(config: Config, name: str) -> list[Any]:
    """What a setting is searched among; nothing where it is not, or in a range."""
    domain = _domain(name, config.sweep.space[name]) if name in config.sweep.space else None
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
        choices = _domain(parent, space[parent]) if parent in before else None
        if not isinstance(choices, list):
            raise UserError(
                f"`when` of `{name}` in `sweep.space` names `{parent}`, which must come before it, as choices"
            )
        wanted = _list_wanted(wanted, choices)
        if not wanted:
            raise UserError(f"`when` of `{name}` in `sweep.space` gives no value of `{parent}`")
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


def _check_effect(config: Config, name: str) -> None:
    """Refuses what would not change a trial."""
    section = name.split(".")[0]
    if section == "finetune" and not config.finetune:
        raise UserError(f"`{name}` in `sweep.space` needs a `finetune` section: give one in CONFIG")
    if section == "model" and config.finetune:
        raise UserError(f"`{name}` in `sweep.space` is of the CNN, and `finetune` has a backbone trained in its place")


def _build_choice(config: Config, name: str, domain: list[Any]) -> HyperParameter:
    if not domain:
        raise UserError(f"`sweep.space` gives no choice for `{name}`")
    for choice in domain:
        _check(config, name, choice)
    encoded = _encode(domain)
    if twice := [choice for choice in encoded if encoded.count(choice) > 1]:
        raise UserError(
            f"`sweep.space` gives `{name}` the choice {twice[0]!r} twice; a list that is one choice has brackets of "
            "its own: [[3, 3, 5]]"
        )
    if len(encoded) == 1:
        return Fixed(name, encoded[0])
    if sorted(map(str, domain)) == ["False", "True"]:
        return Boolean(name)  # as a choice, KerasTuner would turn it into 0 and 1
    return Choice(name, encoded)


def _check_range(name: str, domain: dict[str, Any]) -> None:
    if not {"min", "max"} <= set(domain) <= RANGE_KEYS:
        raise UserError(
            f"the range of `{name}` in `sweep.space` needs min and max, and may have log, step and when; choices with "
            "conditions are {choices, when}"
        )
    low, high = domain["min"], domain["max"]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not -math.inf < low < high < math.inf:
        raise UserError(f"the range of `{name}` in `sweep.space` must go from a number to a larger one")
    if not isinstance(domain.get("log", False), bool):
        raise UserError(f"`log` of `{name}` in `sweep.space` must be true or false. Received: {domain['log']!r}.")
    if domain.get("log") and low <= 0:
        raise UserError(f"the range of `{name}` in `sweep.space` is logarithmic, so min must be above 0")
    if not _list_kinds(name) & {int, float}:
        raise UserError(f"`{name}` in `sweep.space` is no number: give a list of choices")


def _build_range(config: Config, name: str, domain: dict[str, Any]) -> HyperParameter:
    _check(config, name, domain["min"])
    _check(config, name, domain["max"])
    kind, sampling = Int if _is_whole(name) else Float, "log" if domain.get("log") else "linear"
    try:
        return kind(name, domain["min"], domain["max"], sampling=sampling)
    except (ValueError, TypeError) as error:
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
