"""keras-inat: how well can a folder of photographs be classified?"""

import os

__version__ = "0.1.0"

# On CPUs without AVX-512 VNNI or the like TensorFlow leaves oneDNN's operations off, with which a step of the CNN takes
# little more than half the time. It reads this once, when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
