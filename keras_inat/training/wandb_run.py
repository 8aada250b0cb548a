"""The W&B run of a run. W&B's variables and files stand above the defaults here, and explicit settings above them."""

import contextlib
import importlib.util
import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from keras_inat.errors import UserError, describe_choices
from keras_inat.files import find_cache, read_text, remove, write_text
from keras_inat.log import warn
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.schema import Config, Scalar
from keras_inat.store.predictions import Predictions
from keras_inat.store.records import Epoch, Result
from keras_inat.store.runs import RunFolder

Mode = Literal["online", "offline", "shared", "disabled"]

PROJECT = "keras-inat"
# The entries in the summary of a W&B run: the best scores of its epochs. Panels compare runs by one of them.
BEST_SCORES = ("val_accuracy", "val_balanced_accuracy")
# The fields of an epoch that every tracker gets.
SCALARS = ("loss", "accuracy", "val_loss", *BEST_SCORES, "learning_rate")
# The values of WANDB_MODE, and the modes that they stand for.
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "shared": "shared",
    "disabled": "disabled",
}
YES = ("1", "true", "yes", "on")
# A server that does not answer within this time does not delay a training any longer.
PROBE_SECONDS = 5
INIT_SECONDS = 30
# W&B would wait without limit for a server that is gone. Its record stays on disk.
FINISH_SECONDS = 120


def is_installed(package: str) -> bool:
    """Returns True if a package can be imported."""
    return importlib.util.find_spec(package) is not None


def choose_wandb_mode(config: Config) -> Mode:
    """Returns the mode of W&B.

    With `tracking.wandb`=auto, the variables WANDB_MODE and WANDB_DISABLED decide, then W&B's own settings files, such
    as `wandb offline` writes them. Without any, W&B is online if a user is logged in, and offline otherwise.

    Raises:
        UserError: WANDB_MODE has an unknown value.
    """
    if config.tracking.wandb != "auto":
        return config.tracking.wandb
    if mode := read_mode_variable():
        return mode
    try:
        given = read_wandb_settings()
        if "mode" in given.model_fields_set:
            return MODES[given.mode]
        return "online" if _is_logged_in(given) else "offline"
    except Exception:  # a broken login is no login, and another version of W&B may not have these names
        return "offline"


def read_mode_variable() -> Mode | None:
    """Returns the mode that the variables WANDB_MODE and WANDB_DISABLED give; None if there is none.

    Raises:
        UserError: WANDB_MODE has an unknown value.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in YES:
        return "disabled"
    mode = os.environ.get("WANDB_MODE")
    if mode and mode not in MODES:
        raise UserError(f"the variable WANDB_MODE {describe_choices(mode, MODES)}")
    return MODES[mode] if mode else None


def read_wandb_settings() -> Any:
    """Returns W&B's `Settings`. Its `model_fields_set` has the names that a variable or a settings file gives."""
    _set_environment()
    import wandb

    given = wandb.setup().settings.model_copy()
    given.update_from_env_vars(dict(os.environ))  # a notebook may have changed them since W&B was set up
    return given


def name_project(config: Config) -> str:
    """Returns the W&B project: the setting, else WANDB_PROJECT, else the default."""
    return config.tracking.project or read_wandb_settings().project or PROJECT


def name_group(config: Config) -> str:
    """Returns the W&B group: WANDB_RUN_GROUP, else the name of the runs."""
    return read_wandb_settings().run_group or config.run.name


