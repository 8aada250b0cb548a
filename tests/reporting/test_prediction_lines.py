"""Predictions as text, JSON and CSV."""

import csv
import io
import json

import numpy as np
import pytest

from keras_inat.reporting.prediction_lines import Prediction, format_csv, format_csv_head, format_json, format_text

PREDICTION = Prediction("a.jpg", ["ant", "bee", "cat"], np.array([0.25, 0.625, 0.125], np.float32), False, "a.png")


def test_text():
    assert format_text(PREDICTION, None) == "a.jpg: bee 62.5 %, ant 25.0 %, cat 12.5 %"
    assert format_text(PREDICTION, 1) == "a.jpg: bee 62.5 %"
    assert format_text(PREDICTION._replace(is_uncertain=True), 2) == "a.jpg: uncertain (bee 62.5 %, ant 25.0 %)"


def test_json():
    assert json.loads(format_json(PREDICTION, None)) == {
        "file": "a.jpg",
        "class": "bee",
        "confidence": 0.625,
        "uncertain": False,
        "probabilities": {"ant": 0.25, "bee": 0.625, "cat": 0.125},
        "explanation": "a.png",
    }
    assert list(json.loads(format_json(PREDICTION, 2))["probabilities"].items()) == [("bee", 0.625), ("ant", 0.25)]


def test_csv():
    assert format_csv_head(3, None) == (
        "file,class,confidence,uncertain,explanation,class_2,probability_2,class_3,probability_3"
    )
    assert format_csv(PREDICTION, None) == "a.jpg,bee,0.625000,false,a.png,ant,0.250000,cat,0.125000"
    assert format_csv_head(3, 1) == "file,class,confidence,uncertain,explanation"
    assert format_csv(PREDICTION._replace(explanation=None), 1) == "a.jpg,bee,0.625000,false,"
    assert format_csv_head(2, 5).count("class_") == 1


@pytest.mark.parametrize("name", ['"quoted"', "a,b", "two\nlines", "carriage\rreturn", "<b>&amp;", "é红"])
def test_any_name_survives(name):
    prediction = PREDICTION._replace(file=name, classes=[name, "bee", "cat"])
    assert json.loads(format_json(prediction, None))["file"] == name
    assert "\n" not in format_json(prediction, None)
    [row] = csv.reader(io.StringIO(format_csv(prediction, None) + "\n", newline=""))
    assert (row[0], row[5]) == (name, name)
    assert format_text(prediction, None).isprintable()


def test_bytes_that_are_not_text_are_escaped():
    assert format_csv(PREDICTION._replace(file="b\udcff"), 1).startswith("b\\udcff,")
    assert json.loads(format_json(PREDICTION._replace(file="b\udcff"), 1))["file"] == "b\udcff"
