"""Exports: the models in other formats, each compared with Keras on the validation sample of its run."""

import os
import urllib.parse
from pathlib import Path

from keras_inat.intervals import Estimate
from keras_inat.reporting.blocks import Bullets, Details, Section, Table
from keras_inat.reporting.formatting import MISSING, interval, percent, percentage_points, plural
from keras_inat.reporting.history import FinishedRun
from keras_inat.store.exports import MAX_LOSS, ExportReport, ExportRow, find_app, is_sound, read_exports

TITLE = "Exports"
LEAD = "The models in other formats, for other programs. The links work where the page was written."
FILE_COLUMN = 2
HEAD = (
    "run", "format", "file", "size", "largest difference", "same class", "accuracy", "95 % interval", "minus Keras",
    "95 % interval", "ms, 1 image", "ms, 64 images", "runtime",
)  # fmt: skip
CAPTION = (
    "Every export beside Keras, in its own runtime and on the validation images that the run keeps. Largest "
    "difference: of one probability of one image. Same class: the fraction of the images with the class that Keras "
    "predicts. Minus Keras: the difference of accuracies in points, paired by image. Milliseconds: the median time of "
    "a batch."
)


def describe_exports(runs: list[FinishedRun], directory: Path) -> Section | None:
    """Returns the section on the exports that fit their models; None if there is none. `directory` is the page's."""
    rows: list[list[str]] = []
    links = dict[tuple[int, int], str]()
    sentences = []
    for run in runs:
        found = read_exports(run.folder)
        if not found:
            continue
        contract, report = found
        exports = [row for row in report.rows if is_sound(run.folder, contract, row)]
        if not exports:
            continue
        files = [run.folder.model, *(run.folder.export / row.file for row in exports)]
        links |= {(len(rows) + index, FILE_COLUMN): _link(file, directory) for index, file in enumerate(files)}
        rows += [_list_keras_cells(run, report), *(_list_cells(run, row) for row in exports)]
        if page := find_app(run.folder):
            links[len(rows), FILE_COLUMN] = _link(page, directory)
            rows.append(_list_app_cells(run, page))
        sentences += [_describe(run, report, exports), *_describe_losses(run, exports)]
    if not rows:
        return None
    table = Table(CAPTION, "lllrrrrrrrrrl", list(HEAD), rows, links)
    return Section(
        TITLE, [Bullets(sentences), Details("Files, sizes, differences from Keras and speed", [table])], LEAD
    )


def _describe(run: FinishedRun, report: ExportReport, exports: list[ExportRow]) -> str:
    exact = [row for row in exports if not row.calibration]
    if not exact:
        return f"`{run.title}` is exported with 8-bit integers only."
    names = ", ".join(row.format for row in exact)
    difference = max(row.max_difference for row in exact)
    return (
        f"`{run.title}` is exported as {names}. On {plural(report.num_images, 'validation image')}, all predicted "
        f"classes are those of Keras, and no probability differs by more than {difference:.1g}."
    )


def _describe_losses(run: FinishedRun, exports: list[ExportRow]) -> list[str]:
    sentences = []
    for row in exports:
        if row.calibration:
            gain, gain_interval = percentage_points(_estimate_gain(row))
            mark = f" It loses more than {100 * MAX_LOSS:g} point." if row.marked else ""
            sentences.append(
                f"The 8-bit integers of `{run.title}` change the accuracy by {gain} points (95 % interval "
                f"{gain_interval}, n = {row.num_images:,} images). Their ranges come from {row.calibration}.{mark}"
            )
    return sentences


def _list_keras_cells(run: FinishedRun, report: ExportReport) -> list[str]:
    accuracy = Estimate(report.keras_accuracy, *report.keras_interval, report.num_images, "images")
    return [
        run.title,
        "Keras",
        run.folder.model.name,
        _format_size(run.folder.model.stat().st_size),
        MISSING,
        MISSING,
        percent(accuracy.value),
        interval(accuracy),
        MISSING,
        MISSING,
        *_format_latencies(report.keras_latency_ms),
        f"Keras, {report.device}",
    ]


def _list_cells(run: FinishedRun, row: ExportRow) -> list[str]:
    gain, gain_interval = percentage_points(_estimate_gain(row))
    accuracy = Estimate(row.accuracy, *row.interval, row.num_images, "images")
    return [
        run.title,
        row.format + (" (marked)" if row.marked else ""),
        row.file,
        _format_size(row.bytes),
        f"{row.max_difference:.1g}",
        percent(row.agreement),
        percent(accuracy.value),
        interval(accuracy),
        gain,
        gain_interval,
        *_format_latencies(row.latency_ms),
        row.runtime,
    ]


def _list_app_cells(run: FinishedRun, page: Path) -> list[str]:
    size = sum(file.stat().st_size for file in page.parent.iterdir() if file.is_file())
    name = f"{page.parent.name}/{page.name}"
    return [run.title, "app", name, _format_size(size), *[MISSING] * (len(HEAD) - 5), "onnx in a browser"]


def _estimate_gain(row: ExportRow) -> Estimate:
    return Estimate(row.gain, *row.gain_interval, row.num_images, "images")


def _format_size(number: int) -> str:
    return f"{number / 1e6:.1f} MB"


def _format_latencies(latencies: dict[int, float]) -> list[str]:
    return [f"{latencies[size]:.1f}" if size in latencies else MISSING for size in (1, 64)]


def _link(path: Path, directory: Path) -> str:
    """Returns the address of a file relative to the page."""
    return urllib.parse.quote(Path(os.path.relpath(path, directory)).as_posix())
