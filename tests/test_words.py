"""The words of the project: the terms of the field, and sentences that begin with what they state."""

import ast
import re
from pathlib import Path

import pytest

import keras_inat

PACKAGE = Path(keras_inat.__file__).parent
ROOT = PACKAGE.parent
# The term to use, and a pattern of the words that it replaces.
TERMS = {
    "evaluate, evaluation": r"\bjudg\w+",
    "evaluation on the test images": r"\blooks? at (the )?test|\blook_at_test\b",
    "confusion matrix, predicted class": r"takes? for what|\btaken for\b",
    "calibration, confidence": r"\bsure(r|st|ness)\b|how sure",
    "misclassified, highest-confidence errors": r"\bmistaken\b|\bsurest\b",
    "filters, feature maps, activation maximization": r"\bexcit(e|es|ed)\b|what it sees|filters look for",
    "attribution, deletion and insertion scores": r"\bspeaks? for\b|\bfidelity\b",
    "duplicate, near-duplicate, leak": r"cop(y|ies) of cop|near[- _]cop(y|ies)|copies of (an|the same) image",
    "skipped, excluded, quarantined": r"\bleft[- ]out\b|\bleaves? out\b|\bleave out\b|\bforgotten\b",
    "resume": r"\b(go|goes|went|going) on\b(?! (to|the|a))",
    "initial weights, pretrained weights": r"\bstarts of\b",
    "steps per execution": r"\bstretch(es)?\b",
    "trainable, frozen, unfrozen": r"(?<!freeze-)\bthaw\w*",
    "evaluation model": r"\btwins?\b",
    "ensemble, ensemble_size": r"\btowers?\b",
    "test-time augmentation": r"mirror mean|mirror image mean",
    "observed or estimated final score": r"\btold\b",
    "filter organization": r"how filters",
    "inconclusive, not significant": r"\bnot shown to\b",
    "multiply-accumulates": r"\bcomputations\b(?!['\"’])",
    "learning curve": r"\braces?\b",
    "comparison, paired difference": r"side by side|side_by_side|points more",
    "live table": r"\bboard\b",
    "American spelling": r"\b(normal|optim(?!istic)|initial|minim|maxim|random|regular|general|summar|recogn|visual)is"
    r"|organis(?!m)|\b(colour|grey|centre|behaviour|labelled|labelling|favour|neighbour|analyse|catalogue|modelled)\w*",
}
# The task itself asks for "computations", and other languages' libraries have their own words.
QUOTED = {
    "computations": (
        "models/",
        "commands/cost.py",
        "reporting/sections/network.py",
        "reporting/sections/checklist.py",
    ),
}


def _list_texts():
    code = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html"), *PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.css")]
    words = [ROOT / "README.md", ROOT / "Makefile", *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/**/*.yaml")]
    return sorted([*code, *words])


@pytest.mark.parametrize("term", TERMS)
def test_the_field_has_a_word_for_it(term):
    pattern = re.compile(TERMS[term], re.IGNORECASE)
    found = []
    for path in _list_texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := pattern.search(line):
                place = path.relative_to(ROOT).as_posix()
                if not any(part in place for part in QUOTED.get(match[0], ())):
                    found.append(f"{place}:{number}: {match[0]!r} in {line.strip()}")
    assert not found, f"say {term}:\n" + "\n".join(found)


def test_docstrings_begin_with_a_statement():
    questions = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "").split("\n")[0]
                if re.match(r"(What|How|Where|Whether|Which|Who|When|Why)\b", first):
                    questions.append(f"{path.relative_to(ROOT)}: {first}")
    assert not questions
