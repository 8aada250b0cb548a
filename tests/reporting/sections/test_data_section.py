"""The section on the images of a data set."""

import numpy as np
import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Chapter, Details, Picture
from keras_inat.reporting.history import read_history
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections.checklist import check_requirements
from keras_inat.reporting.sections.data import describe_data
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.settings.places import name_path
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
        sweep_hash = sweep.read_identity().hash
        Trial(id="001", values=settings, settings=settings, sweep=sweep_hash).write(sweep.trial_file("001"))
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
    workshop.sign(run)
    text = format_text(describe_data(workshop.read_data_set(), workshop.figures))
    assert "1,234 JPEG, 2 PNG. Unusual files: CMYK, converted to RGB (5)." in text
    assert "41 files were skipped. Leaks, which are training images that duplicate a test image: 1." in text
    assert "The table lists 20 files. Other reasons: is cut short (40)." in text
    assert "train/a/2.jpg" in text
    assert "Pairs of duplicates: 3 exact and 2 near-duplicates (1 of them mirrored)." in text
    assert "Pairs with different classes: 1. Pairs across training and test images: 1." in text
    assert "val/a/1.jpg train/a/2.jpg 48 of 50" in " ".join(text.split())
    assert "duplicates" in workshop.list_figures()
    (workshop.reports / "figures" / "duplicates.svg").unlink()
    run.duplicates.write_bytes(b"damaged")
    describe_data(workshop.read_data_set(), workshop.figures)
    assert "duplicates" not in workshop.list_figures()


def test_label_suspects_of_the_newest_run_are_shown(workshop: Workshop) -> None:
    workshop.add_run()
    workshop.add_suspects(7)
    run = workshop.add_suspects(30)
    workshop.add_suspects(9, workshop.describe_data("other"))
    [data_set, other] = read_history(workshop.runs).data_sets
    section = describe_data(data_set, workshop.figures)
    text = format_text(section)
    assert "Label suspects: 30 of 240 training and validation images." in text
    assert "linear heads on the features of MobileNetV2, in 5 folds, with an out-of-fold accuracy of 87.5 %." in text
    assert f"{name_path(str(run.suspect_table))} lists all of them." in text
    *_, picture, folded = section.blocks
    assert isinstance(picture, Picture)
    assert picture.caption.startswith("The first 24\xa0label suspects, each with its label")
    assert picture.alt.startswith(picture.caption)
    assert picture.alt.count("Amphibia → Aves") == 24
    assert isinstance(folded, Details)
    assert folded.summary == "All 30\xa0label suspects, with their paths"
    [table] = folded.blocks
    assert table.rows[29] == ["train/Amphibia/30.jpg", "Amphibia", "Aves", "2.0\xa0%", "95.0\xa0%"]
    assert other.groups == other.sweeps == []
    assert "Label suspects: 9 of 240" in format_text(describe_data(other, workshop.figures))


def test_suspects_without_pictures_have_no_figure(workshop: Workshop) -> None:
    workshop.add_run()
    workshop.add_suspects(0)
    section = describe_data(workshop.read_data_set(), workshop.figures)
    assert "Label suspects: 0 of 240" in format_text(section)
    assert not isinstance(section.blocks[-1], Picture)
    workshop.add_suspects(3).suspect_pictures.write_bytes(b"damaged")
    section = describe_data(workshop.read_data_set(), workshop.figures)
    assert "Label suspects: 3 of 240" in format_text(section)
    assert "suspects" not in workshop.list_figures()
    assert "train/Amphibia/3.jpg Amphibia Aves" in format_text(section)


def test_the_table_of_suspects_is_limited(workshop: Workshop) -> None:
    workshop.add_suspects(201)
    folded = describe_data(workshop.read_data_set(), workshop.figures).blocks[-1]
    assert isinstance(folded, Details)
    assert folded.summary == "The first 200 of 201\xa0label suspects, with their paths"
    assert len(folded.blocks[0].rows) == 200


@pytest.mark.parametrize(
    ("per_class", "sentence"),
    [
        ({"train": [150] * 4, "test": [50] * 4}, "150 training and validation images and 50 test images."),
        (
            {"train": [1000, 990, 980, 985], "validation": [20] * 4, "test": [50] * 4},
            "1,000 to 1,020 training and validation images and 50 test images.",
        ),
        ({"train": [150] * 4, "test": [50, 50, 50, 47]}, ""),
        ({"train": [150, 150, 150, 100], "test": [50] * 4}, ""),
        ({"train": [150] * 4, "test": [50, 50, 50, 0]}, ""),
    ],
)
def test_equal_classes_are_a_sentence(workshop: Workshop, per_class, sentence: str) -> None:
    workshop.add_run(data=workshop.describe_data(per_class=per_class))
    section = describe_data(workshop.read_data_set(), workshop.figures)
    text = format_text(section).replace("\xa0", " ")
    assert (f"Each class has {sentence}" in text) is bool(sentence)
    assert ("classes" in workshop.list_figures()) is not bool(sentence)
    checklist = check_requirements([Chapter("toy", [section])], [])
    assert "numbers of images, classes and skipped files" not in checklist.missing


def test_excluded_images_are_counted(workshop: Workshop) -> None:
    workshop.add_run(data=workshop.describe_data(num_excluded=3))
    assert "3 other images are excluded." in format_text(describe_data(workshop.read_data_set(), workshop.figures))


def test_a_page_of_suspects_alone(workshop: Workshop) -> None:
    workshop.add_suspects(3)
    write_report(workshop.config)
    text = workshop.read_text()
    assert "Label suspects: 3 of 240 training and validation images." in text
    assert "The input of the models has 16 × 16 pixels." in text
    assert "toy: 3 label suspects of 240 images. No model was evaluated on the test images yet." in text
    assert "No CNN was trained from scratch on these images yet." in text
    assert "toy-suspects" in workshop.list_figures()
