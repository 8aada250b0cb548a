"""The recipes: configurations in YAML that are part of the package. A clone shows them in `configs/`."""

import importlib.resources
from pathlib import Path

from keras_inat.errors import UserError, describe_choices
from keras_inat.files import suggest_path

RECIPES = Path(str(importlib.resources.files("keras_inat"))) / "configs"


def list_recipes() -> list[str]:
    """Returns the names of the recipes, such as `scratch` and `systems/b`."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Returns the file of a configuration: the path that `name` is, or the recipe of this name.

    Raises:
        UserError: There is neither.
    """
    if not name:
        raise UserError("CONFIG is empty: give CONFIG=<recipe or YAML file>, or leave it out")
    path = Path(name).expanduser()
    recipe = RECIPES / f"{name}.yaml"
    if path.is_file() or not recipe.is_file():
        if path.suffix in (".yaml", ".yml") or path.is_file():
            return path  # a missing file is reported when it is read
        choices = describe_choices(name, list_recipes())
        # The closest recipe is named already.
        hint = "" if "Did you mean" in choices else suggest_path(path)
        raise UserError(f"CONFIG, unless it is the path of a YAML file, {choices}{hint}")
    return recipe
