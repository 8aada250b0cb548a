"""Checklist: the requirements of the task, each with the section that meets it."""

import re
from collections.abc import Iterator, Sequence

from keras_inat.errors import PROGRAM
from keras_inat.reporting.blocks import (
    Chapter,
    Checklist,
    Details,
    ParallelCoordinates,
    Picture,
    Section,
    Table,
    list_blocks,
)
from keras_inat.reporting.history import DataSet
from keras_inat.reporting.sections import data, fine_tuning, network, records

TITLE = "Checklist"
LEAD = "The requirements of the task, each with the section that meets it."
MIN_STRATEGIES = 3
TRAIN = "train-best"
STRATEGIES = "strategies"
# Each requirement with its evidence, which is the title of a section, the column of a table or the end of a figure's
# name, and its command.
REQUIREMENTS = (
    ("numbers of images, classes and skipped files", data.TITLE, "data"),
    (
        "parameters and multiply-accumulates (computations), in closed form for m filters of side k and n neurons",
        network.TITLE,
        "",
    ),
    ("sweep: accuracy against creation time, best accuracy so far, pruned trials", "-progress", "sweep"),
    ("parallel coordinates of the trials", "-parallel", "sweep"),
    ("correlation of hyperparameters with accuracy", "column correlation", "sweep TRIALS=40"),
    ("adjusted effect of every hyperparameter, with evidence", "-adjusted-effects", "sweep TRIALS=40"),
    ("importance of hyperparameters", "column importance", "sweep TRIALS=40"),
    ("learning curves of the best model from scratch", "train-best-learning-curves", TRAIN),
    ("example predictions on test images, in a grid of up to 10 x 3", "train-best-predictions", TRAIN),
    ("confusion matrix", "train-best-confusion", TRAIN),
    ("calibration", "train-best-calibration", TRAIN),
    ("first-layer filters, with commentary", "train-best-filters", TRAIN),
    ("feature maps of all blocks for an image", "train-best-feature-maps", TRAIN),
    ("guided backpropagation of up to ten neurons, with their top activating images", "train-best-neurons", TRAIN),
    ("guided backpropagation of predictions", "train-best-guided-predictions", TRAIN),
    ("fine-tuning of a pretrained network", "finetune-learning-curves", "finetune"),
    (f"comparison of at least {MIN_STRATEGIES} fine-tuning strategies", STRATEGIES, "finetune STRATEGY=all"),
    ("comparison of scratch and fine-tuned", fine_tuning.COMPARISON, "finetune"),
    ("every evaluation on the test images", records.TEST_EVALUATIONS, TRAIN),
    ("reproduction of every run", records.REPRODUCTION, ""),
)


def check_requirements(chapters: Sequence[Chapter], data_sets: Sequence[DataSet]) -> Checklist:
    """Returns each requirement with the first section that meets it, or None."""
    compared = set()
    for data_set in data_sets:
        settings = [group.best.finetune for group in data_set.find_groups("finetune")]
        if len({finetune.strategy for finetune in settings if finetune}) >= MIN_STRATEGIES:
            compared.add(data_set.name)
    shown = []
    for chapter in chapters:
        for section in chapter.sections:
            shown += [(evidence, section) for evidence in _list_evidence(section)]
            if chapter.title in compared and section.title == fine_tuning.TITLE:
                shown.append((STRATEGIES, section))
    rows = []
    for requirement, wanted, command in REQUIREMENTS:
        met_by = next((section for evidence, section in shown if evidence.endswith(wanted)), None)
        rows.append((requirement, met_by, f"{PROGRAM} {command}" if command else ""))
    return Checklist(rows)


def fold(checklist: Checklist) -> Details:
    """Returns the checklist under the number of requirements that are met."""
    num_missing = len(checklist.missing)
    return Details(f"{len(checklist.rows) - num_missing} requirements are met, {num_missing} are missing", [checklist])


def _list_evidence(section: Section) -> Iterator[str]:
    """Yields the names of the figures and columns of a section, and its title unless it consists of one sentence."""
    for block in list_blocks(section.blocks):
        picture = block.picture if isinstance(block, ParallelCoordinates) else block
        if isinstance(picture, Picture):
            yield re.sub(r"(-\d+)?\.svg$", "", picture.file)
        elif isinstance(block, Table):
            yield from (f"column {name}" for name in block.head)
    if len(section.blocks) > 1:
        yield section.title
