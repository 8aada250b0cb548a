"""A trained configuration in charts that compare several, with a color and a marker of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_inat.plotting import CYCLE
from keras_inat.report.statistics.estimates import Estimate
from keras_inat.store.records import Epoch

MARKERS = "oD^vPXp*"
SCRATCH_COLOR = CYCLE[1]
SCRATCH_MARKER = "s"


@dataclass(frozen=True)
class ComparedModel:
    """A configuration that is compared with others.

    Attributes:
        title: A few words.
        accuracy: Test accuracy.
        seeds: Test accuracy of every seed.
        scratch: Whether it was trained from scratch.
        parameters: The largest number of parameters that one of its stages trained.
        seconds: Duration of the training, the mean over seeds.
        epochs: Of its best run.
    """

    title: str
    accuracy: Estimate
    seeds: Sequence[float]
    scratch: bool
    parameters: int
    seconds: float
    epochs: Sequence[Epoch]


def choose_style(index: int, model: ComparedModel) -> tuple[str, str]:
    """Returns the color and the marker of a model. Models from scratch look the same in every chart."""
    if model.scratch:
        return SCRATCH_COLOR, SCRATCH_MARKER
    colors = [color for color in CYCLE if color != SCRATCH_COLOR]
    return colors[index % len(colors)], MARKERS[index % len(MARKERS)]
