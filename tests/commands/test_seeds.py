from pathlib import Path

import pytest

from keras_inat.commands import seeds
from keras_inat.commands.catalog import COMMANDS
from keras_inat.commands.preflight import check_arguments
from keras_inat.commands.seeds import SeedRun, train_seeds
from keras_inat.errors import UserError
from keras_inat.executors.local import LocalExecutor
from keras_inat.executors.tasks import Resources
from keras_inat.settings.loading import load_config
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder, create_run, finish_run


@pytest.fixture
def trained(monkeypatch, build_result):
    """Replaces a training by a result. Returns the labels of the trainings."""
    labels = []

    def train_and_evaluate(config, command, label, pack=None, record=None):
        labels.append(label)
        run = create_run(config, command, f"seed{config.run.seed}")
        build_result().model_copy(update={"seed": config.run.seed}).write(run.result)
        return run

    monkeypatch.setattr(seeds, "train_and_evaluate", train_and_evaluate)
    return labels


@pytest.mark.parametrize(("num_gpus", "num_runs", "workers"), [(0, 5, 0), (1, 5, 0), (2, 1, 0), (2, 5, 2), (8, 3, 3)])
def test_each_gpu_trains_a_run(monkeypatch, num_gpus, num_runs, workers):
    monkeypatch.setattr(seeds, "count_gpus", lambda: num_gpus)
    assert seeds._choose_resources(None, num_runs) == Resources(num_runs, workers=workers)
    # A cluster that grows sees how many runs wait.
    assert seeds._choose_resources("auto", num_runs) == Resources(num_runs, workers=num_runs)


def test_every_configuration_is_trained_with_every_seed(trained, capsys):
    head, full = (load_config(["SEEDS=2", "run.seed=3", f"STRATEGY={strategy}"]) for strategy in ("head", "full"))
    runs = train_seeds({"head": head, "full": full}, "finetune")
    assert trained == ["head seed 3", "head seed 4", "full seed 3", "full seed 4"]
    assert [[Result.read(run.result).seed for run in group] for group in runs] == [[3, 4], [3, 4]]
    assert capsys.readouterr().out.count("test accuracy, mean of 2 seeds") == 2


def test_a_single_run_needs_no_table(trained, capsys):
    ((run,),) = train_seeds({"": load_config(["run.seed=7"])}, "train-best")
    assert trained == ["seed 7"]
    assert run.result.exists()
    assert "mean of" not in capsys.readouterr().out


def test_a_failed_training_is_named():
    with pytest.raises(UserError, match="seed 1: MemoryError: its process was killed twice"):
        SeedRun(load_config([]), "train-best", "seed 1").end("MemoryError: its process was killed twice")
    with pytest.raises(KeyError):
        SeedRun(load_config([]), "train-best", "seed 1").end(KeyError("a bug"))


def test_the_log_of_another_machine_is_printed_line_by_line(capsys):
    run = SeedRun(load_config([]), "train-best", "seed 1", RunFolder(Path("r"), "train-best"))
    run.print_log()  # there is none yet
    Path("r").mkdir()
    log = Path("r/log.txt")
    for text, printed in (("seed 1 epoch 1\nseed 1 ep", "seed 1 epoch 1\n"), ("och 2\n", "seed 1 epoch 2\n"), ("", "")):
        with open(log, "a") as file:
            file.write(text)
        run.print_log()
        assert capsys.readouterr().out == printed


def test_the_executor_is_closed_after_a_failure(monkeypatch, trained):
    closed = []
    monkeypatch.setattr(LocalExecutor, "close", lambda self: closed.append(True))
    monkeypatch.setattr(seeds, "train_and_evaluate", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_seeds({"": load_config([])}, "train-best")
    assert closed == [True]


def test_a_cluster_needs_ray_and_workers(monkeypatch, photos):
    monkeypatch.setattr("keras_inat.commands.preflight.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"CLUSTER=auto needs Ray, .*: pip install 'keras-inat\[cluster\]'"):
        check_arguments(COMMANDS["train-best"], load_config([f"DATA={photos}", "CLUSTER=auto"]))
    monkeypatch.setattr("keras_inat.commands.preflight.importlib.util.find_spec", lambda name: name)
    with pytest.raises(UserError, match=r"`sweep\.workers`=0 trains in this process"):
        check_arguments(COMMANDS["sweep"], load_config([f"DATA={photos}", "CLUSTER=auto", "WORKERS=0"]))


def test_a_teacher_is_checked_before_tensorflow_starts(photos, build_result):
    config = load_config([f"DATA={photos}", "training.teacher=runs/finetune/a"])
    with pytest.raises(UserError, match=r"`training\.teacher` must be the folder of a finished run"):
        check_arguments(COMMANDS["train-best"], config)
    for command in ("sweep", "suspects", "demo"):
        with pytest.raises(UserError, match=r"`training\.teacher` is for train-best"):
            check_arguments(COMMANDS[command], config)
    folder = Path("runs/finetune/a")
    folder.mkdir(parents=True)
    (folder / "best.keras").touch()
    finish_run(RunFolder(folder, "finetune"), build_result())
    check_arguments(COMMANDS["train-best"], config)
