"""Model files, `best.keras`: a model of Keras with a contract, which says what it takes and what it returns."""

import contextlib
import io
import json
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

from keras_inat.errors import UserError, shorten_error
from keras_inat.files import write_atomically
from keras_inat.machine import read_memory
from keras_inat.models.flattening import flatten_model, is_flat
from keras_inat.models.model_configs import build_from_config, check_config, measure_weights
from keras_inat.models.prediction import BATCH_SIZE
from keras_inat.models.weight_files import SPARE_BYTES, check_size, check_weights_apart
from keras_inat.store.contracts import ModelContract, read_contract
from keras_inat.store.model_archives import CONFIG, CONTRACT, WEIGHTS, open_archive, read_json
from keras_inat.store.records import DataSummary

# Keras 3.15 writes these settings of initializers, which no older version knows. Their value is None.
NEW_SETTINGS = ("input_axes", "output_axes")


def write_model(model: keras.Model, path: Path, contract: ModelContract) -> None:
    """Writes a model with its contract, whole or not at all. Keras 3.14 can read it, too."""
    with write_atomically(path) as temporary:
        original = temporary.with_name(f"{temporary.stem}-original{path.suffix}")
        try:
            model.save(original)
            _copy_members(original, temporary, contract)
        finally:
            original.unlink(missing_ok=True)


def write_temperature(path: Path, temperature: float | None) -> None:
    """Adds a temperature to the contract of a model file."""
    contract = read_contract(path).model_copy(update={"temperature": temperature})
    with write_atomically(path) as temporary:
        _copy_members(path, temporary, contract)


def _copy_members(original: Path, target: Path, contract: ModelContract) -> None:
    """Copies a model file, with another contract and without new settings."""
    with zipfile.ZipFile(original) as saved, zipfile.ZipFile(target, "w") as archive:
        for member in saved.infolist():
            if member.filename == "config.json":
                archive.writestr(member, json.dumps(_remove_new_settings(json.loads(saved.read(member)))))
            elif member.filename != CONTRACT:
                with saved.open(member) as source, archive.open(member, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(source, copy)
        archive.writestr(CONTRACT, contract.model_dump_json(indent=2))


def load_model(path: Path, data: DataSummary | ModelContract | None = None) -> keras.Model:
    """Loads a model for inference, which has to fit the images and classes of `data`.

    The file may come from a stranger. What it asks for is checked before it is built: its classes, its weights, which
    the file has to hold, and the outputs of its layers. Models inside the model are flattened.

    Raises:
        UserError: The file cannot be loaded, or it holds another model.
    """
    model = _load(path)
    if data is not None:
        size = data.image_size
        if model.input_shape[1:] != (size, size, 3) or model.output_shape[1:] != (len(data.classes),):
            source = "its contract" if isinstance(data, ModelContract) else "result.json"
            raise UserError(f"{path} is not the model that {source} describes: give another RUN")
    return model


def _load(path: Path) -> keras.Model:
    with open_archive(path) as archive:
        config = check_config(read_json(archive, CONFIG))
        needed = measure_weights(config, read_memory() // BATCH_SIZE)
        check_size(archive.getinfo(WEIGHTS).file_size, needed)
        weights = io.BytesIO(archive.read(WEIGHTS))
    try:
        held = check_weights_apart(weights)
        if needed > held + SPARE_BYTES:
            raise ValueError(f"its layers have {needed:,} bytes of weights, but it holds {held:,}")
        model = build_from_config(config)
        _restore_weights(model, weights)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("it has weights that are not finite numbers")
        if (len(model.inputs), len(model.outputs)) != (1, 1):
            raise ValueError(f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one of each")
        return model if is_flat(model) else flatten_model(model)
    except Exception as error:  # Keras raises many types of exception for a damaged archive
        raise UserError(f"{path} cannot be loaded: {shorten_error(error)}") from None


def _restore_weights(model: keras.Model, weights: io.BytesIO) -> None:
    """Loads weights into a model, as `keras.models.load_model` does after it has built a model by itself."""
    failures: dict[int, tuple[Any, Exception]] = {}
    # Keras warns of layers whose weights it does not find and leaves them at random.
    with contextlib.closing(saving_lib.H5IOStore(weights, mode="r")) as store, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        saving_lib._load_state(model, store, None, "", False, set(), set(), failures)
    for layer, error in failures.values():
        raise ValueError(f"the layer {layer.name!r}: {error}")


def _remove_new_settings(config: Any) -> Any:
    if isinstance(config, list):
        return [_remove_new_settings(value) for value in config]
    if not isinstance(config, dict):
        return config
    kept = {key: value for key, value in config.items() if key not in NEW_SETTINGS or value is not None}
    return {key: _remove_new_settings(value) for key, value in kept.items()}
