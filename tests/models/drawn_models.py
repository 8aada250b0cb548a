"""Random configurations of the CNN."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from keras_inat.settings.schema import Model

CANDIDATES = 10


def draw_model(rng: np.random.Generator, max_blocks: int) -> Model:
    """Draws a value for every setting."""
    blocks = int(rng.integers(1, max_blocks + 1))
    residual, same = bool(rng.integers(2)), bool(rng.integers(2))
    counts = [1, 3] if residual else [1, 2]
    filter_organization = str(rng.choice(["same", "double", "half"]))
    listed = filter_organization == "same" and not same
    return Model(
        ensemble_size=int(rng.choice([1, 1, 3])),
        num_blocks=blocks,
        filters=tuple(rng.integers(1, 6, blocks).tolist()) if listed else 2**blocks + int(rng.integers(4)),
        filter_organization=filter_organization,
        min_filters=int(rng.choice([1, 3])),
        kernel_size=3 if same else tuple(rng.integers(1, 6, blocks).tolist()),
        convolutions=3 if residual and same else (*rng.choice(counts, blocks - 1).tolist(), counts[1]),
        residual=residual,
        batch_norm=bool(rng.integers(2)),
        pool_first=bool(rng.integers(2)),
        pooling=str(rng.choice(["flatten", "average", "max"])),
        dense_units=int(rng.integers(0, 9)),
        dropout=float(rng.choice([0.0, 0.1])),
        dropout_placement=str(rng.choice(["before_dense", "after_dense"])),
    )


def draw_covering_models(rng: np.random.Generator, count: int, max_blocks: int) -> Iterator[Model]:
    """Draws configurations that cover as many combinations of three settings as possible.

    Each is the best of a few candidates. 50 of them cover more combinations than 200 independent draws.
    """
    covered: set[Any] = set()
    for _ in range(count):
        candidates = [draw_model(rng, max_blocks) for _ in range(CANDIDATES)]
        config = max(candidates, key=lambda config: len(list_triples(config) - covered))
        covered |= list_triples(config)
        yield config


def list_triples(config: Model) -> set[Any]:
    """Returns the combinations of three settings. Of a number or a list of filters only the type counts."""
    values = config.model_dump() | {"dense_units": config.dense_units > 0}
    for name in ("filters", "kernel_size", "convolutions"):
        values[name] = type(values[name])
    return set(combinations(values.items(), 3))
