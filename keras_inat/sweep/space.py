"""The search space: `sweep.space` as KerasTuner hyperparameters, and their values as settings."""

from collections.abc import Mapping
from typing import Any

from keras_tuner import HyperParameters
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, Float, HyperParameter, Int

from keras_inat.errors import UserError, describe_choices
from keras_inat.settings import roles
from keras_inat.settings.catalog import flatten, list_names
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.sweep.domains import Choices, Range, is_whole, read_domain
from keras_inat.sweep.kerastuner import Condition

SEARCHABLE = list_names(roles.SEARCHABLE)


def build_hyperparameters(config: Config) -> HyperParameters:
    """Builds the hyperparameters of `sweep.space`.

    Each setting has one of these domains:

    - a value, which is fixed, or a list of choices;
    - `{min, max}`, a range, of integers if the setting takes them. `log: true` searches it on a logarithmic scale;
    - `{min, max, step}`, choices that differ by `step`, or with `log: true` by the factor `step`.

    `{choices: [...], when: {name: values}}`, or a range with `when`, has conditions. The setting is searched only if
    the settings that `when` names, which come before it, have one of these values. Otherwise it keeps its value in the
    configuration.

    Raises:
        UserError: A name is not a searchable setting, or the setting does not accept a value.
    """
    space = config.sweep.space
    if not space:
        raise UserError("`sweep.space` is empty: give a CONFIG with a space, such as configs/sweep.yaml")
    hyperparameters = HyperParameters()
    for name, given in space.items():
        if name not in SEARCHABLE:
            raise UserError(f"a name in `sweep.space` {describe_choices(name, SEARCHABLE)}")
        if isinstance(given, dict) and "choices" in given and set(given) - {"choices", "when"}:
            raise UserError(f"`{name}` in `sweep.space`: only `when` goes with choices. Received: {sorted(given)}.")
        _check_effect(config, name)
        domain = read_domain(name, given)
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
    for name, given in config.sweep.space.items():
        if any(values.get(parent) not in codes for parent, codes in _read_conditions(config, name).items()):
            continue
        value = settings.get(name)
        domain = read_domain(name, given)
        if isinstance(domain, Choices) and value in domain.values:
            values[name] = domain.encode(value)
        elif isinstance(domain, Range) and domain.contains(value):
            values[name] = value
        else:
            return None
    return None if is_forbidden(config, values) else values


def decode_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns encoded hyperparameter values as settings, by dotted name. An inactive setting is missing."""
    decoded = {}
    for name, given in config.sweep.space.items():
        if name in values:
            domain = read_domain(name, given)
            decoded[name] = domain.decode(values[name]) if isinstance(domain, Choices) else values[name]
    return decoded


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


def _choices_of(config: Config, name: str) -> Choices:
    """Returns the choices of a setting; none if it is not searched, or in a range."""
    domain = read_domain(name, config.sweep.space.get(name, []))
    return domain if isinstance(domain, Choices) else Choices([])


def _read_conditions(config: Config, name: str) -> dict[str, list[Any]]:
    """Returns the encoded values that earlier settings must have, by their names."""
    space = config.sweep.space
    given = space[name]
    when = given.get("when", {}) if isinstance(given, dict) else {}
    if not isinstance(when, dict):
        raise UserError(f"`when` of `{name}` in `sweep.space` must give values by the names of settings")
    earlier = list(space)[: list(space).index(name)]
    conditions = {}
    for parent, values in when.items():
        choices = _choices_of(config, parent)
        if parent not in earlier or not choices.values:
            raise UserError(
                f"`when` of `{name}` in `sweep.space` names `{parent}`, which must come before it, as choices"
            )
        wanted = choices.list_wanted(values)
        if not wanted:
            raise UserError(f"`when` of `{name}` in `sweep.space` gives no value of `{parent}`")
        if unknown := [value for value in wanted if value not in choices.values]:
            raise UserError(
                f"`when` of `{name}` in `sweep.space`: `{parent}` must be one of {choices.values}. "
                f"Received: {unknown[0]!r}."
            )
        conditions[parent] = [choices.encode(value) for value in wanted]
    return conditions


def _check_forbidden(config: Config) -> None:
    for rule in config.sweep.forbid:
        if not rule:
            raise UserError("`sweep.forbid` has an empty combination, which would forbid everything")
        for name, values in rule.items():
            if name not in SEARCHABLE:
                raise UserError(f"a name in `sweep.forbid` {describe_choices(name, SEARCHABLE)}")
            choices = _choices_of(config, name)
            unknown = [value for value in choices.list_wanted(values) if value not in choices.values]
            # A single choice may have been given on the command line. The rule then does not apply.
            if unknown and len(choices.values) > 1:
                raise UserError(
                    f"`{name}` in `sweep.forbid` must be one of {choices.values}. Received: {unknown[0]!r}."
                )


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
    if not domain.values:
        raise UserError(f"`sweep.space` gives no choice for `{name}`")
    for value in domain.values:
        _check_value(config, name, value)
    encoded = domain.encoded
    if repeated := [code for code in encoded if encoded.count(code) > 1]:
        raise UserError(
            f"`sweep.space` gives `{name}` the choice {repeated[0]!r} twice. A list that is one choice needs its own "
            "brackets, such as [[3, 3, 5]]."
        )
    if len(encoded) == 1:
        return Fixed(name, encoded[0])
    if sorted(map(str, encoded)) == ["False", "True"]:
        return Boolean(name)  # KerasTuner would turn the values of a `Choice` into 0 and 1
    return Choice(name, encoded)


def _build_range(config: Config, name: str, domain: Range) -> HyperParameter:
    _check_value(config, name, domain.low)
    _check_value(config, name, domain.high)
    kind = Int if is_whole(name) else Float
    try:
        return kind(name, domain.low, domain.high, sampling="log" if domain.log else "linear")
    except (ValueError, TypeError) as error:
        raise UserError(f"the range of `{name}` in `sweep.space` cannot be searched: {error}") from None


def _check_value(config: Config, name: str, value: Any) -> None:
    """Refuses a value that the setting does not accept. One that fails only with another setting will fail a trial."""
    try:
        override(config, {name: value})
    except UserError as error:
        if f"`{name}` " in str(error):
            raise UserError(f"in `sweep.space`: {error}") from None
