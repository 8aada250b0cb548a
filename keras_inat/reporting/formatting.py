"""Text for numbers, with their intervals and sample sizes, and for settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_inat.intervals import Estimate, count_digits

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
MISSING = "–"
MAGNITUDES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
AMBIGUOUS_SETTINGS = ("finetune.dropout", "finetune.batch_norm")  # other sections have the same names


def percent(fraction: float | None, digits: int = 1) -> str:
    """Returns `62.1 %`, or a dash for a missing value."""
    return MISSING if fraction is None else f"{100 * fraction:.{digits}f}{SPACE}%"


def abbreviate(number: float | None) -> str:
    """Returns a large number with three significant digits, as in `16.1 M`."""
    if number is None:
        return MISSING
    for size, unit in MAGNITUDES:
        if number >= 0.9995 * size:  # three digits round it up to the next unit
            return f"{number / size:.3g}{SPACE}{unit}"
    return f"{number:.3g}"


def duration(seconds: float | None) -> str:
    """Returns `49.7 s`, `12.5 min` or `3.1 h`, or a dash for a missing value."""
    if seconds is None:
        return MISSING
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}{SPACE}{unit}"
    return f"{seconds:.1f}{SPACE}s"


def plural(number: int, noun: str) -> str:
    """Returns `1 run`, `2 runs` or `0 classes`."""
    if number == 1:
        return f"1{SPACE}{noun}"
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,}{SPACE}{noun}{ending}"


def join_words(words: Sequence[str]) -> str:
    """Returns `a`, `a and b` or `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def interval(estimate: Estimate) -> str:
    """Returns the interval of a proportion, as in `59.7 to 64.4 %`."""
    return f"{100 * estimate.low:.1f} to {percent(estimate.high)}"


def sample_size(estimate: Estimate) -> str:
    """Returns `n = 1,600 images`."""
    return f"n{SPACE}={SPACE}{estimate.num:,}{SPACE}{estimate.unit}"


def percent_with_interval(estimate: Estimate) -> str:
    """Returns `62.1 % (59.7 to 64.4 %, n = 1,600 images)`."""
    return f"{percent(estimate.value)} ({interval(estimate)}, {sample_size(estimate)})"


def accuracy_with_balance(accuracy: Estimate, balanced: Estimate | None, baseline: float) -> str:
    """Returns an accuracy with its interval and, unless the classes are balanced, what it has to be compared with."""
    text = percent_with_interval(accuracy)
    if balanced is None:
        return text
    balance = f"a balanced accuracy of {percent_with_interval(balanced)} and a majority baseline of {percent(baseline)}"
    return f"{text}, {balance}"


def percentage_points(estimate: Estimate) -> tuple[str, str]:
    """Returns a difference of proportions and its interval: `+24.9`, `+22.1 to +27.6`."""
    return difference(estimate, 1, scale=100)


def correlation(estimate: Estimate) -> tuple[str, str]:
    """Returns a correlation and its interval: `+0.42`, `+0.12 to +0.65`."""
    return difference(estimate, 2)


def difference(estimate: Estimate, digits: int, scale: float = 1) -> tuple[str, str]:
    """Returns a difference and its interval, whose ends keep their signs: `+0.4`, `−0.02 to +0.8`."""
    value, low, high = (scale * number for number in (estimate.value, estimate.low, estimate.high))
    value_digits = count_digits(value, digits) if estimate.excludes_zero else digits
    ends = [signed(end, count_digits(end, digits)) for end in (low, high)]
    return signed(value, value_digits), " to ".join(ends)


def signed(number: float, digits: int) -> str:
    """Returns `+24.9` or `−3.0`."""
    rounded = round(number, digits) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:+.{digits}f}".replace("-", MINUS)


def package_versions(packages: Mapping[str, str]) -> str:
    """Returns `keras 3.15.1, numpy 2.4.6`."""
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))


def setting_name(name: str) -> str:
    """Returns a dotted name without its section: `training.learning_rate` becomes `learning_rate`.

    Names that two sections share keep it: `finetune.dropout` becomes `finetune dropout`.
    """
    section, _, key = name.partition(".")
    if name in AMBIGUOUS_SETTINGS:
        return f"{section} {key}"
    return key or section


def setting_value(value: Any) -> str:
    """Returns the value of a setting as a configuration has it: `0.001`, `3e-05`, `gelu` or `true`."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
