"""What `runs/` tells: runs that belong together, and damaged files, which are left out and take nothing with them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_workshop import Workshop

from keras_inat.files import append_jsonl, write_json
from keras_inat.report.history import read_history
from keras_inat.report.sections.network import describe_network
from keras_inat.settings.loading import build_config, merge
from keras_inat.store.ledger import ledger_path


def _add_sweep(workshop: Workshop, name: str) -> Path:
    return workshop.add_sweep(name, [{"model.filters": 4}, {"model.filters": 8}], [0.5, 0.25])


def test_another_file_of_weights_is_another_configuration(workshop: Workshop) -> None:
    workshop.config = build_config(merge(workshop.config.model_dump(), {"finetune": {"strategy": "head"}}))
    for seed, weights in enumerate(["a", "b", "a"]):
        run = workshop.add_run("finetune", seed=seed)
        write_json(run.result, json.loads(run.result.read_text()) | {"weights_hash": weights})
    [data_set] = read_history(workshop.runs).data_sets
    assert [[r.result["weights_hash"] for r in group.records] for group in data_set.groups] == [["a", "a"], ["b"]]


@pytest.mark.parametrize(
    "cells",
    [
        b"7,completed",
        b"\xff\xfe",
        b"7,completed,0.5,1,2,3,4,5,6,7,8,9,10,11,12,13,14",
        b"7,completed,1.7,8,5,150,1,1,2026-11-01T08:00:00+00:00,x,",
        b"7," + b"x" * 200_000,
    ],
    ids=["few cells", "no text", "many cells", "no accuracy", "long cell"],
)
def test_a_damaged_table_of_trials_is_left_out(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], cells: bytes
) -> None:
    for name in ("good", "bad"):
        _add_sweep(workshop, name)
    with open(workshop.runs / "sweep" / "bad" / "trials.csv", "ab") as file:
        file.write(cells)
    [data_set] = read_history(workshop.runs).data_sets
    assert [sweep.folder.name for sweep in data_set.sweeps] == ["good"]
    assert "bad/trials.csv is damaged and left out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["base: [", "base: 3", "base: {data: null}", "base: {data: 5}", "[]", ""])
def test_a_sweep_with_a_damaged_space_goes_by_its_name(workshop: Workshop, text: str) -> None:
    folder = _add_sweep(workshop, "first")
    shutil.rmtree(folder / "trials")
    (folder / "space.yaml").write_text(text)
    assert [data_set.name for data_set in read_history(workshop.runs).data_sets] == ["first"]


@pytest.mark.parametrize("text", ["", "model: {filters: [", "model: null", "model: {zzz: 1}", "3"])
def test_a_damaged_best_configuration_is_left_out(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    folder = _add_sweep(workshop, "first")
    (folder / "best.yaml").write_text(text)
    [data_set] = read_history(workshop.runs).data_sets
    assert "No network was trained from scratch" in describe_network(data_set).blocks[0].text  # type: ignore[union-attr]
    assert "best.yaml is damaged and left out" in capsys.readouterr().err


def test_a_run_of_another_version_is_left_out(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.add_run(name="good")
    run = workshop.add_run(name="other")
    result = json.loads(run.result.read_text())
    result["config"]["model"]["wings"] = 2
    write_json(run.result, result)
    assert [record.name for record in read_history(workshop.runs).records] == ["good"]
    assert f"{run.result} is of another version and left out" in capsys.readouterr().err


def test_damaged_lines_are_left_out(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    run = workshop.add_run()
    for path in (run.metrics, ledger_path(workshop.runs)):
        append_jsonl(path, {})
        with open(path, "ab") as file:
            file.write(b"null\n12\n{\n")
    history = read_history(workshop.runs)
    assert [line["run"] for line in history.ledger] == [str(run.path)]
    assert "damaged lines of" in capsys.readouterr().err
    assert [row["epoch"] for row in run.read_metrics()] == list(range(1, 13))


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: {"labels": arrays["labels"] + 9},
        lambda arrays: {"labels": arrays["labels"][:50]},
        lambda arrays: {"files": arrays["files"][:50]},
        lambda arrays: {"probabilities": arrays["probabilities"][:, :2]},
        lambda arrays: {"examples": arrays["examples"] + 100},
        lambda arrays: {"pixels": arrays["pixels"][:3]},
        lambda arrays: {name: array[:0] for name, array in arrays.items()},
    ],
    ids=["class", "labels", "files", "classes", "examples", "pixels", "nothing"],
)
def test_predictions_that_do_not_fit_are_not_shown(workshop: Workshop, damage: Any) -> None:
    run = workshop.add_run()
    [record] = read_history(workshop.runs).records
    assert record.read_predictions()
    with np.load(run.predictions) as arrays:
        kept = dict(arrays)
    np.savez(run.predictions, **kept | damage(kept))
    assert record.read_predictions() is None
