"""The verbs of the command line as functions. They print the same progress, and keep the same files on disk."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_inat.api.classifier import Classifier
from keras_inat.api.history import Page, Run, Runs, Sweep
from keras_inat.api.images import Images, place_images
from keras_inat.commands.dispatch import run_command
from keras_inat.errors import UserError
from keras_inat.files import suggest_path
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, find_newest, list_runs, open_finished
from keras_inat.store.suspects import SuspectRun

Settings = Mapping[str, Any]


def sweep(
    data: Images = None,
    *,
    trials: int | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    name: str | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> Sweep:
    """Searches the hyperparameters of the CNN. A second call with the same name resumes.

    Args:
        data: A folder, an archive, "demo", arrays or a `tf.data.Dataset`; see `keras_inat.api.images`.
        trials: The total number of trials.
        workers: Trials at a time.
        cluster: A Ray cluster that trains the trials: "auto", "local" or an address; by default this machine trains.
        name: The name of the sweep.
        config: The name of a recipe or the path of a YAML file; by default the recipe "sweep".
        settings: Other settings by dotted name, such as `{"data.image_size": 128}`.

    Raises:
        UserError: An argument or the images cannot be used.
    """
    given = {"DATA": data, "TRIALS": trials, "WORKERS": workers, "CLUSTER": cluster, "NAME": name, "CONFIG": config}
    return Sweep(_run("sweep", given, settings))


def train(
    data: Images = None,
    *,
    sweep: "str | Sweep | None" = None,
    seeds: int | None = None,
    cluster: str | None = None,
    name: str | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> Runs:
    """Trains from scratch, and evaluates each seed once on the test images.

    A finished run with the same settings is not trained again.

    Args:
        data: The images, as for `sweep`; by default those of the sweep.
        sweep: The sweep whose best configuration is trained; by default the newest one.
        seeds: The number of runs, with different seeds.
        cluster: A Ray cluster that trains the runs, as for `sweep`.
        name: The name of the runs.
        config: A recipe such as "scratch", or the path of a YAML file, in place of a sweep.
        settings: Other settings by dotted name.

    Raises:
        UserError: An argument or the images cannot be used.
    """
    chosen = sweep.name if isinstance(sweep, Sweep) else sweep
    given = {"DATA": data, "SWEEP": chosen, "SEEDS": seeds, "CLUSTER": cluster, "NAME": name, "CONFIG": config}
    return _open_runs(_run("train-best", given, settings))


def finetune(
    data: Images = None,
    *,
    strategy: str | None = None,
    backbone: str | None = None,
    weights: "str | os.PathLike[str] | Run | None" = None,
    unfreeze: int | float | str | None = None,
    seeds: int | None = None,
    cluster: str | None = None,
    name: str | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> Runs:
    """Fine-tunes a pretrained backbone, and evaluates each seed once on the test images.

    Args:
        data: The images, as for `sweep`.
        strategy: "head", "topk", "full", "gradual", "lpft", or "all" for each of them.
        backbone: The name of a model of `keras.applications`.
        weights: "imagenet", "none", an `.h5` file, or a run whose model becomes the backbone, for images of its size.
        unfreeze: For "topk", the trainable layers: a number of layers, a fraction, or the name of a block.
        seeds: The number of runs, with different seeds.
        cluster: A Ray cluster that trains the runs, as for `sweep`.
        name: The name of the runs.
        config: The name of a recipe or the path of a YAML file; by default the recipe "finetune".
        settings: Other settings by dotted name.

    Raises:
        UserError: An argument, the weights or the images cannot be used.
    """
    if isinstance(weights, Run):
        data_of_weights = weights.result.data
        fitting = {"data.image_size": data_of_weights.image_size, "data.fit": data_of_weights.fit}
        settings = fitting | dict(settings or {})
        weights = weights.model_path
    given = {
        "DATA": data,
        "STRATEGY": strategy,
        "BACKBONE": backbone,
        "WEIGHTS": weights,
        "UNFREEZE": unfreeze,
        "SEEDS": seeds,
        "CLUSTER": cluster,
        "NAME": name,
        "CONFIG": config,
    }
    return _open_runs(_run("finetune", given, settings))


def suspects(
    data: Images = None,
    *,
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    name: str | None = None,
    config: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> SuspectRun:
    """Lists the training and validation images whose labels are probably wrong. The test images are not read.

    The table that the returned run names is for the setting `data.exclude`, after a check by eye.

    Args:
        data: The images, as for `sweep`.
        backbone: The name of a model of `keras.applications`.
        weights: "imagenet", an `.h5` file, or "none" to train the CNN on each fold.
        name: The name of the run.
        config: The name of a recipe or the path of a YAML file; by default the recipe "finetune".
        settings: Other settings by dotted name.

    Raises:
        UserError: An argument, the weights or the images cannot be used.
    """
    given = {"DATA": data, "BACKBONE": backbone, "WEIGHTS": weights, "NAME": name, "CONFIG": config}
    return _run("suspects", given, settings)


def results(directory: str | os.PathLike[str] = "runs") -> Runs:
    """Returns the finished runs in a folder of runs, the oldest first."""
    return _open_runs(list_runs(Path(directory).expanduser()))


def load(run: "str | os.PathLike[str] | Run | None" = None, directory: str | os.PathLike[str] = "runs") -> Classifier:
    """Loads the model of a run.

    Args:
        run: A run, its folder, or a file `best.keras` that was copied elsewhere; by default the newest run in
            `directory` that has a model.
        directory: The folder of runs.

    Raises:
        UserError: There is no such run, or its model cannot be loaded.
    """
    if isinstance(run, Run):
        return run.load()
    if run is not None:
        path = Path(run).expanduser()
        if path.is_file():
            return Classifier(path)
        found = open_finished(path)
        if found is None:
            raise UserError(
                "run must be the folder of a finished run, with best.keras and result.json. "
                f"Received: {str(run)!r}.{suggest_path(path)}"
            )
        return Run(*found).load()
    newest = find_newest(Path(directory).expanduser())
    if newest is None:
        raise UserError(f"there is no finished run with a model in {str(directory)!r}: call train or finetune first")
    return Run(*newest).load()


def report(
    directory: str | os.PathLike[str] = "runs",
    *,
    compare: "list[str | os.PathLike[str] | Run] | None" = None,
    settings: Settings | None = None,
) -> Page:
    """Writes the report of a folder of runs. The returned page shows itself in a notebook.

    Args:
        directory: The folder of runs.
        compare: Runs, or their names or folders, for a chapter that compares them.
        settings: Other settings by dotted name, such as `{"report.directory": "page"}`.
    """
    names = [str(run.path) if isinstance(run, Run) else os.fspath(run) for run in compare or []]
    chosen = {"run.directory": os.fspath(directory)} | dict(settings or {})
    return Page(*_run("report", {"RUNS": " ".join(names) or None}, chosen))


def _open_runs(folders: Sequence[RunFolder]) -> Runs:
    return Runs([Run(folder, result) for folder in folders if (result := folder.read_result())])


def _run(command: str, given: Mapping[str, Any], settings: Settings | None) -> Any:
    """Runs a command with the given variables, of which None is skipped, and with settings by dotted name."""
    words = [f"{name}={json.dumps(_as_text(value))}" for name, value in (settings or {}).items()]
    directory = str(_as_text((settings or {}).get("data.directory", Config().data.directory)))
    for name, value in given.items():
        if value is not None:
            words.append(f"{name}={place_images(value, directory) if name == 'DATA' else _as_text(value)}")
    return run_command(command, words)


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
