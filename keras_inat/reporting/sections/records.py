"""Records: the cost of every run, every evaluation on the test images, and the reproduction of every run."""

from collections import Counter
from pathlib import Path

from keras_inat.errors import PROGRAM
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Prose, Section, Table
from keras_inat.reporting.formatting import MISSING, percent, plural
from keras_inat.reporting.history import FinishedRun, History
from keras_inat.reporting.model_cards import FOLDER
from keras_inat.store.ledger import NAMED_IMAGES

TEST_EVALUATIONS = "Test evaluations"
REPRODUCTION = "Reproduction"
NUM_ENTRIES = 50


def describe_cost(runs: list[FinishedRun]) -> Section:
    """Returns the section on parameters, multiply-accumulates and time, with a row for each run."""
    rows = []
    for run in runs:
        result = run.result
        low, high = run.test.interval
        accuracy = f"{percent(run.test.accuracy)} ({percent(low)} to {percent(high)})"
        if run.data.is_imbalanced:
            accuracy += (
                f"; balanced {percent(run.test.balanced_accuracy)}, baseline {percent(run.test.majority_baseline)}"
            )
        if run.test.flip:
            accuracy += f"; {percent(run.test.flip.test_accuracy)} with test-time augmentation"
            if run.data.is_imbalanced:
                accuracy += f", balanced {percent(run.test.flip.test_balanced_accuracy)}"
        rows.append(
            [
                run.title,
                f"{result.parameters:,}",
                f"{run.trained_parameters:,}",
                formatting.abbreviate(result.macs),
                f"{run.data.image_size}",
                f"{result.epochs:,}",
                formatting.duration(result.seconds),
                f"{result.images_per_second:,.0f}",
                accuracy,
            ]
        )
    caption = (
        "Cost of every run. MACs: multiply-accumulates for one image. Images/s: the median over epochs, training only. "
        "Test accuracy: with its 95 % interval over the test images. Test-time augmentation: predictions are averaged "
        "over each image and its horizontal flip."
    )
    head = ["run", "parameters", "trained", "MACs", "pixels", "epochs", "time", "images/s", "test accuracy"]
    return Section("Cost", [Table(caption, "lrrrrrrrr", head, rows)])


def describe_test_evaluations(history: History) -> Section:
    """Returns the section on the test ledger."""
    if not history.ledger:
        text = "The test ledger is empty: no model was evaluated on the test images."
        return Section(TEST_EVALUATIONS, [Prose(text)])
    num_named = sum(entry.command == NAMED_IMAGES for entry in history.ledger)
    num_evaluations = Counter(entry.run for entry in history.ledger if entry.command != NAMED_IMAGES)
    repeated = [run for run, number in num_evaluations.items() if number > 1]
    text = (
        f"The test ledger has {plural(num_evaluations.total(), 'test evaluation')} by "
        f"{plural(len(num_evaluations), 'run')}. Every evaluation on the test images goes through one function, which "
        "writes the ledger first. "
    )
    text += f"Evaluated more than once: {', '.join(repeated)}." if repeated else "No run was evaluated more than once."
    finished = {run.title for run in history.runs}
    num_absent = sum(Path(run).name not in finished for run in num_evaluations)
    if num_absent:
        outcome = "has no result: it was" if num_absent == 1 else "have no result: they were"
        text += f" {plural(num_absent, 'run')} evaluated on the test set but {outcome} aborted or deleted."
    if num_named:
        text += f" Evaluations of other labeled images, which the user named: {num_named:,}."
    rows = []
    for entry in history.ledger[-NUM_ENTRIES:]:
        time = entry.time[:16].replace("T", " ")
        rows.append([time, entry.command, Path(entry.run).name, entry.data, entry.commit or MISSING])
    shown = f"The last {NUM_ENTRIES}" if len(history.ledger) > NUM_ENTRIES else "All"
    head = ["time (UTC)", "command", "run", "data", "commit"]
    table = Table(f"{shown} test evaluations, the oldest first.", "lllll", head, rows)
    return Section(TEST_EVALUATIONS, [Prose(text), table])


def describe_reproduction(runs: list[FinishedRun]) -> Section:
    """Returns the section with the command, seed, data and package versions of each run."""
    rows = []
    versions = Counter[str]()
    for run in runs:
        # The configuration has the seed. It also has the number of seeds, which would repeat the other runs as well.
        command = f"{PROGRAM} {run.folder.command} NAME=again SEEDS=1 CONFIG={run.folder.config}"
        rows.append([run.title, command, str(run.result.seed), run.data.hash, run.result.commit or MISSING])
        versions[", ".join(f"{name} {version}" for name, version in sorted(run.result.packages.items()))] += 1
    section = Section(REPRODUCTION)
    section.blocks = [
        Prose(
            "The folder of a run has its configuration. Passed as CONFIG, together with another NAME, it trains the "
            "run again."
        ),
        Prose(
            f"The model cards in `{FOLDER}/` beside this page describe each kept model, its accuracy and its intended "
            "use."
        ),
        Table("Commands that repeat each run.", "llrll", ["run", "command", "seed", "data hash", "commit"], rows),
        *(Prose(f"Made with {names} ({plural(number, 'run')}).") for names, number in versions.items()),
    ]
    return section
