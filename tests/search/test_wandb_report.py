"""The blocks of the report as W&B's library writes them, with a fake server."""

from types import SimpleNamespace

import pytest
import wandb
import wandb_workspaces.reports.v2 as reports
import wandb_workspaces.reports.v2.interface as interface

from keras_inat.search import wandb_report
from keras_inat.search.wandb_report import build_blocks, publish_report
from keras_inat.training import wandb_run

SPACE = (
    "sweep.space={model.filters: {choices: [8, 16]}, model.kernel_size: {choices: [3]}, "
    "training.learning_rate: {min: 1e-4, max: 1e-2, log: true}}"
)


@pytest.fixture
def server(monkeypatch):
    """Returns the list of saved reports."""
    saved = []

    def save(report):
        saved.append(report)
        return report

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb_run, "_is_logged_in", lambda given: True)
    monkeypatch.setattr(wandb_report, "check_server", lambda given: None)
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="me"))
    monkeypatch.setattr(interface, "execute_graphql", lambda *_, **__: {"project": {"internalId": "1"}})
    monkeypatch.setattr(interface.Report, "save", save)
    monkeypatch.setattr(interface.Report, "url", "https://reports/first")
    return saved


def test_the_panels_show_the_runs_of_this_sweep(make_config, server):
    config = make_config("NAME=first.try", "tracking.project=p", SPACE)
    written = (
        build_blocks(config, "me", "accuracy")[1]._to_model().model_dump(by_alias=True, exclude_none=True)["metadata"]
    )
    (runs,) = written["runSets"]
    assert runs["filters"]["filters"][0]["value"] == "first.try"
    panels = {panel["viewType"]: panel["config"] for panel in written["panelBankSectionConfig"]["panels"]}
    assert [column["accessor"] for column in panels["Parallel Coordinates Plot"]["columns"]] == [
        "config:model_filters.value",
        "config:training_learning_rate.value",
        "summary:val_accuracy",
    ]
    assert [column.get("log") for column in panels["Parallel Coordinates Plot"]["columns"]] == [False, True, None]
    assert panels["Parameter Importance"]["targetKey"] == "val_accuracy"
    assert panels["Scatter Plot"]["xAxis"] == "run:createdAt"
    assert panels["Run History Line Plot"]["metrics"] == ["epoch/val_accuracy"]


def test_the_panels_show_the_objective(make_config, server):
    config = make_config(SPACE)
    text = build_blocks(config, "me", "balanced_accuracy")[1]._to_model().model_dump_json(by_alias=True)
    assert "summary:val_balanced_accuracy" in text
    assert "epoch/val_balanced_accuracy" in text
    assert '"Balanced validation accuracy"' in text
    assert "val_accuracy" not in text


def test_a_report_is_created_once_and_then_updated(make_config, server, monkeypatch, capsys):
    config = make_config("NAME=s", "tracking.wandb=auto", SPACE)
    publish_report(config, "accuracy")
    assert [report.title for report in server] == ["Sweep s"]
    assert "W&B's report: https://reports/first" in capsys.readouterr().out
    monkeypatch.setattr(
        interface.Report, "from_url", lambda url: reports.Report(project="p", entity="other", title=f"found at {url}")
    )
    publish_report(config, "accuracy")
    assert server[1].title == "found at https://reports/first"
    assert server[1].blocks[1].runsets[0].entity == "other"


def test_without_a_login_there_is_no_report(make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(wandb, "Api", lambda: pytest.fail("asked for the server"))
    publish_report(make_config("tracking.wandb=auto", SPACE), "accuracy")
    publish_report(make_config("tracking.wandb=offline", SPACE), "accuracy")


def test_a_failure_of_the_server_is_a_warning(make_config, server, monkeypatch, capsys):
    monkeypatch.setattr(interface.Report, "save", lambda report: 1 / 0)
    publish_report(make_config("tracking.wandb=online", SPACE), "accuracy")
    assert "warning: W&B's report is skipped: division by zero" in capsys.readouterr().err
