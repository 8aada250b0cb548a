"""The epochs that search methods need, measured on recorded trials.

Modules that import TensorFlow are imported in the functions, because every worker process imports this module.
"""

from __future__ import annotations

import functools
import math
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from keras_inat.plotting import new_figure, save_figure
from keras_inat.progress import hide_startup_messages, track_progress
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config
from keras_inat.style import MUTED
from keras_inat.workers import map_unordered

if TYPE_CHECKING:
    from keras_inat.bench.replayed_search import Curves, Search

RECORDED = Path(__file__).with_name("sweep_trials.csv")
# A search succeeds with a score this close to the best of the space.
TOLERANCE = 0.005
# The numbers of epochs after which searches are compared. The last one ends them.
BUDGETS = (60, 120, 240, 504)
NUM_SEEDS = 7


def replay_methods(config: Config) -> None:
    """Replays searches by every method. Prints a row for each and draws the best score against the epochs."""
    with hide_startup_messages():
        from keras_inat.bench.replayed_search import METHODS, read_recorded
    curves = read_recorded(RECORDED, config)
    best = max(max(curve) for curve in curves.values())
    num_successes = sum(max(curve) >= best - TOLERANCE for curve in curves.values())
    print(
        f"{len(curves)} configurations of {config.sweep.epochs} epochs; {num_successes} of them within "
        f"{100 * TOLERANCE:g} points of the best, {best:.1%}. Medians of {NUM_SEEDS} searches.",
        flush=True,
    )
    searches = _search_all(config, curves, list(METHODS))
    headings = "".join(f"{f'best at {budget}':>13}" for budget in BUDGETS)
    print(f"{'':25}{'epochs until then':>24}{headings}{'repeated trials':>18}")
    for method, replayed in searches.items():
        scores = [statistics.median(search.find_best(budget) for search in replayed) for budget in BUDGETS]
        repeats = statistics.median(search.repeats for search in replayed)
        cells = "".join(f"{score:13.1%}" for score in scores)
        print(f"{method:25}{_describe_epochs(replayed, best - TOLERANCE):>24}{cells}{repeats:18g}")
    print(f"figure: {_draw(searches, best, Path(config.report.directory) / 'replay.png')}")


def _search_all(config: Config, curves: Curves, methods: list[str]) -> dict[str, list[Search]]:
    pairs = [(method, seed) for method in methods for seed in range(NUM_SEEDS)]
    searches: dict[str, list[Search]] = {method: [] for method in methods}
    with track_progress("replaying", len(pairs), "searches") as advance:
        for method, search in map_unordered(functools.partial(_search, config, curves), pairs):
            searches[method].append(search)
            advance(1)
    return searches


def _search(config: Config, curves: Curves, pair: tuple[str, int]) -> tuple[str, Search]:
    method, seed = pair
    with hide_startup_messages():
        from keras_inat.bench.replayed_search import replay
    with tempfile.TemporaryDirectory() as folder:
        config = override(config, {"run.seed": seed})
        return method, replay(config, curves, method, Path(folder), max(BUDGETS))


def _describe_epochs(searches: list[Search], score: float) -> str:
    """Returns the median number of epochs until a search reaches `score`, with the range."""
    epochs = sorted(search.count_epochs(score) or math.inf for search in searches)
    median, fewest, most = (
        f"{count:.0f}" if count < math.inf else "never" for count in (statistics.median(epochs), epochs[0], epochs[-1])
    )
    return f"{median} ({fewest} to {most})"


def _draw(searches: dict[str, list[Search]], best: float, path: Path) -> Path:
    figure = new_figure(7, 4)
    axes = figure.subplots()
    epochs = range(max(BUDGETS) + 1)
    for method, replayed in searches.items():
        scores = [statistics.median(search.find_best(epoch) for search in replayed) for epoch in epochs]
        percent = [100 * score if score else math.nan for score in scores]
        axes.step(epochs, percent, where="post", label=method)
    target = f"{100 * TOLERANCE:g} points below the best"
    axes.axhline(100 * (best - TOLERANCE), linestyle=":", color=MUTED, label=target)
    axes.set(xlabel="trained epochs of all trials", ylabel="best validation accuracy, % (median of searches)")
    axes.legend(loc="lower right")
    return save_figure(figure, path)
