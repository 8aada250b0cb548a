import subprocess
import sys
from pathlib import Path

import keras_inat.data

CHECK = """
import ctypes, importlib, logging, sys, warnings
from unittest.mock import MagicMock

import cv2
from PIL import Image

set_error_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
set_error_handler.restype = ctypes.c_void_p


def read_error_handler():
    handler = set_error_handler(None)
    set_error_handler(ctypes.c_void_p(handler))
    return handler


def read_state():
    handler = read_error_handler()
    level = logging.getLogger("PIL").level
    filters = [entry for entry in warnings.filters if "PIL" in str(entry[3])]
    return Image.MAX_IMAGE_PIXELS, level, handler, cv2.getNumThreads(), filters


before = read_state()
import keras_inat.data.augment

assert not {"tensorflow", "keras"} & set(sys.modules)  # Decoding workers must start fast.
sys.modules["tensorflow"] = MagicMock()
for module in sys.argv[1:]:
    importlib.import_module(module)
after = read_state()
assert after == before, (before, after)

from keras_inat.data.decode import set_up_decoding

set_up_decoding()
*settings, filters = read_state()
assert settings == [None, logging.CRITICAL, None, 1]
assert len(filters) == 1
set_up_decoding()
assert read_state() == (*settings, filters)
"""


def test_importing_the_data_wing_changes_no_other_library():
    home = Path(keras_inat.data.__file__).parent
    modules = sorted(f"keras_inat.data.{path.stem}" for path in home.glob("[a-z]*.py"))
    assert len(modules) > 10
    subprocess.run([sys.executable, "-c", CHECK, *modules], check=True, cwd=home.parents[1])
