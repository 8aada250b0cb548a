"""Sweeps with known effects, sampled as a search samples them: mostly near the best trials."""

import functools
from pathlib import Path

import numpy as np

from keras_inat.reporting.statistics.adjusted_effects import estimate_adjusted_effects
from keras_inat.reporting.sweep_history import SweepHistory
from keras_inat.store.records import Trial
from keras_inat.store.sweeps import SweepFolder, SweepIdentity

CHOICES = {
    "a.filters": [16, 32, 64],
    "a.norm": [True, False],
    "a.activation": ["relu", "gelu", "silu"],
    "a.flip": [True, False],
    "a.size": [32, 64],
}
RATE = "t.rate"
DROP = "t.drop"
SPACE = CHOICES | {RATE: {"min": 1e-5, "max": 0.1, "log": True}, DROP: {"min": 0.0, "max": 0.5}}
IDENTITY = SweepIdentity(space=SPACE, settings={}, data_hash="")
WITHOUT_EFFECT = {"a.flip", "a.size", DROP}


def sample(rng):
    settings = {name: values[rng.integers(len(values))] for name, values in CHOICES.items()}
    return settings | {RATE: 10 ** rng.uniform(-5, -1), DROP: rng.uniform(0, 0.5)}


def score(settings, rng):
    rate = np.log10(settings[RATE]) + 3
    accuracy = 0.4 + 0.01 * np.log2(settings["a.filters"] / 16) + 0.03 * settings["a.norm"]
    accuracy += 0.02 * (settings["a.activation"] == "gelu") + 0.06 * np.exp(-(rate**2) / 1.5)
    return accuracy + rng.normal(0, 0.01)


def make_trial(number, accuracy, settings, **fields):
    defaults = {"id": str(number), "values": {}, "status": "completed", "score": accuracy, "settings": settings}
    return Trial(**defaults | fields)


def make_sweep(trials):
    return SweepHistory(SweepFolder(Path("sweep")), trials, identity=IDENTITY)


def search(seed, count, score=score):
    """Samples the first ten trials at random and mixes most others from one of the best three."""
    rng = np.random.default_rng(seed)
    trials = list[Trial]()
    for number in range(count):
        settings = sample(rng)
        if number >= 10 and rng.random() < 0.85:
            good = sorted(trials, key=lambda trial: -trial.score)[rng.integers(3)].settings
            settings = {name: good[name] if rng.random() < 0.7 else value for name, value in settings.items()}
            settings[RATE] = float(np.clip(good[RATE] * np.exp(rng.normal(0, 0.4)), 1e-5, 0.1))
        trials.append(make_trial(number, score(settings, rng), settings))
    return make_sweep(trials)


@functools.cache
def estimate_search(seed):
    """Returns the adjusted effects of a search of 60 trials."""
    return estimate_adjusted_effects(search(seed, 60))
