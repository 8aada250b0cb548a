import csv
import json
import shutil
from pathlib import Path

import pytest

from keras_inat.commands.sweep import conclude
from keras_inat.errors import ExternalError, UserError
from keras_inat.files import hold_lock, read_jsonl
from keras_inat.search import runner
from keras_inat.search import trial as trials_module
from keras_inat.search.oracle import Bayesian
from keras_inat.settings.loading import load_config
from keras_inat.settings.yaml_files import format_yaml, read_yaml
from keras_inat.store.checksums import sign_lines
from keras_inat.store.records import Trial, find_best
from keras_inat.store.sweeps import find_best_config
from keras_inat.training.session import TrainedModel

SPACE = (
    "sweep.space={model.filters: [2, 4, 6, 8], model.activation: [relu, gelu, silu], model.batch_norm: [true, false]}"
)
FOLDER = Path("runs/sweep/s")


@pytest.fixture
def sweep_config(make_config):
    return lambda *arguments: make_config("NAME=s", "TRIALS=5", "sweep.epochs=1", "sweep.workers=0", SPACE, *arguments)


def table():
    with open(FOLDER / "trials.csv") as file:
        return list(csv.DictReader(file))


def test_the_first_trial_is_the_configuration_of_the_sweep(sweep_config, fake_fit):
    (trial,) = runner.search(sweep_config("TRIALS=1", "model.filters=6", "model.activation=silu"))
    assert trial.settings == {"model.filters": 6, "model.activation": "silu", "model.batch_norm": True}


def test_the_table_leaves_an_inactive_setting_empty(sweep_config, fake_fit):
    space = (
        "sweep.space={model.dense_units: [0, 8], model.dropout: {choices: [0.1, 0.2], when: {model.dense_units: [8]}}}"
    )
    trials = runner.search(sweep_config(space, "TRIALS=3", "sweep.oracle=grid"))
    seen = {(trial.settings["model.dense_units"], trial.settings.get("model.dropout", "")) for trial in trials}
    assert seen == {(0, ""), (8, 0.1), (8, 0.2)}
    written = {(row["model.dense_units"], row["model.dropout"]) for row in table()}
    assert written == {("0", ""), ("8", "0.1"), ("8", "0.2")}


def test_a_real_sweep_leaves_its_records(sweep_config):
    trials = runner.search(sweep_config("TRIALS=2"))
    assert [trial.status for trial in trials] == ["completed", "completed"]
    for row in table():
        metrics = [
            json.loads(line) for line in (FOLDER / "trials" / row["id"] / "metrics.jsonl").read_text().splitlines()
        ]
        assert float(row["score"]) == metrics[0]["val_accuracy"]
        assert len(metrics) == int(row["epochs"]) == 1
        assert row["val_accuracies"] == row["score"]
        assert int(row["parameters"]) > 0
    best = max(table(), key=lambda row: float(row["score"]))
    config = load_config([], FOLDER / "best.yaml")
    assert str(config.model.filters) == best["model.filters"]
    assert config.training.epochs == 2  # the full training's, not the trials'
    assert config.run.name == "s"
    assert not list(FOLDER.glob("trials/*/best.keras"))
    assert not Path("runs/test_ledger.jsonl").exists()


