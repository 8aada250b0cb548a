"""Filters and attribution: the explanations of a trained model, which are cached in the folder of its run."""

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

import keras_inat
from keras_inat.errors import is_out_of_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.report.blocks import Block, Prose
from keras_inat.report.figure_folder import FigureFolder
from keras_inat.report.sections import attribution, filters
from keras_inat.report.sections.explained_model import ExplainedModel
from keras_inat.report.seed_groups import FinishedRun
from keras_inat.settings.schema import Report
from keras_inat.store.predictions import Predictions, ValidationSample

TITLE = "Filters and attribution"
MAX_ERROR = 300  # characters
# The code that the explanations depend on. A change of it makes the cached ones outdated.
CODE = (
    "explain/*.py", "models/*.py", "intervals.py", "plotting.py", "report/charts/explanations.py",
    "report/charts/images.py", "report/formatting.py", "report/statistics/*.py", "report/sections/attribution.py",
    "report/sections/filters.py", "report/sections/filters_and_attribution.py",
)  # fmt: skip
PACKAGES = ("keras", "tf-keras-vis", "matplotlib")
Explanation = Callable[[ExplainedModel], Iterator[Block]]


def describe_filters_and_attribution(
    run: FinishedRun, predictions: Predictions, figures: FigureFolder, settings: Report
) -> list[Block]:
    """Explains the model of a run. A sentence replaces an explanation that cannot be made.

    The explanations take a minute. They are cached in the folder of the run if all of them could be made, and stay
    valid until something that they depend on changes.
    """
    if not run.folder.model.exists():
        return [Prose(f"`{run.title}/best.keras` is not on disk, so the model is not explained.")]
    cache = run.folder.path / "pictures" / _hash_dependencies(run, settings)
    blocks = figures.read_cache(cache)
    if blocks is None:
        print(f"explaining the model of {run.folder.path}", flush=True)
        blocks, is_complete = explain_model(run, predictions, figures, settings)
        if is_complete:
            figures.cache(cache, blocks)
    return blocks


def explain_model(
    run: FinishedRun, predictions: Predictions, figures: FigureFolder, settings: Report
) -> tuple[list[Block], bool]:
    """Returns the explanations of a model, and whether all of them could be made."""
    # Keras takes seconds to import, and a page without models does not need it.
    with hide_startup_messages():
        import keras
    try:
        model = keras.models.load_model(run.folder.model, compile=False)
    except Exception as error:  # Keras raises many types for a damaged archive or one of another version
        return [Prose(f"The model could not be opened: {_shorten(error)}.")], False
    sample = run.read_sample()
    explained = ExplainedModel(
        run=run,
        model=model,
        predictions=predictions,
        sample=sample or ValidationSample(predictions.pixels[:0], predictions.labels[:0]),
        figures=figures,
        settings=settings,
    )
    blocks = list[Block]()
    is_complete = sample is not None
    for explanation in _list_explanations(sample):
        try:
            blocks += explanation(explained)
        except Exception as error:
            # The network has no filters, for example, or it is too large for this machine.
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            is_complete = False
            blocks.append(Prose(f"Not available for this network: {_shorten(error)}."))
    if sample is None:
        blocks.append(
            Prose("The run has no sample of validation images, so top activating patches and neurons are not shown.")
        )
    return blocks, is_complete


def _list_explanations(sample: ValidationSample | None) -> list[Explanation]:
    """Returns the explanations, in the order of the page. Without a sample these are the ones that need none."""
    if sample is None:
        return [filters.show_first_layer_filters, filters.show_feature_maps, attribution.show_guided_predictions]
    return [
        filters.show_first_layer_filters,
        filters.show_feature_maps,
        filters.show_top_patches,
        filters.show_neurons,
        attribution.show_guided_predictions,
        attribution.show_attributions,
    ]


def _hash_dependencies(run: FinishedRun, settings: Report) -> str:
    """Returns a hash of everything that the explanations depend on: files of the run, settings and code."""
    package = Path(keras_inat.__file__).parent
    code = sorted(path for pattern in CODE for path in package.glob(pattern))
    stats = [path.stat() for path in (run.folder.model, run.folder.predictions, run.folder.sample) if path.exists()]
    dependencies = (
        settings.filter_order,
        settings.neurons,
        run.data.name,
        run.data.classes,
        [(stat.st_size, stat.st_mtime_ns) for stat in stats],
        [importlib.metadata.version(name) for name in PACKAGES],
    )
    digest = hashlib.sha256(repr(dependencies).encode())
    for path in code:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _shorten(error: Exception) -> str:
    """Returns the message of an error on one line, without its full stop."""
    return " ".join(str(error).split())[:MAX_ERROR].rstrip(".")
