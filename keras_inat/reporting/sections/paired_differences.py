"""Paired differences: models or configurations that are compared image by image, and what one seed leaves open."""

from collections.abc import Sequence

from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Block, Prose, Table
from keras_inat.reporting.formatting import SPACE, plural
from keras_inat.reporting.history import SeedGroup
from keras_inat.reporting.statistics.accuracy import compare_groups

# The subjects of a difference, in its table.
CONFIGURATIONS = "configurations"
MODELS = "two trained models"


def tabulate_differences(
    base: SeedGroup, others: Sequence[SeedGroup], titles: Sequence[str], reference: str
) -> list[Block]:
    """Tabulates the paired differences of groups from `base`. Returns nothing if no predictions can be compared.

    On imbalanced images, a second table has the differences in balanced accuracy.
    """
    tables = [_tabulate_differences(base, others, titles, reference, is_balanced=False)]
    if base.best.data.is_imbalanced:
        tables.append(_tabulate_differences(base, others, titles, reference, is_balanced=True))
    found: list[Block] = [table for table in tables if table]
    if any(MODELS in row for table in tables if table for row in table.rows):
        found.append(Prose(_describe_scatter([base, *others])))
    return found


def describe_seeds(groups: Sequence[SeedGroup]) -> str:
    """Returns what accuracies with one seed, and with several, describe."""
    texts = []
    if any(len(group.runs) > 1 for group in groups):
        texts.append("With several seeds, an accuracy is the mean over them and describes the configuration.")
    if any(len(group.runs) == 1 for group in groups):
        texts.append("With one seed, an accuracy describes this trained model: other seeds of its settings differ.")
    return " ".join(texts)


def _describe_scatter(groups: Sequence[SeedGroup]) -> str:
    """Returns the differences between seeds of one configuration, which a comparison of two models ignores."""
    text = (
        "A comparison of two trained models does not tell which configuration is better: another seed of the same "
        "configuration has another accuracy."
    )
    spans = []
    for group in groups:
        accuracies = [run.test.accuracy for run in group.runs]
        if len(accuracies) > 1:
            points = 100 * (max(accuracies) - min(accuracies))
            spans.append(f"{points:.1f} points ({group.title}, {plural(len(accuracies), 'seed')})")
    if spans:
        return f"{text} Here, test accuracies of single seeds differ by up to {', '.join(spans)}."
    return f"{text} `SEEDS=3` trains three seeds of each, which are then compared as configurations."


def _tabulate_differences(
    base: SeedGroup, others: Sequence[SeedGroup], titles: Sequence[str], reference: str, is_balanced: bool
) -> Table | None:
    rows = []
    for group, title in zip(others, titles, strict=True):
        difference = compare_groups(base, group, is_balanced)
        if difference:
            result = "better" if difference.value > 0 else "worse"
            if not difference.excludes_zero:
                result = "not significant"
            sample = f"{difference.num:,}{SPACE}{difference.unit}"
            compared = CONFIGURATIONS if difference.unit == "seeds" else MODELS
            rows.append([title, *formatting.percentage_points(difference), sample, compared, result])
    if not rows:
        return None
    score = "balanced test accuracy" if is_balanced else "test accuracy"
    caption = (
        f"Paired differences in {score} relative to {reference} (`{base.best.title}`), on the same test images. "
        "With n images, two trained models are compared, one of each; the interval covers other images. With n seeds, "
        "two configurations are compared; the interval covers other seeds as well. The intervals are not simultaneous: "
        "without any true difference, one in twenty would still exclude zero."
    )
    head = ["model", "points", "95 % interval", "n", "compared", "result"]
    return Table(caption, "lrrrll", head, rows)