@pytest.mark.parametrize(("objective", "best"), [("accuracy", 8), ("balanced_accuracy", 2), ("auto", 8)])
def test_a_sweep_selects_by_its_objective(
    sweep_config, monkeypatch, build_result, build_epoch, capsys, objective, best
):
    def fit(config, run, *arguments, **options):
        accuracy = config.model.filters / 10
        epoch = build_epoch(1, accuracy).model_copy(update={"val_balanced_accuracy": 1 - accuracy})
        run.append_epoch(epoch)
        resolved = objective.replace("auto", "accuracy")
        fields = {"val_accuracy": accuracy, "val_balanced_accuracy": 1 - accuracy, "objective": resolved}
        return TrainedModel(None, None, build_result().model_copy(update=fields))

    monkeypatch.setattr(trials_module, "fit", fit)
    monkeypatch.setattr(trials_module.keras.utils, "clear_session", lambda: None)
    config = sweep_config(f"training.objective={objective}", "TRIALS=4", "sweep.space={model.filters: [2, 4, 6, 8]}")
    trials = runner.search(config)
    name = "balanced validation accuracy" if objective == "balanced_accuracy" else "validation accuracy"
    assert find_best(trials).settings == {"model.filters": best}
    assert find_best(trials).score == pytest.approx(0.8)
    assert (FOLDER / "best.yaml").read_text().startswith(f"# Trial {find_best(trials).id}, {name} 0.8000: ")
    assert load_config([], FOLDER / "best.yaml").training.objective == objective
    for row in table():
        assert row["objective"] == objective.replace("auto", "accuracy")
        assert float(row["val_accuracies"]) == int(row["model.filters"]) / 10
        assert float(row["val_balanced_accuracies"]) == pytest.approx(1 - int(row["model.filters"]) / 10)
        assert float(row["val_majority_baseline"]) == pytest.approx(1 / 3)
    said = "training.objective=balanced_accuracy: the balanced validation accuracy selects" in capsys.readouterr().out
    assert said == (objective == "balanced_accuracy")
    conclude(config, trials)
    assert f"with 80.0% {name}: filters={best}" in capsys.readouterr().out
    # The scores of another objective cannot be compared.
    with pytest.raises(UserError, match=r"training\.objective"):
        runner.search(
            sweep_config("training.objective=balanced_accuracy" if best == 8 else "training.objective=accuracy")
        )


def test_workers_train_each_trial_in_a_process(sweep_config, shared_forkserver):
    trials = runner.search(sweep_config("TRIALS=3", "sweep.workers=2", "sweep.epochs=2", "sweep.prune=none"))
    assert [trial.status for trial in trials] == ["completed"] * 3
    for trial in trials:
        folder = FOLDER / "trials" / trial.id
        rows = read_jsonl(folder / "metrics.jsonl")
        assert trial.score == max(row["val_accuracy"] for row in rows)
        assert f"trial {trial.id} epoch 2/2" in (folder / "log.txt").read_text()
        assert not (folder / "checkpoint.npz").exists()


def test_a_trial_scores_the_same_in_its_own_process(sweep_config, shared_forkserver):
    in_this_process, in_its_own = (
        runner.search(
            sweep_config("TRIALS=1", f"sweep.workers={workers}", f"NAME=w{workers}", "run.deterministic=true")
        )
        for workers in (0, 1)
    )
    assert in_this_process[0].score == in_its_own[0].score


