"""The documentation: its links, commands, settings, names and examples. Nothing in it is run except the doctests."""

import ast
import doctest
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import keras_inat
from keras_inat.api import classifier, history, images, verbs
from keras_inat.commands.catalog import COMMANDS
from keras_inat.commands.help import list_words
from keras_inat.settings.catalog import list_settings
from keras_inat.settings.loading import load_config
from keras_inat.settings.recipes import find_recipe, list_recipes

ROOT = Path(__file__).parent.parent
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT_PAGES])
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*?)(?: \{ ?#(\S+) ?\})?$", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):[^#\n]*## [^|\n]*\|?(.*)$", re.MULTILINE)
ALWAYS_TAKEN = {"ARGS", "PYTHON", "EXTRA"}
CLASSES = {
    name: kind
    for module in (classifier, history)
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and kind.__module__ == module.__name__
}


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def list_blocks(page):
    """Returns the language and the text of each block of code. Indented blocks have no language."""
    text = page.read_text(encoding="utf-8")
    blocks = [(found[2], textwrap.dedent(found[3])) for found in FENCE.finditer(text)]
    return [*blocks, *(("", textwrap.dedent(found[0])) for found in INDENTED.finditer(FENCE.sub("", text)))]


def list_commands(page):
    """Returns the words of each command of the program or of make."""
    lines = [line for _, text in list_blocks(page) for line in text.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:make|keras-inat) [^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))
    commands = []
    for line in lines:
        line = re.sub(r"^([$!] ?)?([A-Z_]+=\S+ )*", "", line.strip())
        if re.match(r"(make|keras-inat)( |$)", line) and "<" not in line:
            commands.append(shlex.split(line, comments=True))
    return commands


def list_anchors(page):
    text = page.read_text(encoding="utf-8")
    anchors = set(re.findall(r"\{ ?#(\S+) ?\}", text))
    for heading, given in HEADING.findall(FENCE.sub("", text)):
        anchors.add(given or re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()))
    if "<!-- settings -->" in text:
        anchors |= {*list_settings(), *(name.partition(".")[0] for name in list_settings())}
    if "<!-- commands -->" in text:
        anchors |= set(COMMANDS)
    if "<!-- recipes -->" in text:
        anchors |= {name.replace("/", "-") for name in list_recipes()}
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_point_to_something(page):
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in list_anchors(target), link


def check_words(name, words):
    """Checks variables, settings and their values without running the command."""
    command = COMMANDS[name]
    flags = {f"--{setting.rpartition('.')[2]}" for setting in command.flags}
    words = [word for word in words if word not in {"…", "--help", *flags}]
    for word in words:
        assert word.partition("=")[0] in list_words(command), f"{name} does not take {word}"
    chosen = [word.removeprefix("CONFIG=") for word in words if word.startswith("CONFIG=")]
    recipe = chosen[-1] if chosen else command.recipe
    if recipe == "my.yaml":
        recipe = command.recipe
    elif recipe and (ROOT / recipe).is_file():
        recipe = str(ROOT / recipe)
    load_config([word for word in words if not word.startswith("CONFIG=")], find_recipe(recipe) if recipe else None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_their_variables_and_settings(page):
    targets = dict(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))) | {"clean": "", "help": ""}
    for program, *words in list_commands(page):
        if program == "keras-inat":
            if words and not words[0].startswith("--"):
                assert words[0] in COMMANDS, words
                check_words(words[0], words[1:])
            continue
        called = [word for word in words if "=" not in word]
        given = dict(word.split("=", 1) for word in words if "=" in word)
        assert set(called) <= set(targets), called
        if len(called) == 1:
            assert set(given) <= {*targets[called[0]].split(), *ALWAYS_TAKEN}, words
        if len(called) == 1 and called[0] in COMMANDS:
            named = [f"{name}={value}" for name, value in given.items() if name not in ALWAYS_TAKEN]
            check_words(called[0], [*named, *given.get("ARGS", "").split()])


def infer(node, variables):
    """Returns what an expression is: the module, one of its functions, a class or None. Unknown names fail."""
    if isinstance(node, ast.Name):
        return variables.get(node.id)
    if isinstance(node, ast.Subscript):
        kind = infer(node.value, variables)
        return {history.Runs: history.Run, classifier.Predictions: classifier.Prediction}.get(kind)
    if isinstance(node, ast.Attribute):
        owner = infer(node.value, variables)
        if owner is keras_inat:
            assert node.attr in (*keras_inat.__all__, "__version__"), f"keras_inat.{node.attr}"
            return getattr(keras_inat, node.attr)
        if inspect.isclass(owner) and owner in CLASSES.values():
            names = {*dir(owner), *getattr(owner, "__annotations__", {}), *re.findall(r"self\.(\w+)", source(owner))}
            assert node.attr in names, f"{owner.__name__}.{node.attr}"
            member = inspect.getattr_static(owner, node.attr, None)
            return returned(member.fget) if isinstance(member, property) else member
    if isinstance(node, ast.Call):
        function = infer(node.func, variables)
        if inspect.isfunction(function):
            accepted = inspect.signature(function).parameters
            for keyword in node.keywords:
                assert keyword.arg in accepted, f"{function.__name__}({keyword.arg}=…)"
                if keyword.arg == "settings" and isinstance(keyword.value, ast.Dict):
                    for key in keyword.value.keys:
                        assert ast.literal_eval(key) in list_settings()
            return returned(function)
    return None


def source(kind):
    return inspect.getsource(kind)


def returned(function):
    annotation = inspect.signature(function).return_annotation
    return CLASSES.get(annotation) if isinstance(annotation, str) else annotation


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_uses_names_that_exist(page):
    for language, text in list_blocks(page):
        if language != "python":
            continue
        code = "".join(line for line in text.splitlines(True) if not line.lstrip().startswith(("%", "!")))
        variables = {"keras_inat": keras_inat}
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                variables[node.targets[0].id] = infer(node.value, variables)
            elif isinstance(node, ast.expr):
                infer(node, variables)


def list_examples():
    for page in PAGES:
        for language, text in list_blocks(page):
            if language == "pycon" or ">>> " in text:
                yield pytest.param(text, {}, id=name_of(page))
    for module in (classifier, history, images, verbs):
        for test in doctest.DocTestFinder().find(module):
            if test.examples:
                yield pytest.param(test.docstring, vars(module), id=test.name)


@pytest.mark.parametrize(("text", "names"), list(list_examples()))
def test_examples_give_the_shown_output(text, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(text, dict(names), "example", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0


def test_the_site_builds_without_warnings(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: `make docs` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "site/reference/settings.html").read_text(encoding="utf-8")
    assert 'id="data.image_size"' in settings
    api = (tmp_path / "site/reference/api.html").read_text(encoding="utf-8")
    assert "The probability of every class." in api
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|link)\b[^>]*(?:src|href)="https?:', text), page
