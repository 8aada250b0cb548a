"""The recipes: configurations in YAML that are part of the package. A clone shows them in `configs/`."""

import importlib.resources
from pathlib import Path

from keras_inat.errors import UserError, describe_choices

RECIPES = Path(str(importlib.resources.files("keras_inat"))) / "configs"


def list_recipes() -> list[str]:
    """Returns the names of the recipes, such as `scratch` and `systems/b`."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Returns the file of a configuration: the path that `name` is, or the recipe of this name.

    Raises:
        UserError: There is neither.
    """
    path = Path(name).expanduser()
    recipe = RECIPES / f"{name}.yaml"
    if path.is_file() or not recipe.is_file():
        if path.suffix in (".yaml", ".yml") or path.is_file():
            return path  # a missing file is reported when it is read
        raise UserError(f"CONFIG, unless it is the path of a YAML file, {describe_choices(name, list_recipes())}")
    return recipe