def test_an_interrupted_trial_resumes_from_its_last_epoch(sweep_config, monkeypatch):
    settings = ["TRIALS=1", "sweep.epochs=3", "run.deterministic=true"]
    runner.search(sweep_config(*settings, "run.name=whole"))
    real = trials_module.fit
    begun = []

    def interrupted(*arguments, stop, **more):
        def interrupt(epoch):
            begun.append(epoch)
            if len(begun) == 2:
                raise KeyboardInterrupt
            return False

        return real(*arguments, stop=interrupt, **more)

    monkeypatch.setattr(trials_module, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.search(sweep_config(*settings))
    runner.search(sweep_config(*settings))
    assert begun == [1, 2, 2, 3]  # it may have been killed before it asked whether to stop

    def losses(name):
        return [row["loss"] for row in read_jsonl(Path("runs/sweep", name, "trials/0/metrics.jsonl"))]

    assert losses("s") == losses("whole")


def test_a_finished_training_is_not_repeated_if_only_its_record_is_missing(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=2"))
    path = FOLDER / "trials" / "1" / "trial.json"
    trial = Trial.read(path)
    trial.model_copy(update={"status": "running", "score": None}).write(path)
    fake_fit.clear()
    trials = runner.search(sweep_config("TRIALS=2"))
    assert fake_fit == []
    assert (trials[1].score, trials[1].seconds) == (trial.score, 7.5)


def test_a_pruned_trial_is_recorded_as_pruned_and_never_the_best(sweep_config, build_result, build_epoch, monkeypatch):
    """The fifth trial has the worst start and is pruned at the first rung."""
    curves = [
        [0.2, 0.4, 0.5, 0.6],
        [0.2, 0.3, 0.4, 0.5],
        [0.2, 0.5, 0.6, 0.8],
        [0.2, 0.45, 0.45, 0.5],
        [0.1, 0.2, 0.9, 0.9],
    ]

    def fit(config, run, label, *, stop, **options):
        curve = curves[int(run.path.name)]
        for epoch, accuracy in enumerate(curve, 1):
            run.append_epoch(build_epoch(epoch, accuracy))
            if stop(epoch):
                break
        done = curve[:epoch]
        result = build_result().model_copy(update={"val_accuracy": max(done), "epochs": epoch})
        return TrainedModel(None, None, result)

    monkeypatch.setattr(trials_module, "fit", fit)
    halving = ["TRIALS=5", "sweep.epochs=4", "sweep.prune=halving"]
    trials = runner.search(sweep_config(*halving))
    assert [trial.status for trial in trials] == ["completed"] * 4 + ["pruned"]
    pruned = trials[-1]
    assert (pruned.epochs, pruned.score) == (2, 0.2)
    assert table()[-1]["status"] == "pruned"
    assert find_best(trials).id == "2"
    assert runner.search(sweep_config(*halving)) == trials


@pytest.fixture
def resumed_once(monkeypatch):
    """Prunes trial 1 after one epoch and resumes it after trial 2. Returns the numbers of the trials that started."""

    def prefers_another(oracle, trial_id):
        return trial_id == "1" and oracle.records.read_trials()[1].epochs is None

    def choose(oracle, resumable):
        if resumable and len(oracle.trials) == 3:
            return resumable[0]
        return next(iter(oracle._list_candidates({})), None) if len(oracle.trials) < 3 else None

    monkeypatch.setattr(Bayesian, "prefers_another", prefers_another)
    monkeypatch.setattr(Bayesian, "_choose", choose)
    started = []
    real = trials_module.train_trial

    def train_trial(task, ask):
        started.append(task.argument.id)
        return real(task, ask)

    monkeypatch.setattr(trials_module, "train_trial", train_trial)
    return started


RESUMED = ["TRIALS=3", "sweep.epochs=3", "run.deterministic=true"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pruned_trial_resumes_from_its_last_epoch(sweep_config, resumed_once, shared_forkserver, capsys, workers):
    runner.search(sweep_config("run.name=whole", *RESUMED, "sweep.prune=none"))
    resumed_once.clear()
    trials = runner.search(sweep_config(*RESUMED, f"sweep.workers={workers}"))
    assert resumed_once == ([] if workers else ["0", "1", "2", "1"])
    assert [trial.status for trial in trials] == ["completed"] * 3
    text = capsys.readouterr().out
    assert "pruned after 1 of 3 epochs  (2 of 3;" in text
    assert "trial 1 resumes: filters=" in text

    def losses(name):
        return [row["loss"] for row in read_jsonl(Path("runs/sweep", name, "trials/1/metrics.jsonl"))]

    assert losses("s") == losses("whole")
    assert trials[1].epochs == len(losses("s")) == 3
    assert not list(FOLDER.rglob("checkpoint.npz"))


@pytest.mark.parametrize("killed_at", ["record", "result"])
def test_a_kill_while_a_pruned_trial_resumes_loses_nothing(sweep_config, resumed_once, monkeypatch, killed_at):
    """The kill is between the record that the trial runs and the removal of its result, or right after both."""

    def kill(*_):
        raise KeyboardInterrupt

    real = Path.unlink

    def unlink(path, missing_ok=False):
        if path == FOLDER / "trials" / "1" / "result.json" and path.exists():
            if killed_at == "result":
                real(path)
            kill()
        real(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            runner.search(sweep_config(*RESUMED))
    assert (FOLDER / "trials" / "1" / "checkpoint.npz").exists()
    assert [row["status"] for row in table()] == ["completed", "running", "completed"]
    trials = runner.search(sweep_config(*RESUMED))
    assert [(trial.status, trial.epochs) for trial in trials] == [("completed", 3)] * 3
    assert [row["epoch"] for row in read_jsonl(FOLDER / "trials" / "1" / "metrics.jsonl")] == [1, 2, 3]


def test_a_sweep_resumes_where_it_stopped(sweep_config, fake_fit):
    for total in (2, 2, 4):
        assert len(runner.search(sweep_config(f"TRIALS={total}"))) == total
        assert len(fake_fit) == total


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_trial_that_was_interrupted_runs_again_with_the_same_values(sweep_config, fake_fit, monkeypatch, error):
    real = trials_module.fit

    def interrupted(config, run, *rest, **more):
        if len(fake_fit) == 2:
            raise error
        return real(config, run, *rest, **more)

    monkeypatch.setattr(trials_module, "fit", interrupted)
    with pytest.raises(error):
        runner.search(sweep_config())
    (stopped,) = (row for row in table() if row["status"] == "running")
    assert stopped["id"] == "2"
    assert stopped["score"] == ""
    assert {path.name for path in FOLDER.rglob("*.json")} == {"trial.json", "result.json"}  # none of KerasTuner's own
    monkeypatch.setattr(trials_module, "fit", real)
    runner.search(sweep_config())
    rows = table()
    assert [row["id"] for row in rows] == list("01234")
    assert {row["status"] for row in rows} == {"completed"}
    assert rows[2]["model.filters"] == stopped["model.filters"]
    assert rows[2]["model.activation"] == stopped["model.activation"]
    assert len(fake_fit) == 5


def test_a_failed_trial_is_recorded_and_the_sweep_continues(sweep_config, fake_fit, monkeypatch):
    real = trials_module.fit

    def failing(config, run, *rest, **more):
        fitted = real(config, run, *rest, **more)
        if len(fake_fit) in (1, 2, 3, 4):  # more in a row than KerasTuner accepts by default
            raise [FloatingPointError, MemoryError, UserError, FloatingPointError][len(fake_fit) - 1]("on purpose")
        return fitted

    monkeypatch.setattr(trials_module, "fit", failing)
    trials = runner.search(sweep_config("TRIALS=6"))
    assert [trial.status for trial in trials] == ["failed"] * 4 + ["completed"] * 2
    assert trials[1].error == "MemoryError: on purpose"
    assert table()[0]["score"] == ""


def test_a_bug_stops_the_sweep(sweep_config, monkeypatch):
    monkeypatch.setattr(trials_module, "fit", lambda *_, **__: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        runner.search(sweep_config())
    assert [row["status"] for row in table()] == ["running"]  # the configuration has not failed


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("x; No space left on device"),
        ExternalError("no network to download the weights"),
    ],
)
def test_an_external_failure_stops_the_sweep_and_fails_no_trial(sweep_config, fake_fit, monkeypatch, error):
    real = trials_module.fit

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(trials_module, "fit", fail)
    with pytest.raises((OSError, ExternalError), match=r"No space left|no network"):
        runner.search(sweep_config("TRIALS=2"))
    assert [row["status"] for row in table()] == ["running"]
    monkeypatch.setattr(trials_module, "fit", real)
    runner.search(sweep_config("TRIALS=2"))
    assert [row["status"] for row in table()] == ["completed", "completed"]


def test_the_name_of_a_sweep_without_trials_can_be_used_again(sweep_config, fake_fit, monkeypatch):
    def refuse(config):
        raise UserError("the space is too small")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "build_oracle", refuse)
        with pytest.raises(UserError, match="the space is too small"):
            runner.search(sweep_config("sweep.epochs=50"))
    with hold_lock(FOLDER / "lock", "busy"), pytest.raises(UserError, match="another process is running"):
        runner.search(sweep_config())  # the other process may be about to begin a trial
    assert len(runner.search(sweep_config("TRIALS=2"))) == 2
    assert read_yaml(FOLDER / "space.yaml")["settings"]["sweep.epochs"] == 1


def test_an_error_that_every_trial_would_have_is_reported_at_once(sweep_config, fake_fit):
    with pytest.raises(UserError, match=r"no trial of .sweep\.epochs.=1 can be trained: .*image_scales. has 2 sizes"):
        runner.search(sweep_config("training.image_scales=[0.5,1.0]", "model.pooling=average"))
    assert not FOLDER.exists()


def test_a_changed_space_is_refused_and_the_differences_are_listed(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=1"))
    with pytest.raises(UserError, match=r"training\.warmup: 0\.0 -> 0\.1.*another NAME"):
        runner.search(sweep_config("training.warmup=0.1"))
    with pytest.raises(UserError, match=r"sweep\.epochs: 1 -> 2"):
        runner.search(sweep_config("sweep.epochs=2"))
    with pytest.raises(UserError, match=r"space\.model\.filters"):
        runner.search(sweep_config("sweep.space={model.filters: [2, 3]}"))
    runner.search(sweep_config("TRIALS=2", "tracking.tensorboard=true", "training.epochs=3"))


def test_a_sweep_recorded_without_a_setting_is_refused(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=1"))
    written = read_yaml(FOLDER / "space.yaml")
    del written["settings"]["model.ensemble_size"]
    (FOLDER / "space.yaml").write_text(sign_lines(format_yaml(written)))
    with pytest.raises(UserError, match=r"model\.ensemble_size: None -> 1"):
        runner.search(sweep_config("TRIALS=2"))


def test_a_missing_trial_is_an_error(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=3"))
    (FOLDER / "trials" / "1").rename(FOLDER / "trials" / "1.bak")
    with pytest.raises(UserError, match=r"trial 1 is missing from .*trials: put it back"):
        runner.search(sweep_config("TRIALS=4"))
    (FOLDER / "trials" / "1.bak").rename(FOLDER / "trials" / "1")
    shutil.copytree(FOLDER / "trials" / "1", FOLDER / "trials" / "1.bak")
    assert len(runner.search(sweep_config("TRIALS=4"))) == 4


def test_missing_weights_fail_no_trial(sweep_config):
    config = sweep_config(
        "STRATEGY=topk", "WEIGHTS=gone.h5", "data.image_size=32", "sweep.space={finetune.unfreeze: [2, 5]}"
    )
    with pytest.raises(ExternalError, match=r"'gone\.h5' does not exist"):
        runner.search(config)
    assert [row["status"] for row in table()] == ["running"]


def test_a_time_limit_needs_worker_processes(sweep_config):
    with pytest.raises(UserError, match=r"needs `sweep\.workers` of 1 or more"):
        sweep_config("sweep.trial_timeout_seconds=5")


def test_other_images_are_another_sweep(sweep_config, fake_fit, photos):
    runner.search(sweep_config("TRIALS=1"))
    (photos / "train" / "red" / "0.png").unlink()
    with pytest.raises(UserError, match=r"data\.hash"):
        runner.search(sweep_config("TRIALS=2"))


def test_images_that_change_during_the_sweep_stop_it(sweep_config, fake_fit, monkeypatch, photos):
    real = trials_module.fit

    def change(*arguments, **named):
        (photos / "train" / "red" / "0.png").unlink()
        return real(*arguments, **named)

    monkeypatch.setattr(trials_module, "fit", change)
    monkeypatch.setattr(runner, "CHECK_PERIOD", 0)
    with pytest.raises(ExternalError, match="the images changed during the sweep"):
        runner.search(sweep_config("TRIALS=2"))
    assert len(fake_fit) == 1


def test_tables_that_a_kill_left_outdated_are_rewritten(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=2"))
    best = (FOLDER / "best.yaml").read_text()
    whole = (FOLDER / "trials.csv").read_text()
    (FOLDER / "best.yaml").unlink()
    (FOLDER / "trials.csv").write_text(whole.replace("completed", "running"))
    runner.search(sweep_config("TRIALS=2"))
    assert (FOLDER / "best.yaml").read_text() == best
    assert (FOLDER / "trials.csv").read_text() == whole


def test_only_one_process_runs_a_sweep(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=1"))
    with hold_lock(FOLDER / "lock"), pytest.raises(UserError, match="another process is running the sweep 's'"):
        runner.search(sweep_config("TRIALS=2"))


@pytest.mark.parametrize("damage", [lambda path: path.write_text('{"id": "0"'), Path.unlink], ids=["half", "lost"])
def test_a_damaged_record_is_made_anew_from_the_result(sweep_config, fake_fit, damage, capsys):
    trials = runner.search(sweep_config("TRIALS=3"))
    fake_fit.clear()
    damage(FOLDER / "trials" / "1" / "trial.json")
    again = runner.search(sweep_config("TRIALS=3"))
    assert "trials/1/trial.json" in capsys.readouterr().err
    assert fake_fit == []
    times = {"started": "", "ended": ""}
    assert [trial.model_copy(update=times) for trial in again] == [trial.model_copy(update=times) for trial in trials]


def test_a_trial_whose_records_are_all_damaged_has_failed(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=3"))
    for name in ("trial.json", "result.json", "config.yaml"):
        (FOLDER / "trials" / "1" / name).write_text("garbage")
    fake_fit.clear()
    trials = runner.search(sweep_config("TRIALS=4"))
    assert [trial.status for trial in trials] == ["completed", "failed", "completed", "completed"]
    assert trials[1].error == "the record of this trial is damaged or was changed by hand"
    assert len(fake_fit) == 1


def test_the_result_of_another_trial_is_not_taken(sweep_config, fake_fit):
    """As if the folder of a trial had stayed behind without its record."""
    runner.search(sweep_config("TRIALS=2"))
    for name in ("result.json", "config.yaml", "metrics.jsonl"):
        (FOLDER / "trials" / "2").mkdir(exist_ok=True)
        shutil.copy(FOLDER / "trials" / "1" / name, FOLDER / "trials" / "2" / name)
    (FOLDER / "trials" / "2" / "config.yaml").unlink()
    fake_fit.clear()
    runner.search(sweep_config("TRIALS=3"))
    assert len(fake_fit) == 1


def test_the_best_configuration_keeps_seed_and_fine_tuning(sweep_config, fake_fit):
    settings = ["run.seed=3", "STRATEGY=topk", "sweep.space={finetune.unfreeze: [2, 5]}"]
    (trial,) = runner.search(sweep_config("TRIALS=1", *settings))
    best = load_config([], FOLDER / "best.yaml")
    assert best.finetune.unfreeze == trial.settings["finetune.unfreeze"]
    assert best.run.seed == 3


def test_missing_data_are_an_error_before_the_first_trial(sweep_config):
    with pytest.raises(UserError, match="does not exist"):
        runner.search(sweep_config("DATA=nowhere"))
    assert not FOLDER.exists()


def test_the_best_configuration_is_found_by_name_or_is_the_newest(sweep_config, fake_fit):
    runner.search(sweep_config("TRIALS=1"))
    assert find_best_config("runs", "s") == find_best_config("runs", None) == FOLDER / "best.yaml"
    with pytest.raises(UserError, match=r"must be one of {s}\. Received: 'x'\."):
        find_best_config("runs", "x")
