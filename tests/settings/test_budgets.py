import pytest

from keras_inat.errors import UserError
from keras_inat.settings.budgets import BUDGETS, apply_budget
from keras_inat.settings.catalog import flatten, list_settings
from keras_inat.settings.loading import build_config, load_config, override
from keras_inat.settings.recipes import find_recipe
from keras_inat.settings.yaml_files import read_yaml


def test_the_budgets_set_the_same_settings():
    names = {frozenset(values) for values in BUDGETS.values()}
    assert len(names) == 1
    assert names.pop() <= set(list_settings())
    epochs = [values["training.epochs"] for values in BUDGETS.values()]
    assert epochs == sorted(epochs)


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_fills_what_is_not_given(budget):
    values = flatten(load_config([f"training.budget={budget}", "training.learning_rate=0.5", "augment.rotation=9"]))
    assert values["training.learning_rate"] == 0.5
    assert values["augment.rotation"] == 9
    for name, value in BUDGETS[budget].items():
        assert name == "training.learning_rate" or values[name] == value


def test_given_epochs_also_replace_the_steps_of_a_budget():
    training = load_config(["training.budget=long", "training.epochs=3"]).training
    assert (training.epochs, training.min_steps) == (3, 0)


def test_the_recipe_is_the_long_budget_and_the_command_line_chooses_another():
    recipe = find_recipe("scratch")
    assert load_config([], recipe).training.epochs == BUDGETS["long"]["training.epochs"]
    short = load_config(["training.budget=short"], recipe)
    assert short.training.epochs == BUDGETS["short"]["training.epochs"]
    assert short.model.filters == (32, 64, 128, 256, 512)


def test_a_configuration_keeps_its_settings_when_the_table_changes(monkeypatch):
    config = load_config(["training.budget=short"])
    monkeypatch.setitem(BUDGETS, "short", {"training.epochs": 99})
    assert build_config(config.model_dump(mode="json")) == config
    assert override(config, {"run.seed": 1}).training == config.training


def test_a_budget_is_for_training_from_scratch():
    with pytest.raises(UserError, match="there is a `finetune` section"):
        load_config(["training.budget=short", "STRATEGY=head"])


@pytest.mark.parametrize("values", [None, 3, {"training": None}, {"training": {"budget": [1]}}, {"augment": 1}])
def test_values_that_are_no_configuration_are_left_to_the_validation(values):
    assert apply_budget(values) == values


def test_a_section_that_is_not_a_mapping_is_refused(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("{training: {budget: short}, augment: 3}")
    assert read_yaml(path)["augment"] == 3
    with pytest.raises(UserError, match="`augment` must be a section of settings"):
        load_config([], path)
