"""The help of a command: its variables and settings with their defaults."""

import textwrap
from typing import Any

from pydantic.fields import FieldInfo

from keras_inat.commands.catalog import Command
from keras_inat.settings.catalog import flatten, list_choices, list_settings
from keras_inat.settings.loading import VARIABLES, load_config
from keras_inat.settings.recipes import find_recipe

INDENT = 46  # columns before a description
WIDTH = 110


def list_words(command: Command) -> list[str]:
    """Returns the names that a command takes before `=`: CONFIG, its variables and its settings."""
    words = [*command.variables]
    named = {VARIABLES[variable] for variable in command.variables}
    settings = [name for name in list_settings() if name.partition(".")[0] in command.sections and name not in named]
    if settings:
        words.append("CONFIG")
    return [*words, *settings]


def describe_words(name: str, command: Command) -> str:
    """Returns the variables and settings of a command, a line each, and an example."""
    defaults = flatten(load_config([], find_recipe(command.recipe) if command.recipe else None))
    lines = []
    words = list_words(command)
    fields = list_settings()
    if words:
        lines.append("\nVariables:")
        for variable in command.variables:
            lines += _describe(f"{variable}={_format(defaults.get(VARIABLES[variable]))}", fields[VARIABLES[variable]])
        recipe = f" (by default {command.recipe})" if command.recipe else ""
        lines += _describe("CONFIG=", None, f"a recipe, such as scratch, or the path of a YAML file{recipe}")
        lines.append("\nSettings:")
    for word in words:
        if "." in word:
            lines += _describe(f"{word}={_format(defaults.get(word))}", fields[word])
    lines.append(f"\nExample:\n  keras-inat {name} {command.example}".rstrip())
    return "\n".join(lines) + "\n"


def _describe(word: str, field: FieldInfo | None, text: str = "") -> list[str]:
    if field:
        choices = list_choices(field.annotation)
        text = str(field.description) + (f": {', '.join(map(str, choices))}" if choices else "")
    wrapped = textwrap.wrap(text, WIDTH - INDENT)
    first = f"  {word}"
    if len(first) >= INDENT:
        return [first, *(" " * INDENT + line for line in wrapped)]
    return [first.ljust(INDENT) + wrapped[0], *(" " * INDENT + line for line in wrapped[1:])]


def _format(value: Any) -> str:
    """Returns a value as a configuration has it; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_format, value))}]"
    return "{…}" if isinstance(value, dict) and value else str(value)
