"""How many epochs a search needs, replayed from recorded trials instead of trained.

What imports TensorFlow is imported late: its remarks would show in every worker.
"""

from __future__ import annotations

import functools
import math
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from keras_inat.plotting import MUTED, new_figure, save_figure
from keras_inat.progress import hide_startup_messages, track_progress
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.workers import map_unordered

if TYPE_CHECKING:
    from keras_inat.bench.replayed_search import Curves, Search

RECORDED = Path(__file__).parents[2] / "docs" / "sweep_trials.csv"
# A search has succeeded with a score so close to the best of the space.
CLOSE = 0.005
# Epochs after which searches are compared; the last ends them.
BUDGETS = (60, 120, 240, 504)
NUM_SEEDS = 7


def run(config: Config) -> None:
    """Prints a row a method, and draws the best score against epochs."""
    with hide_startup_messages():
        from keras_inat.bench.replayed_search import METHODS, read_recorded
    curves = read_recorded(RECORDED, config)
    best = max(max(curve) for curve in curves.values())
    num_close = sum(max(curve) >= best - CLOSE for curve in curves.values())
    print(
        f"{len(curves)} configurations of {config.sweep.epochs} epochs; {num_close} of them within {100 * CLOSE:g} "
        f"points of the best, {best:.1%}. Medians of {NUM_SEEDS} searches.",
        flush=True,
    )
    searches = _search_all(config, curves, list(METHODS))
    headings = "".join(f"{f'best at {budget}':>13}" for budget in BUDGETS)
    print(f"{'':25}{'epochs until so close':>24}{headings}{'repeated trials':>18}")
    for method, found in searches.items():
        scores = (statistics.median(search.find_best(budget) for search in found) for budget in BUDGETS)
        repeats = statistics.median(search.repeats for search in found)
        cells = "".join(f"{score:13.1%}" for score in scores)
        print(f"{method:25}{_summarise(found, best - CLOSE):>24}{cells}{repeats:18g}")
    print(f"figure: {_draw(searches, best, Path(config.report.directory) / 'replay.png')}")


def _search_all(config: Config, curves: Curves, methods: list[str]) -> dict[str, list[Search]]:
    tasks = [(method, seed) for method in methods for seed in range(NUM_SEEDS)]
    searches: dict[str, list[Search]] = {method: [] for method in methods}
    found = map_unordered(functools.partial(_search, config, curves), tasks)
    with track_progress("replaying", len(tasks), "searches") as advance:
        for method, search in found:
            searches[method].append(search)
            advance(1)
    return searches


def _search(config: Config, curves: Curves, task: tuple[str, int]) -> tuple[str, Search]:
    method, seed = task
    with hide_startup_messages():
        from keras_inat.bench.replayed_search import replay
    with tempfile.TemporaryDirectory() as folder:
        config = override(config, {"run.seed": seed})
        return method, replay(config, curves, method, Path(folder), max(BUDGETS))


def _summarise(searches: list[Search], enough: float) -> str:
    """The median of the epochs until a score, and their range."""
    needed = sorted(search.count_epochs(enough) or math.inf for search in searches)
    median, low, high = (
        f"{n:.0f}" if n < math.inf else "never" for n in (statistics.median(needed), needed[0], needed[-1])
    )
    return f"{median} ({low} to {high})"


def _draw(searches: dict[str, list[Search]], best: float, path: Path) -> Path:
    figure = new_figure(7, 4)
    axes = figure.subplots()
    epochs = range(max(BUDGETS) + 1)
    for method, found in searches.items():
        scores = [statistics.median(search.find_best(epoch) for search in found) for epoch in epochs]
        shown = [100 * score if score else math.nan for score in scores]
        axes.step(epochs, shown, where="post", label=method)
    axes.axhline(100 * (best - CLOSE), linestyle=":", color=MUTED, label=f"{100 * CLOSE:g} points below the best")
    axes.set(xlabel="epochs trained, all trials together", ylabel="best validation accuracy, % (median of searches)")
    axes.legend(loc="lower right")
    return save_figure(figure, path)
