"""The private names of KerasTuner exist. A failure names the one that a new version lacks."""

import importlib
import re
from pathlib import Path

import keras_tuner
import pytest
from keras_tuner import HyperParameters, Objective

import keras_inat
from keras_inat.search import kerastuner

MODULES = {
    "keras_tuner.src.engine.conditions": ["Parent"],
}
ORACLE = [
    "_compute_values_hash",
    "_duplicate",
    "_max_collisions",
    "_random_values",
    "_record_values",
    "_retry_queue",
    "_save_trial",
    "_seed_state",
    "_set_project_dir",
]
ORACLES = {
    keras_tuner.oracles.RandomSearchOracle: ORACLE,
    keras_tuner.oracles.GridSearchOracle: ["_get_next_combination"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MODULES.items() for name in names])
def test_the_module_has_the_name(module, name):
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("oracle", "name"), [(oracle, name) for oracle, names in ORACLES.items() for name in names])
def test_the_oracle_has_the_attribute(oracle, name):
    space = HyperParameters()
    space.Int("filters", 1, 9)
    assert hasattr(oracle(objective=Objective("val_accuracy", "max"), hyperparameters=space), name)


def test_the_table_is_complete_and_no_other_module_uses_private_names():
    source = Path(kerastuner.__file__).read_text()
    used = set(re.findall(r"(?:self\.|super\(\)\.|oracle\.|def )(_[a-z]\w*)", source))
    assert used == {name for names in ORACLES.values() for name in names}
    sources = Path(keras_inat.__file__).parent.rglob("*.py")
    users = [path.name for path in sources if "keras_tuner.src" in path.read_text()]
    assert users == ["kerastuner.py"]
