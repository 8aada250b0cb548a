"""The budgets: the settings of a training from scratch that depend on its length, by dotted name.

The rows were chosen on validation images for the network of the recipe `scratch`; see docs/recipe.md. A budget gives
its values to the settings that a configuration leaves open.
"""

from collections.abc import Mapping
from typing import Any, Literal

Budget = Literal["short", "medium", "long"]

# The same at every length.
COMMON = {
    "augment.flip": True,
    "augment.color": 0.3,
    "training.optimizer": "muon",  # better after 12 epochs than AdamW after 20
    "training.schedule": "cosine",
    "training.warmup": 0.1,
    "training.label_smoothing": 0.1,
    "training.ema": 0.1,
}
BUDGETS: dict[Budget, dict[str, Any]] = {
    "short": COMMON
    | {
        "training.epochs": 12,
        "training.min_steps": 600,
        "training.batch_size": 64,
        "training.learning_rate": 1e-2,
        "training.weight_decay": 0.1,
        "augment.crop": 0.35,
        "augment.policy": "none",
        "model.dropout": 0.0,
    },
    "medium": COMMON
    | {
        "training.epochs": 40,
        "training.min_steps": 2000,
        "training.batch_size": 64,
        "training.learning_rate": 1e-2,
        "training.weight_decay": 0.1,
        "augment.crop": 0.35,
        "augment.policy": "trivialaugment",
        "model.dropout": 0.2,
    },
    "long": COMMON
    | {
        "training.epochs": 120,
        "training.min_steps": 3000,
        "training.batch_size": 128,  # a step of Muon takes as long for a small batch as for a large one
        "training.learning_rate": 1.4e-2,
        "training.weight_decay": 0.2,  # worse during most of the training, better at its end
        "augment.crop": 0.25,
        "augment.policy": "trivialaugment",
        "model.dropout": 0.3,
    },
}


def apply_budget(values: Any) -> Any:
    """Returns the nested values of a configuration with those of its `training.budget` for the settings not given.

    Values that are no configuration are returned as they are. Their error is reported by the validation.
    """
    training = values.get("training") if isinstance(values, Mapping) else None
    budget = training.get("budget") if isinstance(training, Mapping) else None
    if not isinstance(budget, str) or budget not in BUDGETS:
        return values
    filled = dict(values)
    for name, value in BUDGETS[budget].items():
        section, _, key = name.partition(".")
        given = filled.get(section, {})
        if isinstance(given, Mapping):
            filled[section] = {key: value, **given}
    return filled
