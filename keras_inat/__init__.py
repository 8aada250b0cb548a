"""keras-inat measures how well a folder of photographs can be classified."""

import os

__version__ = "0.1.0"

# TensorFlow switches oneDNN off on CPUs without AVX-512 VNNI, where a step of the CNN then takes almost twice as long.
# It reads this variable once, when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
