"""Model files, `best.keras`: a model of Keras with a contract, which says what it takes and what it returns."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras

from keras_inat.errors import UserError
from keras_inat.files import write_atomically
from keras_inat.store.contracts import MEMBER, ModelContract, read_contract
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
            elif member.filename != MEMBER:
                with saved.open(member) as source, archive.open(member, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(source, copy)
        archive.writestr(MEMBER, contract.model_dump_json(indent=2))


def load_model(path: Path, data: DataSummary | None = None) -> keras.Model:
    """Loads a model for inference, which has to fit the images and classes of `data`.

    Raises:
        UserError: The file cannot be loaded, or it holds another model.
    """
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types of exception for a damaged archive.
        # Keras advises to load a layer with code of its own in another mode, which nothing here does.
        reason = " ".join(str(error).split()).partition(" If you trust ")[0]
        raise UserError(f"{path} cannot be loaded: {reason[:200]}") from None
    if data is not None:
        size = data.image_size
        if model.input_shape[1:] != (size, size, 3) or model.output_shape[1:] != (len(data.classes),):
            raise UserError(f"{path} is not the model that result.json describes: give another RUN")
    return model


def _remove_new_settings(config: Any) -> Any:
    if isinstance(config, list):
        return [_remove_new_settings(value) for value in config]
    if not isinstance(config, dict):
        return config
    kept = {key: value for key, value in config.items() if key not in NEW_SETTINGS or value is not None}
    return {key: _remove_new_settings(value) for key, value in kept.items()}
