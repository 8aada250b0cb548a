"""Model files and weights from strangers: none is believed, executed, or given more memory than it should have."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import hostile_files
import keras
import pytest
from keras.src.legacy.saving import legacy_h5_format

# The most by which the largest memory of the process may grow, in MB, over all files. A declared size is hundreds of
# times as large, and so is what a compressed member or dataset becomes.
MAX_GROWTH = 200
# A process that is given an honest file and then the others. It writes the error of each, and its largest memory.
READER = """
import json, resource, sys
from pathlib import Path
from keras_inat.errors import UserError
from keras_inat.models.model_files import load_model
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.schema import Finetune

def finetune(file):
    build_finetune(Finetune(backbone="MobileNet", weights=str(file)), 16 if file.suffix == ".keras" else 32, 3)

said = []
for file in map(Path, json.loads(Path("files.json").read_text())):
    for action in (finetune, load_model) if file.suffix == ".keras" else (finetune,):
        try:
            action(file)
            error = None
        except UserError as refusal:
            error = str(refusal)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        said.append([str(file), action.__name__, error, memory])
Path("files.json").write_text(json.dumps(said))
"""


def test_hostile_files_are_refused_in_one_line_and_little_memory(workplace):
    keras.utils.set_random_seed(0)
    honest = workplace / "honest.keras"
    hostile_files.build_honest().save(honest)
    # The settings of the training of a model inside are not used. These would fill the memory.
    editor = hostile_files.Editor(honest)
    metric = {"class_name": "AUC", "module": "keras.metrics", "config": {"num_thresholds": 10**10}}
    editor.find("inner")["compile_config"] = {"optimizer": "adam", "loss": "mse", "metrics": [metric]}
    editor.members["config.json"] = json.dumps(editor.config).encode()
    editor.write(workplace / "metric.keras")
    narrow = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3))
    weights = [workplace / f"mobilenet_2_5_224_tf_no_top{suffix}" for suffix in (".h5", ".weights.h5")]
    with h5py.File(weights[0], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, narrow)
    narrow.save_weights(weights[1])
    accepted = [honest, workplace / "metric.keras", *weights]
    with pytest.warns(UserWarning, match="Duplicate name"):
        refused = list(hostile_files.write_hostile_models(honest, workplace))
    for path in weights:
        refused += hostile_files.write_hostile_weights(path, workplace)
    assert len(refused) > 95

    said = _read_files([*accepted, *refused])
    assert [error for _, _, error, _ in said[:6]] == [None] * 6  # a model is fine-tuned and loaded
    for file, action, error, _ in said[6:]:
        assert error, (file, action)
        assert file in error
        assert error.isprintable()
    assert said[-1][-1] - said[5][-1] < MAX_GROWTH, {file: memory for file, *_, memory in said}
    assert not Path("ran").exists()
    assert not (workplace.parent / "outside.txt").exists()


def _read_files(files):
    """Reads files in a process of its own. Returns the error of each, and its largest memory so far, in MB."""
    Path("files.json").write_text(json.dumps(list(map(str, files))))
    Path("reader.py").write_text(READER)
    subprocess.run([sys.executable, "reader.py"], check=True, timeout=300)
    return json.loads(Path("files.json").read_text())