def open_wandb(config: Config, run: RunFolder, title: str, mode: Mode) -> Any:
    """Starts or resumes the W&B run of a run, with the same id, so that W&B resumes it as well.

    If the server cannot be reached or refuses, the record is offline, and `wandb sync` can send it later.
    """
    given = read_wandb_settings()
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    is_single = run.command != "sweep" and config.run.seeds == 1
    if not run.wandb_id.exists():  # several runs with one id would overwrite each other
        write_text(run.wandb_id, (is_single and given.run_id) or uuid.uuid4().hex[:12])
    defaults = {
        "run_group": config.run.name,
        "run_name": title,
        "run_job_type": run.command,
        "root_dir": str(run.path.absolute()),  # its service may run in another folder
        "resume": "allow",
        "console": "off",
        "silent": True,
        "init_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "x_disable_stats": True,
        "disable_git": True,
        # Both hold the user, the host, the program's place and the words of its command line.
        "x_disable_meta": True,
        "x_disable_machine_info": True,
    }
    known = type(given).model_fields  # an older W&B has no `finish_timeout`
    values = {name: value for name, value in defaults.items() if name in known and name not in given.model_fields_set}
    variables = wandb.Settings()
    variables.update_from_env_vars(dict(os.environ))
    values |= {name: getattr(variables, name) for name in variables.model_fields_set}

    def init(mode: Mode) -> Any:
        return wandb.init(
            mode=mode,
            project=name_project(config),
            id=read_text(run.wandb_id),
            config={name_setting(name): value for name, value in select_tracked(config).items()},
            reinit="create_new",  # several runs of a cluster are tracked by one process
            settings=wandb.Settings(**values),
        )

    if mode != "offline":
        try:
            check_server(given)
            return init(mode)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
        wandb.teardown()  # otherwise the id of the run stays in use
    # The incomplete record of a killed process, or of the attempt above, is written anew.
    remove(run.wandb)
    tracked = init("offline")
    if mode != "offline":
        warn(
            f"W&B at {given.base_url} cannot be used ({reason}): this run is recorded offline. To send it later: "
            f"wandb sync {tracked.settings.sync_dir}"
        )
    return tracked


def track_epochs(run: RunFolder, tracked: Any) -> Callable[[Epoch], None]:
    """Returns a function that writes an epoch, and the best scores so far, in the form of W&B's Keras callback."""
    tracked.define_metric("epoch/epoch")
    tracked.define_metric("epoch/*", step_metric="epoch/epoch")
    earlier = run.read_epochs()
    best = {name: max((getattr(epoch, name) for epoch in earlier), default=0.0) for name in BEST_SCORES}

    def write(epoch: Epoch) -> None:
        scalars = {f"epoch/{name}": getattr(epoch, name) for name in SCALARS}
        tracked.log(scalars | {"epoch/epoch": epoch.epoch - 1})  # Keras counts from zero
        for name in BEST_SCORES:
            best[name] = max(best[name], getattr(epoch, name))
            tracked.summary[name] = best[name]

    if tracked.offline:  # the server has the earlier epochs of an online run
        for epoch in earlier:
            write(epoch)
    return write


def list_test_scores(result: Result) -> dict[str, float]:
    """Returns the scores on the test images by the names that trackers show."""
    scores = result.test_scores
    low, high = scores.interval
    return {
        "test_accuracy": scores.accuracy,
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_balanced_accuracy": scores.balanced_accuracy,
    }


def write_evaluation(tracked: Any, run: RunFolder, result: Result) -> None:
    """Writes the scores on the test images. With `tracking.artifacts`, also the predictions and the model.

    The table of predictions has a row for each test image, and a picture for those that the report shows.
    """
    for name, score in list_test_scores(result).items():
        tracked.summary[name] = score
    if result.config.tracking.artifacts:
        with _keep_files_in(run.wandb.absolute()):
            _write_artifacts(tracked, run, result)


