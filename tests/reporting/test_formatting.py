"""Numbers as text."""

import pytest

from keras_inat.intervals import Estimate
from keras_inat.reporting import formatting


def strip(text: str) -> str:
    return text.replace("\xa0", " ")


def test_estimates_have_their_interval_and_sample_size() -> None:
    estimate = Estimate(0.62125, 0.597, 0.6445, 1600, "images")
    assert strip(formatting.percent_with_interval(estimate)) == "62.1 % (59.7 to 64.5 %, n = 1,600 images)"


def test_differences_and_correlations_have_a_sign() -> None:
    assert formatting.correlation(Estimate(-0.4, -0.6, 0.1, 10, "trials")) == ("−0.40", "−0.60 to +0.10")
    assert formatting.percentage_points(Estimate(0.249, -0.221, 0.276, 10, "images")) == ("+24.9", "−22.1 to +27.6")
    assert [formatting.signed(number, 1) for number in (0.04, -0.04, -0.06)] == ["+0.0", "+0.0", "−0.1"]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.002, -0.03, 0.01), ("+0.2", "−3.0 to +1.0")),
        ((-0.005, -0.0096, -0.00002), ("−0.5", "−1.0 to −0.002")),
        ((0.0003, 0.0001, 0.0004), ("+0.03", "+0.01 to +0.04")),
        ((0.0003, -0.0001, 0.0004), ("+0.0", "−0.01 to +0.04")),
        ((0.0, 0.0, 0.0), ("+0.0", "+0.0 to +0.0")),
    ],
)
def test_an_interval_is_printed_on_the_side_of_zero_where_it_is(
    ends: tuple[float, float, float], text: tuple[str, str]
) -> None:
    assert formatting.percentage_points(Estimate(*ends, 40, "trials")) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(12, "12"), (49_386, "49.4 k"), (999_499, "999 k"), (999_700, "1 M"), (16_083_456, "16.1 M")],
)
def test_large_numbers_have_three_digits(number: float, text: str) -> None:
    assert strip(formatting.abbreviate(number)) == text


@pytest.mark.parametrize(("seconds", "text"), [(49.7, "49.7 s"), (750, "12.5 min"), (11_160, "3.1 h"), (None, "–")])
def test_durations_have_a_suitable_unit(seconds: float, text: str) -> None:
    assert strip(formatting.duration(seconds)) == text


def test_plurals() -> None:
    assert [strip(formatting.plural(*words)) for words in ((1, "run"), (2, "run"), (2, "class"))] == [
        "1 run",
        "2 runs",
        "2 classes",
    ]


def test_settings_are_written_as_in_a_configuration() -> None:
    assert [formatting.setting_value(value) for value in (0.001, 3e-5, True, "gelu", None)] == [
        "0.001",
        "3e-05",
        "true",
        "gelu",
        "–",
    ]
    assert [formatting.setting_name(name) for name in ("training.learning_rate", "finetune.dropout")] == [
        "learning_rate",
        "finetune dropout",
    ]
