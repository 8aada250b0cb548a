"""What the task asks for, and where the page has it."""

import re
from collections.abc import Iterator, Sequence

from keras_inat.report.blocks import Parallel, Part, Picture, Places, Section
from keras_inat.report.history import DataSet

MIN_STRATEGIES = 3
STRATEGIES = "strategies"
# What is asked for, what shows it (a section's title, or the end of a figure's name), and what makes it.
REQUIREMENTS = (
    ("the images: how many, which classes, what was left out", "The images", "make data"),
    (
        "parameters and computations, in closed form for m filters of side k and n neurons",
        "The network and its cost",
        "",
    ),
    ("the search: accuracy against creation time, the best so far, what was stopped early", "-progress", "make sweep"),
    ("parallel coordinates of the trials", "-parallel", "make sweep"),
    ("correlation of hyperparameters with accuracy", "-correlations", "make sweep TRIALS=40"),
    ("observations on every hyperparameter, with their evidence", "-observations", "make sweep TRIALS=40"),
    ("which hyperparameters matter", "-importance", "make sweep TRIALS=40"),
    ("learning curves of the best model from scratch", "train-best-curves", "make train-best"),
    ("its predictions for test images, in a grid of up to 10 x 3", "train-best-predictions", "make train-best"),
    ("what it confuses with what", "train-best-confusion", "make train-best"),
    ("whether it is as often right as it says", "train-best-calibration", "make train-best"),
    ("the filters of its first layer, with commentary", "train-best-filters", "make train-best"),
    ("feature maps of all its blocks for an image", "train-best-maps", "make train-best"),
    ("guided backpropagation of neurons, up to ten, with what excites them", "train-best-guided", "make train-best"),
    ("guided backpropagation of predictions", "train-best-guided-predictions", "make train-best"),
    ("a pretrained network, fine-tuned", "finetune-curves", "make finetune"),
    (f"at least {MIN_STRATEGIES} strategies of fine-tuning, compared", STRATEGIES, "make finetune STRATEGY=all"),
    ("from scratch against fine-tuned", "races", "make train-best finetune"),
    ("every look at the test images", "Looks at the test images", "make train-best"),
    ("how to repeat every run", "How to repeat it", ""),
)


def find_places(parts: Sequence[Part], data_sets: Sequence[DataSet]) -> Places:
    """Of each requirement the first section of the page that shows it; None where none does."""
    shown = [entry for part in parts for section in part.sections for entry in _list_shown(section)]
    compared = {data_set.name for data_set in data_sets if len(_list_strategies(data_set)) >= MIN_STRATEGIES}
    tuned = [
        entry for part in parts if part.title in compared for section in part.sections for entry in _list_shown(section)
    ]
    shown += [(STRATEGIES, section) for name, section in tuned if name.endswith("costs")]
    return Places(
        [
            (text, next((section for name, section in shown if name.endswith(evidence)), None), command)
            for text, evidence, command in REQUIREMENTS
        ]
    )


def _list_shown(section: Section) -> Iterator[tuple[str, Section]]:
    """What a section shows, by the names that requirements use; one that has only text shows nothing."""
    pictures = [block.picture if isinstance(block, Parallel) else block for block in section.blocks]
    for picture in pictures:
        if isinstance(picture, Picture):
            yield re.sub(r"(-\d+)?\.png$", "", picture.file), section
    if len(section.blocks) > 1:
        yield section.title, section


def _list_strategies(data_set: DataSet) -> set[str]:
    records = [group.best for group in data_set.find_groups("finetune")]
    return {record.finetune["strategy"] for record in records if record.finetune}
