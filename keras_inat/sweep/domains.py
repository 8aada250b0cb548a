"""The domain of a searched setting: a list of choices or a range of numbers."""

import math
from dataclasses import dataclass
from typing import Any, get_args

from keras_inat.errors import UserError
from keras_inat.settings.catalog import field_of

MAX_STEPS = 1000


@dataclass(frozen=True)
class Choices:
    """A list of values, as the setting takes them."""

    values: list[Any]

    @property
    def encoded(self) -> list[Any]:
        """The values for KerasTuner, which takes no lists, None or mixtures of types: numbers of one type, or text."""
        kinds = {type(value) for value in self.values}
        if kinds == {int} or kinds == {bool}:
            return self.values
        if kinds <= {int, float}:
            return [float(value) for value in self.values]
        return [str(value) for value in self.values]

    def encode(self, value: Any) -> Any:
        """Returns the encoded form of one of the values."""
        return self.encoded[self.values.index(value)]

    def decode(self, code: Any) -> Any:
        """Returns the value with an encoded form. Any other object is returned as it is."""
        return dict(zip(self.encoded, self.values, strict=True)).get(code, code)

    def list_wanted(self, wanted: Any) -> list[Any]:
        """Returns the values that a condition names. A list that is itself one of the choices is one value."""
        return wanted if isinstance(wanted, list) and wanted not in self.values else [wanted]


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, searched on a logarithmic scale if `log` is true."""

    low: float
    high: float
    log: bool

    def contains(self, value: Any) -> bool:
        """Returns True for a number within the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


def read_domain(name: str, given: Any) -> Choices | Range:
    """Reads the domain of a setting in `sweep.space`, without its conditions. A malformed range is a `UserError`."""
    if not isinstance(given, dict):
        given = {"choices": given}
    if "choices" in given:
        choices = given["choices"]
        return Choices(choices if isinstance(choices, list) else [choices])
    keys = set(given) - {"when"}
    if not {"min", "max"} <= keys <= {"min", "max", "step", "log"}:
        raise UserError(
            f"the range of `{name}` in `sweep.space` needs min and max, and may have log, step and when. Received: "
            f"{sorted(keys)}. Choices with conditions are written {{choices, when}}."
        )
    domain = Range(given["min"], given["max"], given.get("log", False))
    _check_range(name, domain)
    return domain if given.get("step") is None else Choices(_list_steps(name, domain, given["step"]))


def is_whole(name: str) -> bool:
    """Returns True if a setting takes integers. Its range is searched among integers, even if its ends are floats."""
    return int in _list_types(name)


def _check_range(name: str, domain: Range) -> None:
    ends = (domain.low, domain.high)
    are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not are_numbers or not -math.inf < domain.low < domain.high < math.inf:
        raise UserError(
            f"the range of `{name}` in `sweep.space` must go from a number to a larger one. Received: from "
            f"{domain.low!r} to {domain.high!r}."
        )
    if not isinstance(domain.log, bool):
        raise UserError(f"`log` of `{name}` in `sweep.space` must be true or false. Received: {domain.log!r}.")
    if domain.log and domain.low <= 0:
        raise UserError(f"the range of `{name}` in `sweep.space` is logarithmic, so min must be above 0")
    if not _list_types(name) & {int, float}:
        raise UserError(f"`{name}` in `sweep.space` is not a number and has no range: give a list of choices")


def _list_steps(name: str, domain: Range, step: Any) -> list[Any]:
    """Returns the values of a range. KerasTuner counts its steps in floating point and may lose the last one."""
    smallest = 1 if domain.log else 0
    if not isinstance(step, int | float) or isinstance(step, bool) or not smallest < step < math.inf:
        raise UserError(f"`step` of `{name}` in `sweep.space` must be above {smallest}. Received: {step!r}.")
    steps = math.log(domain.high / domain.low, step) if domain.log else (domain.high - domain.low) / step
    num_steps = math.floor(steps + 1e-9)
    if not 1 <= num_steps < MAX_STEPS:
        raise UserError(
            f"`step` of `{name}` in `sweep.space` makes {num_steps} steps: 1 to {MAX_STEPS - 1} can be searched"
        )
    values = []
    for index in range(num_steps + 1):
        exact = domain.low * step**index if domain.log else domain.low + index * step
        values.append(float(f"{exact:.12g}"))
    if is_whole(name):
        return list(dict.fromkeys(round(value) for value in values))
    return values


def _list_types(name: str) -> set[Any]:
    annotation = field_of(name).annotation
    return {annotation, *get_args(annotation)}
