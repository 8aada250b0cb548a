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

import numpy as np

from keras_inat.plotting import new_figure, save_figure
from keras_inat.progress import hide_startup_messages, track_progress
from keras_inat.settings.loading import load_config, override
from keras_inat.settings.recipes import RECIPES
from keras_inat.settings.schema import Config
from keras_inat.style import MUTED
from keras_inat.workers import map_unordered

if TYPE_CHECKING:
    from keras_inat.bench.replayed_search import Curves, Search

OURS = "ours"  # the default method of `make sweep`
# The recorded tables, by the recipe that records them again.
RECORDED = {
    "replay-nature_tiny": Path(__file__).with_name("trials_nature_tiny.csv"),
    "replay-sea10": Path(__file__).with_name("trials_sea10.csv"),
}
# A search succeeds with a score this close to the best of the space.
TOLERANCE = 0.005
# The numbers of epochs after which searches are compared. The last one ends them.
BUDGETS = (60, 120, 240)
NUM_SEEDS = 40
NUM_RESAMPLES = 4000


def replay_methods(config: Config) -> None:
    """Replays searches by every method from every recorded table.

    Prints a row for each method and draws the best score against the epochs.
    """
    for recipe, path in RECORDED.items():
        settings = load_config([], RECIPES / f"{recipe}.yaml")
        _replay_table(settings, path, Path(config.report.directory) / f"{recipe}.png")


def _replay_table(config: Config, path: Path, figure: Path) -> None:
    with hide_startup_messages():
        from keras_inat.bench.replayed_search import METHODS, read_recorded
    curves = read_recorded(path, config)
    best = max(max(curve) for curve in curves.values())
    num_successes = sum(max(curve) >= best - TOLERANCE for curve in curves.values())
    print(
        f"{config.run.name}: {len(curves)} configurations of {config.sweep.epochs} epochs; {num_successes} of them "
        f"within {100 * TOLERANCE:g} points of the best, {best:.1%}. Medians of {NUM_SEEDS} searches with their 95 % "
        "intervals.",
        flush=True,
    )
    searches = _search_all(config, curves, list(METHODS))
    epochs = {method: _count_epochs(replayed, best - TOLERANCE) for method, replayed in searches.items()}
    headings = "".join(f"{f'best at {budget}':>13}" for budget in BUDGETS)
    print(f"{'':25}{'epochs until then':>24}{'more than ours':>24}{headings}{'repeated trials':>18}")
    for method, replayed in searches.items():
        scores = [statistics.median(search.find_best(budget) for search in replayed) for budget in BUDGETS]
        repeats = statistics.median(search.repeats for search in replayed)
        cells = "".join(f"{score:13.1%}" for score in scores)
        more = "" if method == OURS else _describe(*_compare(epochs[method], epochs[OURS]))
        print(f"{method:25}{_describe(*_estimate(epochs[method])):>24}{more:>24}{cells}{repeats:18g}")
    print(f"figure: {_draw(searches, best, figure)}")


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
        from keras_inat.bench.replayed_search import METHODS
    with tempfile.TemporaryDirectory() as folder:
        config = override(config, {"run.seed": seed})
        return method, METHODS[method](config, curves, Path(folder), max(BUDGETS))


def _count_epochs(searches: list[Search], score: float) -> np.ndarray:
    """Returns the epochs until each search reaches `score`, `(searches,)` float64. Infinity means never."""
    return np.array([search.count_epochs(score) or math.inf for search in searches])


def _estimate(epochs: np.ndarray) -> tuple[float, float, float]:
    """Returns the median and the ends of its 95 % interval, from the percentiles of bootstrap samples."""
    return _find_percentiles(float(np.median(epochs)), _resample_medians(epochs, 0))


def _compare(epochs: np.ndarray, ours: np.ndarray) -> tuple[float, float, float]:
    """Returns the difference of two medians and the ends of its 95 % interval. Samples are independent."""
    medians = _resample_medians(epochs, 1), _resample_medians(ours, 2)
    with np.errstate(invalid="ignore"):  # two searches that never succeed have no difference
        differences = np.nan_to_num(medians[0] - medians[1], nan=0.0, posinf=math.inf, neginf=-math.inf)
        difference = float(np.nan_to_num(np.median(epochs) - np.median(ours), posinf=math.inf, neginf=-math.inf))
    return _find_percentiles(difference, differences)


def _resample_medians(epochs: np.ndarray, seed: int) -> np.ndarray:
    samples = np.random.default_rng(seed).choice(epochs, (NUM_RESAMPLES, len(epochs)))
    # The lower of two middle values, because the mean of a number and infinity says nothing.
    return np.quantile(samples, 0.5, axis=1, method="lower")


def _find_percentiles(estimate: float, samples: np.ndarray) -> tuple[float, float, float]:
    low, high = np.quantile(samples, [0.025, 0.975], method="nearest")
    return estimate, float(low), float(high)


def _describe(estimate: float, low: float, high: float) -> str:
    middle, lowest, highest = (f"{value:.0f}" if math.isfinite(value) else "never" for value in (estimate, low, high))
    return f"{middle} ({lowest} to {highest})"


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
