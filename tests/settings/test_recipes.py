import pytest

from keras_inat.errors import UserError
from keras_inat.settings.recipes import RECIPES, find_recipe, list_recipes


def test_a_recipe_is_found_by_its_name_from_any_folder():
    assert {"sweep", "scratch", "finetune", "demo", "systems/b"} <= set(list_recipes())
    for name in list_recipes():
        assert find_recipe(name) == RECIPES / f"{name}.yaml"
        assert find_recipe(name).is_file()


def test_a_path_is_a_path(workplace):
    (workplace / "scratch").write_text("run: {name: mine}")
    (workplace / "mine.yaml").write_text("run: {name: mine}")
    assert find_recipe("mine.yaml").name == "mine.yaml"
    assert find_recipe("scratch").read_text() == "run: {name: mine}"  # a file here stands above a recipe
    assert find_recipe("missing.yaml").name == "missing.yaml"


def test_an_unknown_name_gets_the_closest_match():
    with pytest.raises(UserError, match="Did you mean 'scratch'"):
        find_recipe("scrach")
