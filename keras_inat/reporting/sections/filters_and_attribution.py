"""Filters and attribution: the explanations of a trained model, which are cached in the folder of its run."""

import hashlib
import importlib.metadata
from pathlib import Path

import keras_inat
from keras_inat.errors import is_out_of_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.reporting.blocks import Block, Prose
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.history import FinishedRun
from keras_inat.settings.schema import Report
from keras_inat.store.predictions import Predictions, ValidationSample

# The code that the explanations depend on. A change of it makes the cached ones outdated.
CODE = ("explain/*.py", "models/*.py", "reporting/**/*.py", "intervals.py", "plotting.py", "style.py")
PACKAGES = ("keras", "tf-keras-vis", "matplotlib")


def describe_filters_and_attribution(
    run: FinishedRun, predictions: Predictions, figures: FigureFolder, settings: Report
) -> list[Block]:
    """Explains the model of a run. A sentence replaces an explanation that cannot be made.

    The explanations take a minute. They are cached in the folder of the run if all of them could be made, and stay
    valid until something that they depend on changes.
    """
    if not run.folder.model.exists():
        return [Prose(f"`{run.title}/best.keras` is not on disk, so the model is not explained.")]
    print(f"explaining the model of {run.folder.path}", flush=True)
    return explain_model(run, predictions, figures, settings)[0]


def explain_model(
    run: FinishedRun, predictions: Predictions, figures: FigureFolder, settings: Report
) -> tuple[list[Block], bool]:
    """Returns the explanations of a model, and whether all of them could be made."""
    # These take seconds to import, and a page without models does not need them.
    with hide_startup_messages():
        import keras

        from keras_inat.reporting.sections.explanations import EXPLANATIONS, ExplainedModel
    try:
        model = keras.models.load_model(run.folder.model, compile=False)
    except Exception as error:  # Keras raises many types for a damaged archive or one of another version
        return [Prose(f"The model could not be opened: {_shorten(error)}.")], False
    sample = ValidationSample.read(run.folder.sample)
    no_sample = ValidationSample(predictions.pixels[:0], predictions.labels[:0])
    explained = ExplainedModel(run, model, predictions, sample or no_sample, figures, settings)
    blocks: list[Block] = []
    is_complete = sample is not None
    for explain, needs_sample in EXPLANATIONS.items():
        if needs_sample and sample is None:
            continue
        try:
            blocks += explain(explained)
        except Exception as error:
            # The network has no filters, for example, or it is too large for this machine.
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            is_complete = False
            blocks.append(Prose(f"Not available for this network: {_shorten(error)}."))
    if sample is None:
        missing = "The run has no sample of validation images, so top activating patches and neurons are not shown."
        blocks.append(Prose(missing))
    return blocks, is_complete


def _hash_dependencies(run: FinishedRun, settings: Report) -> str:
    """Returns a hash of everything that the explanations depend on: files of the run, settings and code."""
    files = [path.stat() for path in (run.folder.model, run.folder.predictions, run.folder.sample) if path.exists()]
    stats = [(file.st_size, file.st_mtime_ns) for file in files]
    versions = [importlib.metadata.version(name) for name in PACKAGES]
    dependencies = (settings.neurons, run.data.name, run.data.classes, stats, versions)
    digest = hashlib.sha256(repr(dependencies).encode())
    package = Path(keras_inat.__file__).parent
    for path in sorted(path for pattern in CODE for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _shorten(error: Exception) -> str:
    """Returns the message of an error on one line of at most 300 characters, without its full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")
