"""The search space: `sweep.space` as KerasTuner hyperparameters, and their values as settings."""

import math
from collections.abc import Mapping
from typing import Any, Self, get_args

import pydantic
from keras_tuner import HyperParameters
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, HyperParameter, Int

from keras_inat.errors import UserError, describe_choices
from keras_inat.search.kerastuner import Condition
from keras_inat.settings import roles
from keras_inat.settings.catalog import flatten, list_names, list_settings
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config

SEARCHABLE = list_names(roles.SEARCHABLE)
MAX_STEPS = 1000


class Domain(pydantic.BaseModel):
    """The values of a searched setting."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    when: dict[str, Any] = {}  # the values that earlier settings must have


class Choices(Domain):
    """A list of values, as the setting takes them."""

    choices: list[Any]

    @property
    def encoded(self) -> list[Any]:
        """The values for KerasTuner, which takes no lists, None or mixtures of types: numbers of one type, or text."""
        kinds = {type(value) for value in self.choices}
        if kinds == {int} or kinds == {bool}:
            return self.choices
        if kinds <= {int, float}:
            return [float(value) for value in self.choices]
        return [str(value) for value in self.choices]

    def encode(self, value: Any) -> Any:
        """Returns the encoded form of one of the values."""
        return self.encoded[self.choices.index(value)]

    def decode(self, code: Any) -> Any:
        """Returns the value with an encoded form. Any other object is returned as it is."""
        return dict(zip(self.encoded, self.choices, strict=True)).get(code, code)

    def list_wanted(self, wanted: Any) -> list[Any]:
        """Returns the values that a condition names. A list that is itself one of the choices is one value."""
        return wanted if isinstance(wanted, list) and wanted not in self.choices else [wanted]

    def check(self, wanted: Any, name: str) -> None:
        """Raises a `UserError` if a condition names no value, or one that is not a choice."""
        values = self.list_wanted(wanted)
        if not values or not all(value in self.choices for value in values):
            raise UserError(f"{name} must be one of {self.choices}. Received: {wanted!r}.")


class Range(Domain):
    """All numbers from `min` to `max`."""

    min: float
    max: float
    log: bool = False  # true for a search on a logarithmic scale
    step: float | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.min >= self.max:
            raise ValueError("a range must go from a number to a larger one")
        if self.log and self.min <= 0:
            raise ValueError("min of a logarithmic range must be above 0")
        if self.step is not None and self.step <= (1 if self.log else 0):
            raise ValueError("step must be above 0, or above 1 in a logarithmic range")
        return self


def build_hyperparameters(config: Config) -> HyperParameters:
    """Builds the hyperparameters of `sweep.space`.

    Each setting has a value, a list of choices, or a range `{min, max}`, of integers if the setting takes them. With
    `log: true`, the range is searched on a logarithmic scale. With `step`, it becomes choices that differ by `step`, or
    on a logarithmic scale by this factor.

    `{choices, when: {name: values}}`, or a range with `when`, is searched only if the settings that `when` names, which
    come before it, have one of these values. Otherwise it keeps its value in the configuration.

    Raises:
        UserError: A name is not a searchable setting, or the setting does not accept a value.
    """
    if not config.sweep.space:
        raise UserError("`sweep.space` is empty: give a CONFIG with a space, such as configs/sweep.yaml")
    hyperparameters = HyperParameters()
    for name in config.sweep.space:
        if name not in SEARCHABLE:
            raise UserError(f"a name in `sweep.space` {describe_choices(name, SEARCHABLE)}")
        _check_effect(config, name)
        domain = _read_domain(config, name)
        if isinstance(domain, Choices):
            built = _build_choice(config, name, domain)
        else:
            built = _build_range(config, name, domain)
        # KerasTuner's `conditional_scope` takes neither a second condition nor a conditional parent.
        built.conditions = [Condition(parent, codes) for parent, codes in _read_conditions(config, name).items()]
        hyperparameters.merge([built])
    _check_forbidden(config)
    return hyperparameters


def encode_base(config: Config) -> dict[str, Any] | None:
    """Returns the configuration of the sweep as a point of its space, encoded; None if it lies outside."""
    settings = flatten(config)
    values: dict[str, Any] = {}
    for name in config.sweep.space:
        if any(values.get(parent) not in codes for parent, codes in _read_conditions(config, name).items()):
            continue
        value = settings.get(name)
        domain = _read_domain(config, name)
        if isinstance(domain, Choices) and value in domain.choices:
            values[name] = domain.encode(value)
        elif isinstance(domain, Range) and isinstance(value, int | float) and domain.min <= value <= domain.max:
            values[name] = value
        else:
            return None
    return None if is_forbidden(config, values) else values


def decode_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns encoded hyperparameter values as settings, by dotted name. An inactive setting is missing."""
    return {name: _choices_of(config, name).decode(values[name]) for name in config.sweep.space if name in values}


def is_forbidden(config: Config, values: Mapping[str, Any]) -> bool:
    """Returns True if encoded `values`, and the settings that are not searched, match a rule of `sweep.forbid`."""
    settings = flatten(config) | decode_values(config, values) if config.sweep.forbid else {}
    for rule in config.sweep.forbid:
        if all(settings.get(name) in _choices_of(config, name).list_wanted(wanted) for name, wanted in rule.items()):
            return True
    return False


def configure_trial(config: Config, settings: Mapping[str, Any]) -> Config:
    """Returns the configuration that a trial with these settings trains."""
    return override(config, {"training.epochs": config.sweep.epochs, "training.min_steps": 0} | dict(settings))


