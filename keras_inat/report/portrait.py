"""One trained model, looked at closely: how it learned, what it gets right and wrong, what it sees."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from keras_inat.progress import hide_startup_messages
from keras_inat.report import canvas, figures, wording
from keras_inat.report.album import Album
from keras_inat.report.analysis import count_confusion, estimate_accuracy, estimate_share
from keras_inat.report.blocks import Block, Heading, Prose, Section, Table
from keras_inat.report.records import Group, Predictions, Record
from keras_inat.report.wording import percent, plural

NUM_MISTAKES = 5


def describe_model(group: Group, title: str, album: Album) -> Section:
    """A section on the best model of a group."""
    record, blocks = group.best, _show_learning(group, album)
    predictions = record.read_predictions()
    if predictions is None:
        missing = f"The predictions of `{record.folder.path.name}` are not on disk, so none are shown."
        return Section(title, [*blocks, Prose(missing)])
    blocks += [Heading("Thirty predictions"), *_show_predictions(record, predictions, album)]
    blocks += [Heading("What it takes for what"), *_show_mistakes(record, predictions, album)]
    blocks += [Heading("What it sees"), *_explain(record, predictions, album)]
    return Section(title, blocks)


def _show_learning(group: Group, album: Album) -> list[Block]:
    record, rows = group.best, group.best.folder.read_metrics()
    seeds = f", the best on validation of {plural(len(group.records), 'seed')}" if len(group.records) > 1 else ""
    epochs = plural(record.result["epochs"], "epoch")
    blocks: list[Block] = [
        Prose(
            f"`{record.folder.path.name}` (seed {record.result['seed']}{seeds}) trained for {epochs} in "
            f"{wording.duration(record.result['seconds'])}; the weights of epoch {record.result['best_epoch']} were "
            f"kept, for their validation accuracy. On the test images this configuration reaches "
            f"{wording.share(estimate_accuracy(group))}."
        )
    ]
    if rows:
        others = [other.folder.read_metrics() for other in group.records if other is not record]
        blocks.append(
            album.add(
                f"{record.command}-curves",
                figures.draw_curves(rows, record.result["best_epoch"], [other for other in others if other]),
                f"Accuracy and loss on training and validation images over {epochs}.",
                "Training accuracy is measured while the weights still change, and on augmented images: it may lie "
                "below validation accuracy without anything being wrong.",
            )
        )
    return blocks


def _show_predictions(record: Record, predictions: Predictions, album: Album) -> list[Block]:
    right, shown = int(predictions.correct[predictions.examples].sum()), len(predictions.examples)
    return [
        Prose(
            f"{shown} test images, chosen at random before anything was known about the outcome. Of these, {right} are "
            f"right; of all {len(predictions.labels):,} it is "
            f"{wording.share(estimate_share(int(predictions.correct.sum()), len(predictions.labels)))}."
        ),
        album.add(
            f"{record.command}-predictions",
            canvas.draw_predictions(predictions, record.data["classes"]),
            f"Grid of {shown} test images with true label, predicted label and confidence: {right} right, "
            f"{shown - right} wrong.",
            "Beside each picture its true class, below it the classes the model finds most probable. A solid green "
            "frame and a tick: right. A dashed red frame and a cross: wrong.",
        ),
    ]


def _show_mistakes(record: Record, predictions: Predictions, album: Album) -> list[Block]:
    classes = record.data["classes"]
    counts = count_confusion(predictions, len(classes))
    totals = counts.sum(axis=1)
    recalls = [estimate_share(int(counts[k, k]), int(totals[k])) if totals[k] else None for k in range(len(classes))]
    table = Table(
        "Every class: how many of its test images are recognised, with the 95 % interval, and how many images of "
        "other classes are taken for it.",
        "lrrrr",
        ["class", "test images", "recognised", "95 % interval", "taken for it"],
        [
            [
                name,
                f"{totals[k]:,}",
                percent(recall.value),
                wording.interval(recall),
                f"{counts[:, k].sum() - counts[k, k]:,}",
            ]
            for k, (name, recall) in enumerate(zip(classes, recalls, strict=True))
            if recall
        ],
    )
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(cell), len(classes)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:NUM_MISTAKES]]
    said = [
        f"{classes[true]} for {classes[taken]}, {wording.share(estimate_share(number, int(totals[true])))}"
        for true, taken in pairs
        if (number := int(wrong[true, taken]))
    ]
    frequent = f"Mistaken most often: {'; '.join(said)}." if said else "No test image was mistaken."
    return [
        album.add(
            f"{record.command}-confusion",
            figures.draw_confusion(counts, classes),
            f"Confusion matrix of {len(classes)} classes over {len(predictions.labels):,} test images.",
            f"Each row is a true class, its cells the percentage of its images given to each class; n = "
            f"{len(predictions.labels):,} test images.",
        ),
        Prose(frequent),
        table,
    ]


def _explain(record: Record, predictions: Predictions, album: Album) -> list[Block]:
    if not record.folder.model.exists():
        return [Prose(f"`{record.folder.path.name}/best.keras` is not on disk, so the model cannot be looked into.")]
    # Keras takes seconds to import: a page without models does without.
    with hide_startup_messages():
        import keras

        from keras_inat.explain.filters import compute_feature_maps, read_first_filters
        from keras_inat.explain.guided import explain_neurons
        from keras_inat.explain.pictures import draw_feature_maps, draw_filters, draw_neurons

    try:
        model = keras.models.load_model(record.folder.model, compile=False)
    except Exception as error:  # whatever a damaged archive, or one of another version, leads Keras into
        return [Prose(f"The model could not be opened: {_one_line(error)}.")]
    images, example = predictions.pixels, predictions.pixels[0]
    name = record.data["classes"][predictions.labels[predictions.examples[0]]]
    pictures: list[tuple[str, Callable[[], Figure], str, str]] = [
        (
            "filters",
            lambda: draw_filters(read_first_filters(model)),
            "The weights of the first convolution, one tile a filter.",
            "A tile with a gradient from dark to light answers to edges across it, one with opposite colours to a "
            "change of colour, one of a single tint to that colour.",
        ),
        (
            "maps",
            lambda: draw_feature_maps(example, compute_feature_maps(model, example)),
            f"One test image ({name}) and what each block makes of it.",
            f"The first of the random test images above ({name}), block by block. What is bright excites a filter.",
        ),
        (
            "guided",
            lambda: draw_neurons(images, explain_neurons(model, images, num_neurons=10, seed=0)),
            "Ten neurons of the last block: the image that excites each most, and its guided gradient.",
            "Ten neurons of the last block, drawn at random from those that respond at all; for each, the one of the "
            f"{len(images)} random test images above that excites it most, and the pixels that do.",
        ),
    ]
    blocks: list[Block] = []
    for key, draw, alt, caption in pictures:
        try:
            blocks.append(album.add(f"{record.command}-{key}", draw(), alt, caption))
        except ValueError as error:  # an architecture without what is to be shown
            blocks.append(Prose(f"Not shown for this network: {_one_line(error)}."))
    return blocks


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
