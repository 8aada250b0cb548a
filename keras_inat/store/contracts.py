"""The contract of a model, stored in its file `best.keras`. A copy of the file takes it along."""

import zipfile
from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.store.records import Preparation, Stored

MEMBER = "keras_inat.json"  # of the archive, beside Keras's own members, which Keras does not mind


class ModelContract(Stored):
    """The input and the output of a model, stored in its file."""

    classes: tuple[str, ...]  # the class of each output, in order
    image_size: int  # side in pixels of the input images
    # The contract of the pixels: `(batch, image_size, image_size, 3)`.
    input: str = "RGB from 0 to 255"
    preparation: Preparation = Preparation()  # the conversion of an image file to these pixels
    output: str = "probabilities, (batch, classes)"
    # Calibrated probabilities are softmax(log(probabilities) / temperature); None: not fitted.
    temperature: float | None = None
    keras: str  # the version of Keras that wrote the file
    keras_inat: str  # the version of this program


def read_contract(path: Path) -> ModelContract:
    """Reads the contract of a model file.

    Raises:
        UserError: The file is missing or damaged, or it was not written by keras-inat.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return ModelContract.model_validate_json(archive.read(MEMBER))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        raise UserError(f"{path} is not a model that keras-inat has saved") from None
