"""Cost: parameters, multiply-accumulates and time of every run."""

from keras_inat.report import formatting
from keras_inat.report.blocks import Prose, Section, Table
from keras_inat.report.formatting import percent
from keras_inat.report.seed_groups import FinishedRun

TITLE = "Cost"


def describe_cost(runs: list[FinishedRun]) -> Section:
    """Returns the section with a row for each run."""
    if not runs:
        return Section(TITLE, [Prose("There is no finished run yet. Run `make train-best` or `make finetune`.")])
    rows = []
    for run in runs:
        result = run.result
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
                _format_accuracy(run),
            ]
        )
    caption = (
        "Cost of every run. MACs: multiply-accumulates for one image. Images/s: the median over epochs, training only. "
        "Test accuracy: with its 95 % interval over the test images. Test-time augmentation: predictions are averaged "
        "over each image and its horizontal flip."
    )
    head = ["run", "parameters", "trained", "MACs", "pixels", "epochs", "time", "images/s", "test accuracy"]
    return Section(TITLE, [Table(caption, "lrrrrrrrr", head, rows)])


def _format_accuracy(run: FinishedRun) -> str:
    low, high = run.test.interval
    accuracy = f"{percent(run.test.accuracy)} ({percent(low)} to {percent(high)})"
    if run.test.flip:
        accuracy += f"; {percent(run.test.flip.test_accuracy)} with test-time augmentation"
    return accuracy
