"""The contract of a model, stored in its file `best.keras`. A copy of the file takes it along."""

from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.store.model_archives import CONTRACT, open_archive, read_json
from keras_inat.store.records import Preparation, Stored


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
        with open_archive(path) as archive:
            return ModelContract.model_validate(read_json(archive, CONTRACT))
    except (OSError, UserError):
        raise UserError(f"{path} is not a model that keras-inat has saved") from None


def has_contract(path: Path) -> bool:
    """Returns True if keras-inat has saved a model file."""
    with open_archive(path) as archive:
        return CONTRACT in archive.namelist()
