"""The search for good hyperparameters."""

from keras_inat.errors import UserError
from keras_inat.settings.schema import Config
from keras_inat.store.sweeps import locate_sweep
from keras_inat.store.trials import Trial, find_best
from keras_inat.sweep.runner import search
from keras_inat.sweep.space import describe_values
from keras_inat.sweep.wandb_report import publish_report


def run(config: Config) -> None:
    """Runs the trials that are still missing, and says what was found."""
    conclude(config, search(config))
    publish_report(config)


def conclude(config: Config, trials: list[Trial]) -> None:
    """Says which of the trials is best."""
    if not trials:
        raise UserError("there is nothing to try: `sweep.forbid` leaves no configuration of `sweep.space`")
    best = find_best(trials)
    if best is None:
        failed = [trial for trial in trials if trial.status == "failed"]
        said = f"; the last said: {failed[-1].error}" if failed else ""
        raise UserError(f"none of {len(trials)} trials has a score, {len(failed)} failed{said}")
    print(
        f"{len(trials)} trials; the best is {best.id} with {best.score:.1%} validation accuracy: "
        f"{describe_values(best.settings)}"
    )
    print(f"table: {locate_sweep(config).table}    next: make train-best SWEEP={config.run.name}")