def _write_artifacts(tracked: Any, run: RunFolder, result: Result) -> None:
    import wandb

    if predictions := Predictions.read(run.predictions):
        rows = tabulate_predictions(predictions, result.data.classes)
        pictures = map_pictures(predictions)
        table = wandb.Table(columns=["image", *rows[0]])
        for number, row in enumerate(rows):
            pixels = pictures.get(number)
            table.add_data(None if pixels is None else wandb.Image(pixels), *row.values())
        tracked.log({"test_predictions": table})
    metadata = {"classes": list(result.data.classes), "test_accuracy": result.test_scores.accuracy}
    model = wandb.Artifact(run.path.name, type="model", metadata=metadata)
    # The file does not change any more, so W&B needs no copy of it.
    model.add_file(str(run.model.absolute()), name=run.model.name, policy="immutable", skip_cache=True)
    tracked.log_artifact(model)


@contextlib.contextmanager
def _keep_files_in(folder: Path) -> Iterator[None]:
    """Lets W&B keep files that it has not sent yet in `folder`. By default, it fills the home folder."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def close_wandb(tracked: Any, succeeded: bool) -> None:
    """Ends the W&B run and sends the rest of it.

    Raises:
        TimeoutError: The server does not answer any more.
    """
    try:
        tracked.finish(exit_code=0 if succeeded else 1)
    except TimeoutError:
        place = tracked.settings.sync_dir
        raise TimeoutError(f"no answer within {FINISH_SECONDS} s. To send it later: wandb sync {place}") from None


def tabulate_predictions(predictions: Predictions, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns a row for each test image: its file, class, predicted class, the confidence, and True if correct."""
    return [
        {
            "file": str(file),
            "class": classes[label],
            "predicted": classes[predicted],
            "confidence": float(probabilities[predicted]),
            "correct": bool(label == predicted),
        }
        for file, label, predicted, probabilities in zip(
            predictions.files, predictions.labels, predictions.predicted, predictions.probabilities, strict=True
        )
    ]


def map_pictures(predictions: Predictions) -> dict[int, Any]:
    """Returns the pixels `(size, size, 3)` uint8 of the test images that have a picture, by row."""
    examples = zip(predictions.examples.tolist(), predictions.pixels, strict=True)
    errors = zip(predictions.errors.tolist(), predictions.error_pixels, strict=True)
    return dict([*examples, *errors])


def select_tracked(config: Config) -> dict[str, Scalar]:
    """Returns the settings that identify a run by dotted name, as scalars."""
    settings = select(config, roles.TRACKED)
    return {name: value if isinstance(value, Scalar) else str(value) for name, value in settings.items()}


def name_setting(name: str) -> str:
    """Returns the name of a setting in W&B, where a dot would mean nesting."""
    return name.replace(".", "_")


def _set_environment() -> None:
    """Removes empty variables of W&B, which it would refuse, and sets those that the user did not set.

    It prints nothing, sends no reports of its errors, and keeps its cache in a folder that can be written.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
        del os.environ[name]
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    cache = find_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if "WANDB_CACHE_DIR" not in os.environ and not os.access(existing, os.W_OK):
        os.environ["WANDB_CACHE_DIR"] = tempfile.mkdtemp(prefix="wandb-")  # it would print its own log instead


def _is_logged_in(given: Any) -> bool:
    from wandb.sdk.lib.wbauth import read_netrc_auth

    return bool(given.api_key or given.identity_token_file or read_netrc_auth(host=given.base_url))


def check_server(given: Any) -> None:
    """Raises a `ConnectionError` if the server does not answer. W&B itself would retry until its time is over."""
    import requests

    proxies = {"http": given.http_proxy, "https": given.https_proxy}
    try:
        answer = requests.head(
            given.base_url,
            timeout=PROBE_SECONDS,
            proxies={scheme: proxy for scheme, proxy in proxies.items() if proxy},
            verify=not given.insecure_disable_ssl,
        )
    except requests.exceptions.SSLError:  # W&B finds certificates in another way
        return
    except requests.exceptions.Timeout:
        raise ConnectionError(f"no answer within {PROBE_SECONDS} s") from None
    except requests.exceptions.RequestException:
        raise ConnectionError("no connection") from None
    if answer.status_code >= 500:
        raise ConnectionError(f"it answers {answer.status_code}")
