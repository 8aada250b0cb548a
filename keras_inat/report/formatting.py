"""How numbers are put into words: always with their interval and what they were counted over."""

from keras_inat.report.statistics.estimates import Estimate

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def percent(share: float | None, digits: int = 1) -> str:
    """`62.1 %`; a dash for a value that is missing."""
    return "–" if share is None else f"{100 * share:.{digits}f}{SPACE}%"


def brief(number: float | None) -> str:
    """A large number in three digits: `16.1 M`."""
    if number is None:
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:  # which is told as the next thousand
            return f"{number / size:.3g}{SPACE}{unit}"
    return f"{number:.3g}"


def duration(seconds: float | None) -> str:
    """`49.7 s`, `12.5 min`, `3.1 h`; a dash for a value that is missing."""
    if seconds is None:
        return "–"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}{SPACE}{unit}"
    return f"{seconds:.1f}{SPACE}s"


def plural(number: int, noun: str) -> str:
    """`1 run`, `2 runs`, `0 classes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,}{SPACE}{noun}{ending}"


def interval(estimate: Estimate) -> str:
    """`59.7 to 64.4 %`."""
    return f"{100 * estimate.low:.1f} to {percent(estimate.high)}"


def sample(estimate: Estimate) -> str:
    """`n = 1,600 images`."""
    return f"n{SPACE}={SPACE}{estimate.num:,}{SPACE}{estimate.unit}"


def share(estimate: Estimate | None) -> str:
    """`62.1 % (59.7 to 64.4 %, n = 1,600 images)`; a dash for a value that is missing."""
    if estimate is None:
        return "–"
    return f"{percent(estimate.value)} ({interval(estimate)}, {sample(estimate)})"


def points(estimate: Estimate) -> tuple[str, str]:
    """A difference of shares and its interval, in percentage points: `+24.9`, `+22.1 to +27.6`."""
    value, low, high = (signed(100 * number, 1) for number in (estimate.value, estimate.low, estimate.high))
    return value, f"{low} to {high}"


def correlation(estimate: Estimate) -> tuple[str, str]:
    """The value and its interval: `+0.42`, `+0.12 to +0.65`."""
    return signed(estimate.value, 2), f"{signed(estimate.low, 2)} to {signed(estimate.high, 2)}"


def signed(number: float, digits: int) -> str:
    """`+24.9`, `−3.0`."""
    return f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", MINUS)  # zero has no minus


def name_score(epoch: int | None) -> str:
    """What trials are compared by, at their end or after so many epochs."""
    return "validation accuracy" + (f" after {plural(epoch, 'epoch')}" if epoch else "")
