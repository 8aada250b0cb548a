"""The section on the images of a data set."""

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.sections.data import describe_data
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.store.predictions import DuplicatePictures
from keras_inat.store.records import Trial


@pytest.mark.parametrize("statuses", [["failed", "failed"], ["failed", "running"], ["completed", "completed"]])
def test_unknown_images_have_a_reason(workshop: Workshop, statuses: list[str]) -> None:
    scores = [0.4 if status == "completed" else None for status in statuses]
    sweep = workshop.add_sweep("s", [{"model.filters": 8}, {"model.filters": 16}], scores)
    for result in sweep.trials.glob("*/result.json"):
        result.unlink()
    if "running" in statuses:
        settings = {"model.filters": 16}
        Trial(id="001", values=settings, settings=settings).write(sweep.trial_file("001"))
    data_set = workshop.read_data_set()
    text = format_text(describe_data(data_set, workshop.figures))
    assert "The images are unknown, because no trial has a result." in text
    best = "The best is trial 000 with a validation accuracy of 40.0 % (number of images unknown)."
    assert (best in format_text(*describe_sweeps(data_set, workshop.figures))) is ("completed" in statuses)


@pytest.mark.parametrize(
    ("near", "duplicates", "leaks"),
    [
        (
            True,
            "resized, recompressed, mirrored, framed or slightly cropped version of another",
            "image is a duplicate of a test",
        ),
        (False, "Near-duplicates were not searched for.", "image is an exact duplicate of a test"),
    ],
)
def test_absence_is_stated_only_for_kinds_of_duplicates_that_were_searched_for(
    workshop: Workshop, near: bool, duplicates: str, leaks: str
) -> None:
    workshop.add_run(data=workshop.describe_data(near_duplicates=near))
    text = format_text(describe_data(workshop.read_data_set(), workshop.figures))
    assert duplicates in text
    assert leaks in text


@pytest.mark.parametrize(
    ("origins", "test_fraction", "sentence"),
    [
        (
            {"train": "train/", "test": "val/"},
            None,
            "The training images are from train/, the validation images are a stratified random fraction of them, and "
            "the test images from val/.",
        ),
        (
            {"train": "train/", "validation": "valid/", "test": "test/"},
            None,
            "The training images are from train/, the validation images from valid/, and the test images from test/.",
        ),
        (
            {"train": "labels.csv"},
            0.25,
            "The training images are from labels.csv, the validation images are a stratified random fraction of them, "
            "and the test images are a stratified random fraction of 0.25, split off before the others.",
        ),
    ],
)
def test_the_origins_of_the_splits_are_named(workshop: Workshop, origins, test_fraction, sentence) -> None:
    num_classes = len(workshop.classes)
    per_class = workshop.describe_data().model_dump()["per_class"]
    if "validation" in origins:
        per_class["validation"] = [3] * num_classes
    workshop.add_run(data=workshop.describe_data(origins=origins, test_fraction=test_fraction, per_class=per_class))
    text = format_text(describe_data(workshop.read_data_set(), workshop.figures)).replace("\xa0", " ")
    assert sentence in text
    assert ("no training image is a duplicate of a test or validation image" in text) == ("validation" in origins)


def test_skipped_files_and_duplicates(workshop: Workshop) -> None:
    pairs = [
        {"path": "train/a/2.jpg", "of": "val/a/1.jpg", "agreeing_cells": 48, "mirrored": True, "rows": [0, 9]},
        {"path": "train/b/4.jpg", "of": "train/b/3.jpg", "agreeing_cells": 45, "mirrored": False, "rows": [11, 12]},
    ]
    found = {
        "formats": {"JPEG": 1234, "PNG": 2},
        "traits": {"CMYK": 5},
        "reasons": {"is cut short": 40},
        "quarantined": [{"path": f"train/a/broken{index}.jpg", "reason": "is cut short"} for index in range(40)],
        "num_quarantined": 40,
        "leaked": [{"path": "train/a/2.jpg", "reason": "is a near-duplicate of val/a/1.jpg, mirrored"}],
        "num_leaked": 1,
        "duplicates": [pair | {"same_class": True, "similarity": 0.95, "cells": 50} for pair in pairs],
        "num_duplicates": {"identical": 3, "near": 2, "mirrored": 1, "of_another_class": 1, "train_and_test": 1},
    }
    run = workshop.add_run(data=workshop.describe_data(**found))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3), dtype=np.uint8)
    DuplicatePictures(np.array([0, 1]), pixels).write(run.duplicates)
    text = format_text(describe_data(workshop.read_data_set(), workshop.figures))
    assert "1,234 JPEG, 2 PNG. Unusual files: CMYK, converted to RGB (5)." in text
    assert "41 files were skipped. Leaks, which are training images that duplicate a test image: 1." in text
    assert "The table lists 20 files. Other reasons: is cut short (40)." in text
    assert "train/a/2.jpg" in text
    assert "Pairs of duplicates: 3 exact and 2 near-duplicates (1 of them mirrored)." in text
    assert "Pairs with different classes: 1. Pairs across training and test images: 1." in text
    assert "val/a/1.jpg train/a/2.jpg 48 of 50" in " ".join(text.split())
    assert "duplicates" in workshop.list_figures()
    (workshop.reports / "figures" / "duplicates.png").unlink()
    run.duplicates.write_bytes(b"damaged")
    describe_data(workshop.read_data_set(), workshop.figures)
    assert "duplicates" not in workshop.list_figures()
