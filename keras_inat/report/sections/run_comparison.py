"""Runs that were named, side by side: what differs in their settings, how they learned, which is right more often."""

from typing import Any

from keras_inat.errors import UserError, describe_choices
from keras_inat.report import formatting
from keras_inat.report.blocks import Block, Part, Prose, Section, Table
from keras_inat.report.charts.learning_curves import draw_validation_by_epoch
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.formatting import percent, setting_value
from keras_inat.report.groups import SeedGroup
from keras_inat.report.history import INDIFFERENT_SECTIONS, History
from keras_inat.report.sections.fine_tuning import tabulate_gains
from keras_inat.report.statistics.accuracy import estimate_accuracy


def compare_runs(history: History, named: str, figures: FigureFolder) -> Part:
    """A part on the runs of `named`, separated by spaces: folders of runs, or names, which mean all seeds of these.

    Raises:
        UserError: When a name is not known, or stands for several configurations, or there is only one.
    """
    titles = named.split()
    if len(titles) < 2:
        raise UserError(f"`report.compare` (RUNS) names two runs or more, with spaces between. Received: {named!r}.")
    groups = [_find(history, title) for title in titles]
    figures.open_chapter("side by side")
    return Part("Side by side", [Section("", _compare(titles, groups, figures))])


def _find(history: History, name: str) -> SeedGroup:
    for record in history.records:
        if name.rstrip("/") in (str(record.folder.path), record.folder.path.name):
            return SeedGroup((record,))
    groups = [group for data_set in history.data_sets for group in data_set.groups]
    if len(found := [group for group in groups if group.best.name == name]) == 1:
        return found[0]
    if found:
        folders = " ".join(group.best.folder.path.name for group in found)
        raise UserError(f"`report.compare`: {name!r} stands for {len(found)} configurations. Say which: {folders}")
    choices = {group.best.name for group in groups} | {record.folder.path.name for record in history.records}
    raise UserError(f"`report.compare`: a run {describe_choices(name, choices)}")


def _compare(titles: list[str], groups: list[SeedGroup], figures: FigureFolder) -> list[Block]:
    differences = _list_differences(groups)
    blocks: list[Block] = [
        Table("What differs in their settings.", "l" * (1 + len(titles)), ["setting", *titles], differences)
        if differences
        else Prose("Their settings are the same.")
    ]
    rows = [[title, *_describe(group)] for title, group in zip(titles, groups, strict=True)]
    caption = "Of several seeds the mean accuracies, and the epochs and the time of the best on validation."
    blocks.append(
        Table(caption, "lrrrrrr", ["run", "seeds", "validation", "test", "epochs", "time", "parameters"], rows)
    )
    curves = [(title, group.best.folder.read_metrics()) for title, group in zip(titles, groups, strict=True)]
    if any(epochs for _, epochs in curves):
        alt = f"Validation accuracy over epochs, of {', '.join(titles)}."
        caption = "Validation accuracy, epoch by epoch; of several seeds that with the best."
        blocks.append(figures.add("curves", draw_validation_by_epoch(curves), alt, caption))
    for title, group in zip(titles[1:], groups[1:], strict=True):
        if group.best.data["hash"] != groups[0].best.data["hash"]:
            blocks.append(Prose(f"`{title}` is of other images than `{titles[0]}`: neither is called better."))
        else:
            gain = tabulate_gains(groups[0], [group], [title], "the first that was named")
            blocks += gain or [Prose(f"Of `{title}` or `{titles[0]}` the predictions are not on disk to be compared.")]
    return blocks


def _list_differences(groups: list[SeedGroup]) -> list[list[str]]:
    settings = [_flatten(group.best.config) for group in groups]
    names = dict.fromkeys(name for flat in settings for name in flat)
    rows = [[name, *(_format(flat.get(name)) for flat in settings)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flatten(config: dict[str, Any]) -> dict[str, Any]:
    sections = {name: values for name, values in config.items() if name not in INDIFFERENT_SECTIONS and values}
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def _format(value: Any) -> str:
    return ", ".join(map(setting_value, value)) or "none" if isinstance(value, list) else setting_value(value)


def _describe(group: SeedGroup) -> list[str]:
    result = group.best.result
    return [
        ", ".join(str(record.result["seed"]) for record in group.records),
        percent(estimate_accuracy(group, "validation").value),  # type: ignore[union-attr]
        formatting.percent_with_interval(estimate_accuracy(group)),
        f"{result['epochs']:,}",
        formatting.duration(result["seconds"]),
        f"{result['parameters']:,}",
    ]