def describe_values(values: Mapping[str, Any]) -> str:
    """Describes settings in one line, such as `filters=32 activation=gelu`."""
    texts = []
    for name, value in values.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        texts.append(f"{name.split('.')[1]}={text}")
    return " ".join(texts)


def _read_domain(config: Config, name: str) -> Choices | Range:
    """Reads a domain of `sweep.space`. A setting that is not searched has no choices."""
    given = config.sweep.space.get(name, [])
    if not isinstance(given, dict):
        given = {"choices": given if isinstance(given, list) else [given]}
    try:
        domain = (Choices if "choices" in given else Range).model_validate(given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        problem = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise UserError(
            f"`{name}` in `sweep.space`: {problem}. Give {{min, max}}, with log, step and when if needed, or "
            f"{{choices, when}}. Received: {given}."
        ) from None
    if isinstance(domain, Range) and domain.step is not None:
        return Choices(choices=_list_steps(name, domain, domain.step), when=domain.when)
    return domain


def _list_steps(name: str, domain: Range, step: float) -> list[float]:
    """Returns the values of a range. KerasTuner counts its steps in floating point and may lose the last one."""
    steps = math.log(domain.max / domain.min, step) if domain.log else (domain.max - domain.min) / step
    num_steps = math.floor(steps + 1e-9)
    if not 1 <= num_steps < MAX_STEPS:
        raise UserError(
            f"`step` of `{name}` in `sweep.space` makes {num_steps} steps: 1 to {MAX_STEPS - 1} can be searched"
        )
    values = []
    for index in range(num_steps + 1):
        exact = domain.min * step**index if domain.log else domain.min + index * step
        values.append(float(f"{exact:.12g}"))
    if int in _list_types(name):
        return list(dict.fromkeys(round(value) for value in values))
    return values


def _list_types(name: str) -> set[Any]:
    annotation = list_settings()[name].annotation
    return {annotation, *get_args(annotation)}


def _choices_of(config: Config, name: str) -> Choices:
    """Returns the choices of a setting; none if it is not searched, or in a range."""
    domain = _read_domain(config, name)
    return domain if isinstance(domain, Choices) else Choices(choices=[])


def _read_conditions(config: Config, name: str) -> dict[str, list[Any]]:
    """Returns the encoded values that earlier settings must have, by their names."""
    names = list(config.sweep.space)
    conditions = {}
    for parent, values in _read_domain(config, name).when.items():
        choices = _choices_of(config, parent)
        if parent not in names[: names.index(name)] or not choices.choices:
            raise UserError(
                f"`when` of `{name}` in `sweep.space` names `{parent}`, which must come before it, as choices"
            )
        choices.check(values, f"`when` of `{name}` in `sweep.space`: `{parent}`")
        conditions[parent] = [choices.encode(value) for value in choices.list_wanted(values)]
    return conditions


def _check_forbidden(config: Config) -> None:
    for rule in config.sweep.forbid:
        if not rule:
            raise UserError("`sweep.forbid` has an empty combination, which would forbid everything")
        for name, values in rule.items():
            if name not in SEARCHABLE:
                raise UserError(f"a name in `sweep.forbid` {describe_choices(name, SEARCHABLE)}")
            choices = _choices_of(config, name)
            # A single choice may have been given on the command line. The rule then does not apply.
            if len(choices.choices) > 1:
                choices.check(values, f"`{name}` in `sweep.forbid`")


def _check_effect(config: Config, name: str) -> None:
    """Refuses a setting that would not change a trial."""
    section = name.split(".")[0]
    if section == "finetune" and not config.finetune:
        raise UserError(f"`{name}` in `sweep.space` needs a `finetune` section: give one in CONFIG")
    if section == "model" and config.finetune:
        raise UserError(
            f"`{name}` in `sweep.space` belongs to the CNN, but the `finetune` section trains a backbone instead"
        )


def _build_choice(config: Config, name: str, domain: Choices) -> HyperParameter:
    if not domain.choices:
        raise UserError(f"`sweep.space` gives no choice for `{name}`")
    for value in domain.choices:
        _check_value(config, name, value)
    encoded = domain.encoded
    if repeated := [code for code in encoded if encoded.count(code) > 1]:
        raise UserError(
            f"`sweep.space` gives `{name}` the choice {repeated[0]!r} twice. A list that is one choice needs its own "
            "brackets, such as [[3, 3, 5]]."
        )
    if len(encoded) == 1:
        return Fixed(name, encoded[0])
    if {bool} == set(map(type, encoded)):
        return Boolean(name)  # KerasTuner would turn the values of a `Choice` into 0 and 1
    return Choice(name, encoded)


def _build_range(config: Config, name: str, domain: Range) -> HyperParameter:
    if not _list_types(name) & {int, float}:
        raise UserError(f"`{name}` in `sweep.space` is not a number and has no range: give a list of choices")
    _check_value(config, name, domain.min)
    _check_value(config, name, domain.max)
    # A setting that takes integers is searched among integers, even if the ends of its range are floats.
    kind = Int if int in _list_types(name) else Float
    try:
        return kind(name, domain.min, domain.max, sampling="log" if domain.log else "linear")
    except ValueError as error:
        raise UserError(f"the range of `{name}` in `sweep.space` cannot be searched: {error}") from None


def _check_value(config: Config, name: str, value: Any) -> None:
    """Refuses a value that the setting does not accept. One that fails only with another setting will fail a trial."""
    try:
        override(config, {name: value})
    except UserError as error:
        if f"`{name}` " in str(error):
            raise UserError(f"in `sweep.space`: {error}") from None
