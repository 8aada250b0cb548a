"""Comparison of runs: settings, results, learning curves and paired differences of runs that the user names."""

import os
from functools import partial
from typing import Any

from keras_inat.errors import UserError, describe_choices
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Chapter, Prose, Section, Table
from keras_inat.reporting.charts.comparison import draw_validation_by_epoch
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent, percent_with_interval, setting_value
from keras_inat.reporting.history import History, SeedGroup
from keras_inat.reporting.sections.paired_differences import describe_seeds, tabulate_differences
from keras_inat.reporting.statistics.accuracy import estimate_balanced_accuracy, estimate_test_accuracy
from keras_inat.settings.catalog import select
from keras_inat.settings.roles import GROUP, Role
from keras_inat.store.balance import NAMES, choose_common

TITLE = "Comparison of runs"


def compare_runs(history: History, names: str, figures: FigureFolder) -> Chapter:
    """Returns the chapter on the runs that `report.compare` names.

    Args:
        history: All runs.
        names: Folders of runs, or names that stand for all seeds of a run, separated by spaces.
        figures: The folder of the figures.

    Raises:
        UserError: There is only one name, or a name is unknown or ambiguous.
    """
    groups = {name: _find_group(history, name) for name in names.split()}
    if len(groups) < 2:
        raise UserError(
            f"`report.compare` (RUNS) must name two runs or more, separated by spaces. Received: {names!r}."
        )
    figures.begin_chapter(TITLE)
    blocks: list[Block] = [_tabulate_settings(groups), _tabulate_results(groups)]
    curves = [(name, group.best.read_epochs()) for name, group in groups.items()]
    if any(epochs for _, epochs in curves):
        alt = f"Validation accuracy by epoch of {', '.join(groups)}."
        caption = (
            f"Validation accuracy by epoch. With several seeds, the curve is that of the best {_name_score(groups)}."
        )
        blocks.append(figures.add("learning-curves", partial(draw_validation_by_epoch, curves), alt, caption))
    first, *others = groups
    for name in others:
        if groups[name].best.data.hash == groups[first].best.data.hash:
            missing = f"The predictions of `{name}` or of `{first}` are not on disk, so they are not compared."
            table = tabulate_differences(groups[first], [groups[name]], [name], "the first run")
            blocks += table or [Prose(missing)]
        else:
            text = f"`{name}` and `{first}` have different images, so their accuracies are not compared."
            blocks.append(Prose(text))
    return Chapter(TITLE, [Section("", blocks)])


def _find_group(history: History, name: str) -> SeedGroup:
    for run in history.runs:
        if name.rstrip("/") == run.title or os.path.realpath(name) == os.path.realpath(run.folder.path):
            return SeedGroup((run,))
    groups = [group for data_set in history.data_sets for group in data_set.groups]
    found = [group for group in groups if group.best.result.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        folders = " ".join(group.best.title for group in found)
        raise UserError(
            f"`report.compare`: {name!r} is the name of {len(found)} configurations. Give one of their folders: "
            f"{folders}"
        )
    choices = {group.best.result.name for group in groups} | {run.title for run in history.runs}
    raise UserError(f"`report.compare`: a run {describe_choices(name, choices)}")


def _tabulate_settings(groups: dict[str, SeedGroup]) -> Block:
    """Tabulates the settings that differ between the runs, apart from seed and name."""
    settings = [select(group.best.result.config, GROUP - {Role.NAME}) for group in groups.values()]
    rows = []
    for name in dict.fromkeys(name for values in settings for name in values):
        cells = [_format_setting(values.get(name)) for values in settings]
        if len(set(cells)) > 1:
            rows.append([name, *cells])
    if not rows:
        return Prose("The settings of these runs are the same.")
    return Table("Settings that differ.", "l" * (1 + len(groups)), ["setting", *groups], rows)


def _format_setting(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(setting_value, value)) or "none"
    return setting_value(value)


def _name_score(groups: dict[str, SeedGroup]) -> str:
    return NAMES[choose_common(group.objective for group in groups.values())]


def _tabulate_results(groups: dict[str, SeedGroup]) -> Table:
    rows = []
    is_imbalanced = any(group.best.data.is_imbalanced for group in groups.values())
    for name, group in groups.items():
        result = group.best.result
        seeds = ", ".join(str(run.result.seed) for run in group.runs)
        accuracies = [percent(group.val_accuracy), percent_with_interval(estimate_test_accuracy(group))]
        if is_imbalanced:
            accuracies += [percent(group.val_balanced_accuracy), _describe_balance(group)]
        cost = [f"{result.epochs:,}", formatting.duration(result.seconds), f"{result.parameters:,}"]
        rows.append([name, seeds, *accuracies, *cost])
    caption = f"Results. {describe_seeds(list(groups.values()))}"
    if any(len(group.runs) > 1 for group in groups.values()):
        caption += f" Epochs and time are those of the seed with the best {_name_score(groups)}."
    balanced = ["balanced validation", "balanced test"] if is_imbalanced else []
    head = ["run", "seeds", "validation", "test", *balanced, "epochs", "time", "parameters"]
    return Table(caption, f"l{'r' * (len(head) - 1)}", head, rows)


def _describe_balance(group: SeedGroup) -> str:
    """Returns the balanced test accuracy and the majority baseline; a dash if the classes are balanced."""
    balanced = estimate_balanced_accuracy(group)
    if balanced is None:
        return formatting.MISSING
    return f"{percent_with_interval(balanced)}, baseline {percent(group.best.test.majority_baseline)}"
