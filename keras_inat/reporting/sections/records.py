"""Records: the cost of every run, every evaluation on the test images, and the reproduction of every run."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_inat.errors import PROGRAM, join_names
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Details, Prose, Section, Table
from keras_inat.reporting.formatting import MISSING, percent, plural
from keras_inat.reporting.history import FinishedRun, History
from keras_inat.reporting.model_cards import FOLDER
from keras_inat.settings.places import name_path
from keras_inat.store.ledger import NAMED_IMAGES, Ledger, LedgerEntry
from keras_inat.store.runs import identify_group

TEST_EVALUATIONS = "Test evaluations"
REPRODUCTION = "Reproduction"
NUM_ENTRIES = 50


def describe_cost(runs: list[FinishedRun]) -> Section:
    """Returns the section on parameters, multiply-accumulates and time, with a row for each run."""
    rows = []
    for run in runs:
        result = run.result
        low, high = run.test.interval
        accuracy = f"{percent(run.test.accuracy)} ({100 * low:.1f} to {percent(high)})"
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
                f"{run.title}, with a teacher" if run.teacher else run.title,
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
        "Test accuracy: with its 95 % interval over the test images. With test-time augmentation, predictions are "
        "averaged over each image and its horizontal flip. A head on cached features trains many images a second."
    )
    head = ["run", "parameters", "trained", "MACs", "image side", "epochs", "time", "images/s", "test accuracy"]
    table = Table(caption, "lrrrrrrrr", head, rows)
    lead = "The parameters, multiply-accumulates and training time of every run."
    return Section("Cost", [Details(f"Cost of {plural(len(rows), 'evaluated run')}", [table])], lead)


def describe_test_evaluations(history: History) -> Section:
    """Returns the section on the test ledger."""
    entries = history.ledger.entries
    faults = describe_faults(history.ledger)
    if not entries:
        text = "The test ledger is empty: no model was evaluated on the test images."
        return Section(TEST_EVALUATIONS, faults or [Prose(text)])
    evaluations = [entry for entry in entries if entry.command != NAMED_IMAGES]
    num_named = len(entries) - len(evaluations)
    num_evaluations = Counter(entry.run for entry in evaluations)
    repeated = [run for run, number in num_evaluations.items() if number > 1]
    text = (
        f"The test ledger has {plural(len(evaluations), 'test evaluation')} by {plural(len(num_evaluations), 'run')}. "
        "Every evaluation on the test images goes through one function, which writes the ledger first. "
    )
    text += f"Evaluated more than once: {', '.join(repeated)}." if repeated else "No run was evaluated more than once."
    finished = {run.title for run in history.runs}
    absent = [run for run in num_evaluations if Path(run).name not in finished]
    if absent:
        outcome = "has no result: it was" if len(absent) == 1 else "have no result: they were"
        text += f" {plural(len(absent), 'run')} evaluated on the test set but {outcome} aborted, deleted or damaged"
        text += f" ({join_names(absent)})."
    if num_named:
        text += f" Evaluations of other labeled images, which the user named: {num_named:,}."
    blocks: list[Block] = [*faults, Prose(text)]
    if evaluations:
        blocks += _describe_reuse(history, evaluations)
    rows = []
    for entry in entries[-NUM_ENTRIES:]:
        time = entry.time[:16].replace("T", " ")
        rows.append([time, entry.command, Path(entry.run).name, entry.data, entry.commit or MISSING])
    shown = f"The last {NUM_ENTRIES}" if len(entries) > NUM_ENTRIES else "All"
    head = ["time (UTC)", "command", "run", "data", "commit"]
    table = Table(f"{shown} test evaluations, the oldest first.", "lllll", head, rows)
    return Section(TEST_EVALUATIONS, [*blocks, Details(f"{shown} test evaluations", [table])])


def describe_faults(ledger: Ledger) -> list[Block]:
    """Returns a paragraph about the faults of the test ledger; nothing for a sound one."""
    if not ledger.faults:
        return []
    return [
        Prose(
            f"The test ledger was damaged or changed by hand: {join_names(ledger.faults)}. The test images may have "
            "been evaluated more often than this page says."
        )
    ]


def _describe_reuse(history: History, evaluations: Sequence[LedgerEntry]) -> list[Block]:
    """Describes how often the same test images were used, and by how many configurations of each command."""
    configurations = {run.title: identify_group(run.result) for run in history.runs}
    names = {data_set.data.hash: data_set.name for data_set in history.data_sets if data_set.data}
    rows = []
    for data, by_data in _group_by(evaluations, lambda entry: entry.data).items():
        families = _group_by(by_data, lambda entry: entry.command)
        if len(families) > 1:
            families["all"] = by_data
        for family, entries in families.items():
            runs = {Path(entry.run).name for entry in entries}
            # A run without a result has unknown settings, and counts as a configuration of its own.
            used = {configurations.get(run, run) for run in runs}
            num_results = len(used) + len(entries) - len(runs)
            rows.append((names.get(data, data), family, len(entries), len(runs), len(used), num_results))
    caption = (
        "Test evaluations of the same images. Runs of one configuration differ in the seed only. A result is the mean "
        "over the seeds of a configuration, or a repeated evaluation."
    )
    head = ["images", "command", "evaluations", "runs", "configurations", "results"]
    table = Table(caption, "llrrrr", head, [[*row[:2], *(f"{number:,}" for number in row[2:])] for row in rows])
    most = max(row[-1] for row in rows)
    if most == 1:
        return [table]
    return [
        table,
        Prose(
            f"The same test images gave {most:,} results. Each 95 % interval is for one result that was planned before "
            f"any other was known. If {most:,} independent results are read together, one or more of their intervals "
            f"miss the true accuracy with a probability of {percent(1 - 0.95**most, 0)}. The best of several test "
            "accuracies is too high on average, and so is that of a configuration that was changed after a test "
            "result. This page therefore orders models by their scores on the validation images."
        ),
    ]


def _group_by(entries: Sequence[LedgerEntry], key: Callable[[LedgerEntry], str]) -> dict[str, list[LedgerEntry]]:
    """Returns the entries by their key, in the order in which the keys appear."""
    groups = dict[str, list[LedgerEntry]]()
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def describe_reproduction(runs: list[FinishedRun]) -> Section:
    """Returns the section with the command, seed, data and package versions of each run."""
    rows = []
    versions = Counter[str]()
    for run in runs:
        # The configuration has the seed. It also has the number of seeds, which would repeat the other runs as well.
        command = f"{PROGRAM} {run.folder.command} NAME=again SEEDS=1 CONFIG={name_path(str(run.folder.config))}"
        rows.append([run.title, command, str(run.result.seed), run.data.hash, run.result.commit or MISSING])
        versions[formatting.package_versions(run.result.packages)] += 1
    section = Section(REPRODUCTION)
    section.blocks = [
        Prose(
            "The folder of a run has its configuration. Passed as CONFIG, together with another NAME, it trains the "
            "run again. Images, initial weights and a teacher outside the working folder are to be named as well, as a "
            "record has only the last part of their paths."
        ),
        Prose(
            f"The model cards in `{FOLDER}/` beside this page describe each kept model, its accuracy and its intended "
            "use."
        ),
        Details(
            "Commands that repeat each run, and package versions",
            [
                Table("", "llrll", ["run", "command", "seed", "data hash", "commit"], rows),
                *(Prose(f"Made with {names} ({plural(number, 'run')}).") for names, number in versions.items()),
            ],
        ),
    ]
    return section
