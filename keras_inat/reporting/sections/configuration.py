"""Configuration: the settings of the best models, their differences from the defaults, and where they were trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_inat.errors import PROGRAM
from keras_inat.reporting.blocks import Block, Details, Prose, Section, Table
from keras_inat.reporting.formatting import MISSING, package_versions, setting_value
from keras_inat.reporting.history import STUDENT, FinishedRun, SeedGroup
from keras_inat.settings import roles
from keras_inat.settings.catalog import flatten, list_names
from keras_inat.settings.roles import Role
from keras_inat.settings.schema import Config, Finetune
from keras_inat.store.records import StageSummary

TITLE = "Configuration"
LEAD = "The settings of the best models. A value that differs from its default is followed by the default."
# The sections of the settings, in the order of the table.
GROUPS = {
    "model": "network",
    "finetune": "fine-tuning",
    "training": "training",
    "augment": "augmentation",
    "data": "images",
}
# These settings are shown even if they have their default.
ALWAYS = {
    *("model.ensemble_size", "model.num_blocks", "model.filters", "model.filter_organization", "model.kernel_size"),
    *("model.activation", "model.batch_norm", "model.dense_units", "model.dropout"),
    *("finetune.strategy", "finetune.backbone", "finetune.weights", "finetune.unfreeze", "finetune.dropout"),
    *("finetune.batch_norm", "finetune.backbone_rate"),
    *("training.epochs", "training.batch_size", "training.optimizer", "training.learning_rate", "training.schedule"),
    *("training.weight_decay", "training.label_smoothing", "training.objective", "training.precision"),
    *("augment.flip", "augment.crop", "augment.color", "data.image_size"),
}
# The name of a run says nothing about its training.
ROLES = roles.GROUP - {Role.NAME}
STAGES = "learning rates by stage"
COLUMNS = {
    "train-best": "best model from scratch",
    STUDENT: "best model with a teacher",
    "finetune": "best fine-tuned model",
}
OF_THE_TEACHER = list_names({Role.TEACHER})


def describe_configuration(best: Mapping[str, SeedGroup], author: str = "") -> Section:
    """Returns the section on the settings of the best models, which are given by their command.

    `author` is the setting `report.author`.
    """
    groups = {COLUMNS[command]: group for command, group in best.items()}
    if not groups:
        return Section(TITLE, [Prose(f"No model was trained on these images yet. Run `{PROGRAM} train-best`.")])
    blocks: list[Block] = [
        _tabulate_settings(groups, is_default=False),
        Details("Settings at their default", [_tabulate_settings(groups, is_default=True)]),
        Details("Runs: seeds, device, date and versions", [_tabulate_facts(groups, author)]),
    ]
    return Section(TITLE, blocks, LEAD)


def _tabulate_settings(groups: dict[str, SeedGroup], is_default: bool) -> Table:
    """Tabulates the settings that all have their default, or those that do not."""
    runs = [group.best for group in groups.values()]
    defaults = flatten(Config(finetune=Finetune()))
    rows = []
    for name in sorted(list_names(ROLES), key=lambda name: list(GROUPS).index(name.partition(".")[0])):
        section = GROUPS[name.partition(".")[0]]
        default = _format(defaults[name])
        cells = [_mark(_read_setting(run, name), default) for run in runs]
        given = {cell for cell in cells if cell != MISSING}
        differs = any(cell.endswith(f"(default {default})") for cell in given)
        if given and differs is not is_default and (differs or name in ALWAYS):
            rows.append([section, name, *cells])
        if name == "training.learning_rate" and not is_default and any(run.finetune for run in runs):
            rows.append([section, STAGES, *map(_describe_rates, runs)])
    parts = [row[0] for row in rows]
    for row, above in zip(rows[1:], parts, strict=False):
        row[0] = "" if row[0] == above else row[0]  # each part is named once
    caption = "Settings at their default." if is_default else "Settings that differ from their default."
    caption += " A dash marks one that does not apply."
    return Table(caption, f"ll{'l' * len(runs)}", ["part", "setting", *groups], rows)


def _read_setting(run: FinishedRun, name: str) -> str:
    """Returns the value of a setting as text; empty if the setting does not apply to the run."""
    values = flatten(run.result.config)
    section = name.partition(".")[0]
    if name not in values or (run.finetune and (section == "model" or name == "training.codistillation")):
        return ""
    if section == "augment" and name != "augment.flip" and not run.trains_on_images:
        return ""
    if name in OF_THE_TEACHER and not run.teacher:
        return ""
    if name == "training.teacher":
        return run.teacher
    if name == "finetune.unfreeze" and values["finetune.strategy"] != "topk":
        return ""
    if name == "finetune.backbone":
        return run.backbone
    if name == "finetune.weights":
        return Path(values[name]).name  # its folder may name a user
    text = _format(values[name])
    resolved = {"training.objective": run.result.objective, "training.precision": run.result.precision}
    return f"auto: {resolved[name]}" if text == "auto" and name in resolved else text


def _format(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(setting_value, value)) or "none"
    return setting_value(value)


def _mark(value: str, default: str) -> str:
    """Returns a value with its default, unless both are the same."""
    if not value:
        return MISSING
    return value if value == default or value.startswith(f"{default}: ") else f"{value} (default {default})"


def _describe_rates(run: FinishedRun) -> str:
    """Returns the learning rate of the head in each stage, and those of the backbone."""
    return "; ".join(map(_describe_stage, run.result.stages)) if run.finetune else MISSING


def _describe_stage(stage: StageSummary) -> str:
    text = f"{stage.stage}: {setting_value(stage.learning_rate)}"
    rates = " to ".join(dict.fromkeys(map(setting_value, stage.backbone_rates)))
    return f"{text}, backbone {rates}" if rates else f"{text}, backbone frozen"


def _tabulate_facts(groups: dict[str, SeedGroup], author: str) -> Table:
    """Tabulates who trained the models, on which device, when and with which versions."""
    rows = [["author", *[author] * len(groups)]] if author else []
    runs = [group.best for group in groups.values()]
    results = [run.result for run in runs]
    rows += [
        ["run", *(run.title for run in runs)],
        ["seeds", *(", ".join(str(run.result.seed) for run in group.runs) for group in groups.values())],
        ["device", *(result.device for result in results)],
        ["epochs", *(f"{result.epochs} of {result.planned_epochs}; best: {result.best_epoch}" for result in results)],
        ["date (UTC)", *(result.created[:10] for result in results)],
        ["commit", *(result.commit or MISSING for result in results)],
        ["packages", *(package_versions(result.packages) for result in results)],
    ]
    caption = ""
    return Table(caption, f"l{'l' * len(groups)}", ["", *groups], rows)
