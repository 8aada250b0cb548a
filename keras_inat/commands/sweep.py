"""The search for good hyperparameters."""

from keras_inat.errors import PROGRAM, UserError
from keras_inat.search.runner import search
from keras_inat.search.space import describe_values
from keras_inat.search.wandb_report import publish_report
from keras_inat.settings.schema import Config
from keras_inat.store.balance import NAMES
from keras_inat.store.records import Trial, find_best
from keras_inat.store.sweeps import SweepFolder, locate_sweep


def run(config: Config) -> SweepFolder:
    """Runs the missing trials and prints the best one. Returns the folder of the sweep."""
    trials = search(config)
    conclude(config, trials)
    publish_report(config, trials[0].objective)
    return locate_sweep(config)


def conclude(config: Config, trials: list[Trial]) -> None:
    """Prints the best trial and the next step. Raises a `UserError` if no trial has a score."""
    if not trials:
        raise UserError("there is nothing to try: `sweep.forbid` forbids every configuration of `sweep.space`")
    best = find_best(trials)
    if best is None:
        failed = [trial for trial in trials if trial.status == "failed"]
        last = f". The last error: {failed[-1].error}" if failed else ""
        raise UserError(f"none of {len(trials)} trials has a score, and {len(failed)} failed{last}")
    folder = locate_sweep(config)
    data = folder.read_data(folder.find_identity())
    balance = f" ({best.describe_balance()})" if data and data.is_imbalanced else ""
    print(
        f"{len(trials)} trials. The best is {best.id} with {best.score:.1%} {NAMES[best.objective]}{balance}: "
        f"{describe_values(best.settings)}"
    )
    print(f"table: {folder.table}    next: {PROGRAM} train-best SWEEP={config.run.name}")
