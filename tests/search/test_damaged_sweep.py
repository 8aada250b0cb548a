"""Sweeps that resume after random damage to their files: they end as before, or a line names the file."""

from pathlib import Path

import pytest
from mutations import DamagedRuns

from keras_inat.search import runner
from keras_inat.search import trial as trials_module
from keras_inat.store.records import Result

SPACE = "sweep.space={model.filters: [2, 4, 6, 8], model.activation: [relu, gelu, silu]}"
NUM_INTERRUPTED = 3  # trials of the killed sweep, the last one unfinished


@pytest.fixture
def sweep_config(make_config):
    return lambda name: make_config(f"NAME={name}", "TRIALS=5", "sweep.epochs=2", "sweep.workers=0", SPACE)


@pytest.fixture
def killed_sweep(sweep_config, fake_fit, monkeypatch):
    """A sweep that was killed in a trial, after an epoch."""
    fit = trials_module.fit

    def die_in_the_last(config, run, *arguments, **options):
        trained = fit(config, run, *arguments, **options)
        if int(run.path.name) + 1 < NUM_INTERRUPTED:
            return trained
        run.write_epochs(run.read_epochs()[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trials_module, "fit", die_in_the_last)
        with pytest.raises(KeyboardInterrupt):
            runner.search(sweep_config("s"))


def resume(config):
    """Returns everything that decides the outcome of a resumed sweep."""
    trials = runner.search(config)
    times = {"started": "", "ended": "", "seconds": None}
    return [trial.model_copy(update=times) for trial in trials], Path("runs/sweep/s/best.yaml").read_bytes()


def test_a_damaged_sweep_resumes_as_before_or_a_line_names_the_file(
    sweep_config, killed_sweep, fake_fit, list_seeds, capsys
):
    runner.search(sweep_config("other"))
    runs = DamagedRuns(lambda path: path.is_relative_to("runs/sweep/s"))
    config = sweep_config("s")
    sound = resume(config)
    assert [len(trials) for trials in (sound[0], fake_fit)] == [5, NUM_INTERRUPTED + 5 + 3]
    capsys.readouterr()
    for seed in list_seeds(40):
        path, words, received, error = runs.resume(seed, lambda: resume(config))
        said = error or capsys.readouterr().err
        assert str(path.relative_to("runs/sweep/s")) in said or received == sound, (seed, path, words)


def test_epochs_of_a_finished_trial_that_were_exchanged_are_named(sweep_config, killed_sweep, fake_fit, capsys):
    runner.search(sweep_config("s"))
    [first, second] = [Path("runs/sweep/s/trials", number) for number in "02"]  # with other scores
    (first / "trial.json").unlink()  # of a sweep that was killed before it was written
    (first / "metrics.jsonl").write_bytes((second / "metrics.jsonl").read_bytes())
    capsys.readouterr()
    runner.search(sweep_config("s"))
    assert f"{first}/metrics.jsonl is damaged or was changed by hand" in capsys.readouterr().err


def test_a_result_on_other_images_is_not_taken(sweep_config, killed_sweep, fake_fit):
    runner.search(sweep_config("s"))
    trial = Path("runs/sweep/s/trials/1")
    (trial / "trial.json").unlink()
    result = Result.read(trial / "result.json")
    data = result.data.model_copy(update={"hash": "others"})
    result.model_copy(update={"data": data}).write(trial / "result.json")
    num_trained = len(fake_fit)
    runner.search(sweep_config("s"))
    assert len(fake_fit) == num_trained + 1
    assert Result.read(trial / "result.json").data == result.data
