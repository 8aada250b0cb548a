"""Test evaluations: the ledger of every evaluation on the test images."""

from collections import Counter
from pathlib import Path

from keras_inat.report.blocks import Prose, Section, Table
from keras_inat.report.formatting import MISSING, plural
from keras_inat.report.history import History

TITLE = "Test evaluations"
NUM_ENTRIES = 50


def describe_test_evaluations(history: History) -> Section:
    """Returns the section on the test ledger."""
    if not history.ledger:
        return Section(TITLE, [Prose("The test ledger is empty: no model was evaluated on the test images.")])
    rows = []
    for entry in history.ledger[-NUM_ENTRIES:]:
        time = entry.time[:16].replace("T", " ")
        rows.append([time, entry.command, Path(entry.run).name, entry.data, entry.commit or MISSING])
    caption = "All test evaluations, the oldest first."
    if len(history.ledger) > NUM_ENTRIES:
        caption = f"The last {NUM_ENTRIES} test evaluations, the oldest first."
    table = Table(caption, "lllll", ["time (UTC)", "command", "run", "data", "commit"], rows)
    return Section(TITLE, [Prose(_summarize_ledger(history)), table])


def _summarize_ledger(history: History) -> str:
    num_evaluations = Counter(entry.run for entry in history.ledger)
    repeated = [run for run, number in num_evaluations.items() if number > 1]
    text = (
        f"The test ledger has {plural(len(history.ledger), 'test evaluation')} by "
        f"{plural(len(num_evaluations), 'run')}. Every evaluation on the test images goes through one function, which "
        "writes the ledger first. "
    )
    if repeated:
        text += f"Evaluated more than once: {', '.join(repeated)}."
    else:
        text += "No run was evaluated more than once."
    finished = {run.title for run in history.runs}
    num_absent = sum(Path(run).name not in finished for run in num_evaluations)
    if num_absent == 1:
        text += f" {plural(1, 'run')} evaluated on the test set but has no result: it was aborted or deleted."
    elif num_absent:
        text += (
            f" {plural(num_absent, 'run')} evaluated on the test set but have no result: they were aborted or deleted."
        )
    return text
