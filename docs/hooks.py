"""MkDocs calls these functions while it builds the site. They fill pages from the program itself."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from keras_inat.commands.catalog import COMMANDS, Command
from keras_inat.commands.help import list_words
from keras_inat.settings.budgets import BUDGETS
from keras_inat.settings.catalog import list_choices, list_settings, role_of
from keras_inat.settings.loading import VARIABLES
from keras_inat.settings.recipes import RECIPES, list_recipes

ROOT = Path(__file__).parent.parent
TRIALS = sorted(path.name for path in (ROOT / "keras_inat/bench").glob("trials_*.csv"))
LONGEST_NAME = 24  # characters of a value that stays on one line
# Pages that are files of the root.
ROOT_PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the table of trials, which a page links to."""
    for name in TRIALS:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / "keras_inat/bench" / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Replaces the marker `<!-- name -->` by generated text, and links to files of the repository by links to pages."""
    source = page.file.src_uri
    if source in ROOT_PAGES:
        markdown = (ROOT / ROOT_PAGES[source]).read_text(encoding="utf-8").replace("](docs/", "](")
        return markdown.replace("[Apache License 2.0](LICENSE)", "Apache License 2.0")
    for name, build in GENERATED.items():
        marker = f"<!-- {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, build())
    up = "../" * source.count("/")
    for name in TRIALS:
        markdown = markdown.replace(f"](../{up}keras_inat/bench/{name})", f"]({up}{name})")
    return re.sub(
        rf"\]\(\.\./{up}configs/([\w/-]+)\.yaml\)",
        lambda found: f"]({up}reference/recipes.md#{anchor_of(found[1])})",
        markdown,
    )


def build_settings() -> str:
    """Returns a table of settings for each section."""
    variables = {setting: variable for variable, setting in VARIABLES.items()}
    lines = []
    section = ""
    for name, field in list_settings().items():
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            lines += ["", f"## {section}", "", "| setting | default | description | role |", "|---|---|---|---|"]
        variable = f"<br>`{variables[name]}=`" if name in variables else ""
        default = format_value(field.get_default(call_default_factory=True))
        role = role_of(name).name.lower()
        lines.append(f"| `{name}`{{ #{name} }}{variable} | {default} | {describe(name)} | {role} |")
    return "\n".join(lines)


def build_commands() -> str:
    """Returns a chapter for each command."""
    lines = []
    for name, command in COMMANDS.items():
        text = command.help[0].upper() + command.help[1:]
        lines += ["", f"## {name}", "", f"{escape(text)}.", "", *list_uses(name, command)]
        words = list_words(command)
        if command.variables:
            lines += ["", "| variable | setting | description |", "|---|---|---|"]
            for variable in command.variables:
                setting = VARIABLES[variable]
                lines.append(f"| `{variable}=` | {link(setting)} | {describe(setting)} |")
        if "CONFIG" in words:
            recipe = "the defaults"
            if command.recipe:
                recipe = f"the recipe [{command.recipe}](recipes.md#{anchor_of(command.recipe)})"
            if name == "train-best":
                recipe = "the best configuration of the sweep that `SWEEP` names"
            lines += ["", f"`CONFIG=` names a recipe or a YAML file. Without it, the command uses {recipe}."]
        if command.sections:
            sections = ", ".join(f"[{section}](settings.md#{section})" for section in command.sections)
            lines += ["", f"Settings: {sections}."]
    return "\n".join(lines)


def list_uses(name: str, command: Command) -> list[str]:
    """Returns the example of a command by both doors."""
    words = f"{name} {command.example}".rstrip()
    return ["```sh", f"keras-inat {words}", f"make {words}", "```"]


def build_recipes() -> str:
    """Returns the text of each recipe."""
    lines = []
    for name in list_recipes():
        text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").rstrip()
        lines += ["", f"## {name} {{ #{anchor_of(name)} }}", "", f"`CONFIG={name}`", "", "```yaml", text, "```"]
    return "\n".join(lines)


def build_budgets() -> str:
    """Returns a table of the settings of each budget. A setting that is the same in all of them comes last."""
    lines = [f"| setting | {' | '.join(BUDGETS)} |", "|---" * (1 + len(BUDGETS)) + "|"]
    rows = {name: [format_value(values[name]) for values in BUDGETS.values()] for name in BUDGETS["short"]}
    for name, values in sorted(rows.items(), key=lambda row: len(set(row[1])) == 1):
        lines.append(f"| {link(name)} | {' | '.join(values)} |")
    return "\n".join(lines)


def describe(name: str) -> str:
    """Returns the description of a setting and its choices."""
    field = list_settings()[name]
    choices = ", ".join(f"`{choice}`" for choice in list_choices(field.annotation))
    return escape(str(field.description)) + (f": {choices}" if choices else "")


def link(name: str) -> str:
    """Returns a link to a setting."""
    return f"[`{name}`](settings.md#{name})"


def escape(text: str) -> str:
    """Returns a text that a table cell can hold."""
    return re.sub(r"(?<!`)(\{[^}]*\}|\S*<\S+>\S*)", r"`\1`", text).replace("|", "\\|")


def format_value(value: Any) -> str:
    """Returns a default as a configuration has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if len(str(value)) > LONGEST_NAME:
        return f"<code>{str(value).replace('/', '/<wbr>')}</code>"
    return f"`{value}`"


def anchor_of(recipe: str) -> str:
    """Returns the anchor of a recipe."""
    return recipe.replace("/", "-")


GENERATED = {
    "settings": build_settings,
    "commands": build_commands,
    "recipes": build_recipes,
    "budgets": build_budgets,
}
