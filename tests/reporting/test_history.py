"""The contents of `runs/`: runs that belong to one group, and damaged files, which are skipped alone."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
from report_workshop import Workshop

from keras_inat.files import append_jsonl, write_json
from keras_inat.reporting.history import STUDENT, read_history
from keras_inat.settings.loading import build_config, merge
from keras_inat.store.ledger import ledger_path
from keras_inat.store.sweeps import SweepFolder


def add_sweep(workshop: Workshop, name: str) -> SweepFolder:
    return workshop.add_sweep(name, [{"model.filters": 4}, {"model.filters": 8}], [0.5, 0.25])


def test_another_file_of_weights_is_another_group(workshop: Workshop) -> None:
    workshop.config = build_config(merge(workshop.config.model_dump(), {"finetune": {"strategy": "head"}}))
    for seed, weights in enumerate(["a", "b", "a"]):
        workshop.add_run("finetune", seed=seed, weights_hash=weights)
    groups = workshop.read_data_set().groups
    assert [[run.result.weights_hash for run in group.runs] for group in groups] == [["a", "a"], ["b"]]


def test_a_run_with_a_teacher_is_in_no_group_from_scratch(workshop: Workshop) -> None:
    workshop.add_run(name="first", seed=0)
    workshop.add_student(name="first", seed=1)
    workshop.add_student(name="first", seed=2)
    workshop.add_student(name="first", seed=3, teacher_hash="another file under the same path")
    workshop.add_student(name="first", seed=4, settings={"training.teacher_weight": 0.5})
    data_set = workshop.read_data_set()
    seeds = {
        command: sorted([run.result.seed for run in group.runs] for group in data_set.find_groups(command))
        for command in ("train-best", STUDENT, "finetune")
    }
    assert seeds == {"train-best": [[0]], STUDENT: [[1, 2], [3], [4]], "finetune": []}
    assert {group.title for group in data_set.find_groups(STUDENT)} == {"with a teacher: first"}
    assert {run.result.strategy for group in data_set.groups for run in group.runs} == {
        "scratch",
        "scratch with a teacher",
    }


def test_groups_are_separated_by_settings_of_the_outcome_only(workshop: Workshop) -> None:
    workshop.add_run(seed=0)
    workshop.add_run(seed=1, settings={"report.neurons": "selective", "sweep.trials": 99, "run.seeds": 3})
    workshop.add_run(seed=2, settings={"training.epochs": 99})
    workshop.add_run(seed=1, val=0.75)  # replaces the older run with this seed
    groups = workshop.read_data_set().groups
    assert [[run.result.seed for run in group.runs] for group in groups] == [[0, 1], [2]]
    assert groups[0].best.result.val_accuracy == 0.75


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "\xff\xfe",
        "3",
        "null",
        '{"id": "1"}',
        '{"id": "1", "values": {}, "settings": {}, "status": "gone"}',
        '{"id": "1", "values": {}, "settings": {}, "status": "completed", "score": 1.7}',
        '{"id": "1", "values": {}, "settings": {}, "wings": 2}',
    ],
)
def test_a_damaged_trial_is_skipped(workshop: Workshop, capsys: pytest.CaptureFixture[str], text: str) -> None:
    sweep = add_sweep(workshop, "first")
    sweep.trial_file("001").write_text(text, encoding="latin-1")
    [history] = workshop.read_data_set().sweeps
    assert [trial.id for trial in history.trials] == ["000"]
    assert "001/trial.json is damaged or was changed by hand, and is skipped" in capsys.readouterr().err


def test_a_sweep_without_a_sound_trial_is_skipped(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "bad"):
        add_sweep(workshop, name)
    for file in (workshop.runs / "sweep" / "bad").rglob("trial.json"):
        file.write_text("{")
    assert [sweep.name for sweep in workshop.read_data_set().sweeps] == ["good"]
    assert "bad/trials/000/trial.json is damaged or was changed by hand, and is skipped" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["space: [", "space: 3", "[]", ""])
def test_a_sweep_with_a_damaged_space_is_kept(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    sweep = add_sweep(workshop, "first")
    sweep.identity.write_text(text)
    data_set = workshop.read_data_set()
    assert data_set.name == "toy"
    assert data_set.sweeps[0].settings == ["model.filters"]
    assert "first/space.yaml is missing, is damaged or was changed by hand, and is skipped" in capsys.readouterr().err
    # Without results, the images are known by the name of the sweep.
    for file in sweep.trials.rglob("result.json"):
        file.unlink()
    assert workshop.read_data_set().name == "first"


def test_a_sweep_without_results_is_matched_by_the_hash_of_its_images(workshop: Workshop) -> None:
    workshop.add_run(data=workshop.describe_data("renamed", hash="toy-hash"))
    sweep = add_sweep(workshop, "first")
    for file in sweep.trials.rglob("result.json"):
        file.unlink()
    data_set = workshop.read_data_set()
    assert (data_set.name, len(data_set.groups), len(data_set.sweeps)) == ("renamed", 1, 1)


def test_a_result_with_an_unknown_setting_is_skipped(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.add_run(name="good")
    run = workshop.add_run(name="other")
    result = json.loads(run.result.read_text())
    result["config"]["model"]["wings"] = 2
    write_json(run.result, result)
    assert [finished.result.name for finished in read_history(workshop.runs).runs] == ["good"]
    assert f"{run.result} is damaged or was changed by hand, and is skipped" in capsys.readouterr().err


def test_damaged_lines_are_skipped(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    run = workshop.add_run()
    for path in (run.metrics, ledger_path(workshop.runs)):
        append_jsonl(path, {})
        with open(path, "ab") as file:
            file.write(b"null\n12\n{\n")
    ledger = read_history(workshop.runs).ledger
    assert [entry.run for entry in ledger.entries] == [f"train-best/{run.path.name}"]
    assert ledger.faults == [f"line {number} is damaged" for number in (2, 3, 4, 5)]
    assert "test_ledger.jsonl: line 2 is damaged" in capsys.readouterr().err
    assert [epoch.epoch for epoch in run.read_epochs()] == list(range(1, 13))
    assert "line 13 of " in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: {"labels": arrays["labels"] + 9},
        lambda arrays: {"labels": arrays["labels"][:50]},
        lambda arrays: {"files": arrays["files"][:50]},
        lambda arrays: {"probabilities": arrays["probabilities"][:, :2]},
        lambda arrays: {"examples": arrays["examples"] + 100},
        lambda arrays: {"pixels": arrays["pixels"][:3]},
        lambda arrays: {"wings": arrays["pixels"]},
        lambda arrays: {name: array[:0] for name, array in arrays.items() if array.ndim},
    ],
    ids=["class", "labels", "files", "classes", "examples", "pixels", "unknown array", "nothing"],
)
def test_inconsistent_predictions_are_not_shown(workshop: Workshop, damage: Any) -> None:
    folder = workshop.add_run()
    [run] = read_history(workshop.runs).runs
    assert run.read_predictions()
    with np.load(folder.predictions) as arrays:
        kept = dict(arrays)
    np.savez(folder.predictions, **kept | damage(kept))
    assert run.read_predictions() is None
    workshop.sign(folder)
    [run] = read_history(workshop.runs).runs
    assert run.read_predictions() is None


def test_a_pair_of_duplicates_that_the_data_does_not_list_is_skipped(workshop: Workshop) -> None:
    cells = {"cells": 0, "agreeing_cells": 0}
    pair = cells | {"path": "a", "of": "b", "similarity": 1.0, "mirrored": False, "same_class": True, "rows": [0, 1]}
    folder = workshop.add_run(data=workshop.describe_data(duplicates=[pair]))
    np.savez(folder.duplicates, pairs=np.array([0, 7]), pixels=np.zeros((2, 2, 8, 8, 3), np.uint8))
    workshop.sign(folder)
    [run] = read_history(workshop.runs).runs
    assert [duplicate.path for duplicate, _ in run.read_duplicates()] == ["a"]


def test_a_sweep_alone_is_a_history(workshop: Workshop) -> None:
    sweep = add_sweep(workshop, "first")
    assert [history.name for history in workshop.read_data_set().sweeps] == ["first"]
    shutil.rmtree(sweep.trials)
    assert read_history(workshop.runs).data_sets == []
