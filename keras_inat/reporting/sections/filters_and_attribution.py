"""Filters and attribution: the explanations of a trained model, which are stored in the folder of its run."""

import contextlib
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

import keras_inat
from keras_inat.log import warn
from keras_inat.progress import hide_startup_messages
from keras_inat.reporting.blocks import Block, Prose
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.history import FinishedRun
from keras_inat.reporting.sections.explained_model import ExplainedModel
from keras_inat.reporting.sections.explanations import describe_explanations
from keras_inat.settings.schema import Report
from keras_inat.store.explanations import Explanations
from keras_inat.store.predictions import Predictions, ValidationSample

# The code that computes explanations. A change of it makes the stored ones outdated; a change of a sentence or of a
# chart does not.
CODE = ("explain/*.py", "models/*.py", "store/explanations.py")
PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "tf-keras-vis", "numpy", "scipy")


def describe_filters_and_attribution(
    run: FinishedRun, predictions: Predictions, figures: FigureFolder, settings: Report
) -> list[Block]:
    """Explains the model of a run. A sentence replaces an explanation that cannot be made.

    The explanations take a minute or two. They are stored in the folder of the run, and stay valid until something
    that they depend on changes.
    """
    if not run.is_unchanged(run.folder.model):
        lack = "is not the one that was evaluated" if run.folder.model.exists() else "is not on disk"
        return [Prose(f"`{run.title}/best.keras` {lack}, so the model is not explained.")]
    sample = run.read_validation_sample()
    key = hash_dependencies(run, sample is not None, settings)
    explanations = Explanations.read(run.folder.explanations, key)
    if explanations is None:
        computed = _compute(run, predictions, sample, settings)
        if isinstance(computed, str):
            return [Prose(f"The model could not be opened: {computed}.")]
        if not computed.lacked_memory:
            try:
                computed.write(run.folder.explanations, key)
            except OSError as error:
                warn(f"the explanations are computed again for the next report, because they cannot be stored: {error}")
        # The keys of figures depend on the layout of arrays in memory, which the file may not keep.
        explanations = Explanations.read(run.folder.explanations, key) or computed
    return describe_explanations(ExplainedModel(run, explanations, predictions, sample, figures, settings))


def _compute(
    run: FinishedRun, predictions: Predictions, sample: ValidationSample | None, settings: Report
) -> Explanations | str:
    """Returns the explanations of a model, or why it could not be opened."""
    print(f"explaining the model of {run.folder.path}", flush=True)
    # These take seconds to import. A page with stored explanations does not need them.
    with hide_startup_messages():
        from keras_inat.explain.explanations import compute_explanations, shorten
        from keras_inat.models.model_files import load_model
    try:
        model = load_model(run.folder.model)
    except Exception as error:  # Keras raises many types for a damaged archive or one of another version
        return shorten(error)
    return compute_explanations(model, predictions, sample, run.result.macs, settings.neurons == "selective")


def hash_dependencies(run: FinishedRun, has_sample: bool, settings: Report) -> str:
    """Returns a hash of everything that the explanations depend on: unchanged files of the run, settings and code."""
    files = [run.folder.model, run.folder.predictions, *([run.folder.sample] if has_sample else [])]
    digests = [run.result.files.get(path.name) for path in files]
    return hashlib.sha256(repr((settings.neurons, run.result.macs, digests, _hash_code())).encode()).hexdigest()


@cache
def _hash_code() -> str:
    """Returns a hash of the code that computes explanations and of the versions of its packages."""
    digest = hashlib.sha256()
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{name}=={importlib.metadata.version(name)}\n".encode())
    package = Path(keras_inat.__file__).parent
    for path in sorted(path for pattern in CODE for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
