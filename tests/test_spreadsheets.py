import csv
import io

import pytest

from keras_inat.spreadsheets import format_cell, format_csv, read_cell

FORMULAS = ["=1+1", "+A1", "-2+3|cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''@x", '="a",b', "-", "=é"]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_text_in_a_spreadsheet_and_the_same_name_here(name):
    (line,) = csv.DictReader(io.StringIO(format_csv(["a", "b"], [{"a": name, "b": 1, "c": 2}]), newline=""))
    assert line == {"a": f"'{name}", "b": "1"}
    assert read_cell(line["a"]) == name


@pytest.mark.parametrize("value", [-0.5, 3, None, True, "-0.5", "+1e-05", "a=b", "don't", "'quoted'", "", "b-c"])
def test_numbers_and_other_names_stay(value):
    assert format_cell(value) == value
    assert isinstance(value, float | int | None) or read_cell(value) == value
