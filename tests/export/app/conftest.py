"""ONNX Runtime for browsers, from npm."""

import pytest

from keras_inat.errors import UserError
from keras_inat.export.app.runtime import read_runtime


@pytest.fixture(scope="session")
def runtime() -> tuple[str, bytes]:
    try:
        return read_runtime(None)
    except UserError as error:
        pytest.skip(str(error))
