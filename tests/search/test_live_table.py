import pytest
from rich.console import Console

from keras_inat.search.live_table import LiveTable, draw_curve
from keras_inat.search.records import Records
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Trial

CURVES = {"completed": [0.1, 0.4], "pruned": [0.05], "running": [0.2], "failed": []}


@pytest.fixture
def records(build_epoch):
    records = Records(load_config(["NAME=s", "TRIALS=6", "sweep.epochs=2", "sweep.space={model.filters: [2]}"]), "hash")
    for index, status in enumerate(["completed", "failed", "pruned", "pruned", "running"]):
        curve = CURVES[status]
        settings = {"model.filters": index + 1}
        trial = Trial(id=str(index), values=settings, settings=settings, status=status, error="too many filters")
        if status in ("completed", "pruned"):
            ended = {"score": max(curve), "epochs": len(curve), "val_accuracies": tuple(curve)}
            trial = trial.model_copy(update=ended)
        for epoch, accuracy in enumerate(curve, 1):
            records.folder.trial_run(trial.id).append_epoch(build_epoch(epoch, accuracy))
        records.write_trial(trial)
    return records


def render(live_table, height):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(live_table.draw(height))
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def test_the_table_shows_every_trial_and_the_epochs_saved_by_pruning(records):
    assert render(LiveTable(records, None), 30)[2:] == [
        "0 best ▃█ 40.0% 2/2 filters=1",
        "1 failed 0/2 too many filters",
        "2 pruned ▂ 5.0% 1/2 filters=3",
        "3 pruned ▂ 5.0% 1/2 filters=4",
        "4 running ▅ 20.0% 1/2 filters=5",
        "(4 of 6; best so far 40.0%, trial 0; 2 epochs saved)",
    ]


def test_imbalanced_trials_show_their_accuracies(records, capsys):
    records.objective = "balanced_accuracy"
    records.shows_balance = True
    live_table = LiveTable(records, None)
    trial = records.read_trials()[-1]
    ended = {"status": "completed", "objective": "balanced_accuracy", "score": 0.5, "epochs": 1}
    scores = {"val_accuracies": (0.96,), "val_balanced_accuracies": (0.5,), "val_majority_baseline": 0.962}
    records.write_trial(trial.model_copy(update=ended | scores))
    live_table.refresh()
    line = capsys.readouterr().out
    assert ": 50.0% (accuracy 96.0%, balanced 50.0%, majority baseline 96.2%)" in line
    assert "balanced validation accuracy" in render(live_table, 30)[0]


def test_a_low_terminal_shows_the_best_and_the_newest_trials(records):
    assert [line[:6] for line in render(LiveTable(records, None), 8)[2:-1]] == ["0 best", "3 prun", "4 runn"]


def test_without_a_terminal_every_event_is_one_line(records, capsys):
    live_table = LiveTable(records, None)
    live_table.refresh()
    trial = records.read_trials()[-1]
    records.write_trial(
        trial.model_copy(update={"status": "pruned", "score": 0.2, "epochs": 1, "val_accuracies": (0.2,)})
    )
    live_table.refresh()
    live_table.refresh()
    records.begin(trial.id, trial.values)
    live_table.refresh()
    first, second, third = capsys.readouterr().out.splitlines()
    assert third == "trial 4 resumes: filters=5"
    assert first == "trial 4 of 6: filters=5"
    assert second.startswith(
        "trial 4: 20.0%, pruned after 1 of 2 epochs  (5 of 6; best so far 40.0%, trial 0; 3 epochs saved"
    )


def test_a_curve_has_one_character_for_each_epoch():
    assert draw_curve([0.0, 0.1, 0.5, 1.0], 1.0) == "▁▁▅█"
    assert draw_curve([0.0], 0.0) == "▁"
    assert len(draw_curve([0.5] * 50, 1.0)) == 30
