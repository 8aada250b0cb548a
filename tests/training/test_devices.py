import os
import platform
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from keras_inat.store.runs import create_run
from keras_inat.training import devices
from keras_inat.training.devices import choose_precision, use_precision
from keras_inat.training.session import fit

# Loads the part of TensorFlow that answers, because all of TensorFlow takes seconds.
HAS_ONEDNN = """
import importlib.util
import keras_inat
package = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("_pywrap_util_port", f"{package}/python/util/_pywrap_util_port.so")
port = importlib.util.module_from_spec(spec)
spec.loader.exec_module(port)
print(port.IsMklEnabled())
"""

# Trains on two logical CPUs in place of GPUs.
TWO_DEVICES = """
import sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_inat.settings.loading import load_config
from keras_inat.store.runs import create_run
from keras_inat.training import devices, session
devices.list_gpus = lambda: [device.name for device in tf.config.list_logical_devices("CPU")]
runs = []
# In one process, like the stages and the seeds of a command.
for changes in ([], ["model.filters=6", "training.optimizer=muon", "training.schedule=cosine", "training.warmup=0.5"],
                ["finetune.strategy=head", "finetune.weights={0}/best.keras"], ["training.learning_rate=1e30"]):
    config = load_config([*sys.argv[1:], *(change.format(*runs) for change in changes)])
    run = create_run(config, "train-best", str(len(runs)))
    try:
        session.fit(config, run)
    except FloatingPointError as error:
        print(error)
    runs.append(run.path)
print(*runs)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="TensorFlow has oneDNN on Linux and x86-64 only"
)
@pytest.mark.parametrize(("given", "expected"), [(None, True), ("0", False)])
def test_a_cpu_computes_with_onednn_unless_the_environment_disables_it(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    out = subprocess.run(
        [sys.executable, "-c", HAS_ONEDNN],
        env=environment | ({"TF_ENABLE_ONEDNN_OPTS": given} if given else {}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == str(expected)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([], "float32"),
        ([(6, 1)], "float32"),
        ([(7, 5)], "mixed_float16"),
        ([(9, 0), (8, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 0)], "mixed_float16"),
        ([None], "float32"),
    ],
)
def test_precision_depends_on_the_lowest_compute_capability(monkeypatch, capabilities, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: range(len(capabilities)))
    details = [{"compute_capability": capability} if capability else {} for capability in capabilities]
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda index: details[index])
    assert choose_precision() == expected


@pytest.mark.parametrize(
    ("names", "count", "expected"),
    [
        (["NVIDIA H200"], None, "NVIDIA H200"),
        (["NVIDIA H200"] * 3, None, "3 x NVIDIA H200"),
        (["NVIDIA H200"] * 3, 2, "2 x NVIDIA H200"),
        (["NVIDIA H200", "Tesla T4"], None, "NVIDIA H200, Tesla T4"),
        ([None], 1, "GPU"),
    ],
)
def test_the_devices_in_words(monkeypatch, names, count, expected):
    monkeypatch.setattr(devices, "has_accelerator", lambda: True)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: names)
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda name: {"device_name": name} if name else {}
    )
    assert devices.describe_devices(count) == expected


def test_a_cpu_in_words(monkeypatch):
    monkeypatch.setattr(devices, "list_cores", lambda: [0, 3])
    assert devices.describe_devices(1) == "CPU, 2 cores"


def test_precision_applies_to_the_layers_built_in_its_context():
    with use_precision("mixed_bfloat16"):
        dense = keras.layers.Dense(2)
    assert (dense.compute_dtype, dense.variable_dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_training_in_mixed_precision(make_config, precision):
    config = make_config(f"training.precision={precision}", "training.epochs=2", "training.ema=0.9")
    trained = fit(config, create_run(config, "train-best"))
    assert trained.result.precision == precision
    assert trained.model.get_layer("block1_conv").compute_dtype == precision.removeprefix("mixed_")
    assert {weight.dtype for weight in trained.model.weights} == {"float32"}
    assert trained.model.output.dtype == "float32"


def test_several_steps_per_execution_give_the_same_training(make_config):
    def train(steps):
        config = make_config("training.epochs=3", f"training.steps_per_execution={steps}", "training.batch_size=4")
        run = create_run(config, "train-best")
        return fit(config, run).model.get_weights(), [epoch.loss for epoch in run.read_epochs()]

    one, expected = train(1)
    three, losses = train(4)  # an epoch has 6 steps, so an execution has 3
    assert losses == pytest.approx(expected, rel=1e-5)
    for a, b in zip(three, one, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)


def test_several_devices_give_the_same_training_as_one(make_config, photos):
    settings = [
        *(f"DATA={photos}", "data.image_size=16", "model.num_blocks=1", "model.filters=4", "model.dense_units=8"),
        *("model.batch_norm=false", "data.val_fraction=0.3"),  # 9 validation images: the last batch has one image
        *("training.epochs=2", "training.batch_size=8", "training.ema=0.5", "tracking.wandb=disabled"),
        *("tracking.tensorboard=false", "training.optimizer=sgd"),
    ]
    script = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *settings], capture_output=True, text=True, timeout=300, check=False
    )
    assert script.returncode == 0, script.stderr[-2000:]
    from keras_inat.settings.loading import load_config, override
    from keras_inat.store.runs import RunFolder

    *_, exploding_loss, paths = script.stdout.splitlines()
    shared, scheduled, head, _ = (RunFolder(type(photos)(path), "train-best") for path in paths.split())
    config = load_config(settings)
    alone = create_run(config, "train-best")
    fit(config, alone)
    for epoch, expected in zip(shared.read_epochs(), alone.read_epochs(), strict=True):
        assert epoch.loss == pytest.approx(expected.loss, rel=1e-4)
        assert epoch.val_loss == pytest.approx(expected.val_loss, rel=1e-4)
    assert [len(run.read_epochs()) for run in (scheduled, head)] == [2, 2]
    with pytest.raises(FloatingPointError) as error:
        fit(override(config, {"training.learning_rate": 1e30}), create_run(config, "train-best"))
    assert exploding_loss == str(error.value)


@pytest.mark.parametrize(("gpus", "batch_size", "expected"), [(0, 8, 1), (1, 8, 1), (2, 8, 2), (2, 9, 1), (4, 6, 3)])
def test_the_number_of_devices_divides_the_batch(gpus, batch_size, expected, monkeypatch):
    monkeypatch.setattr(devices, "list_gpus", lambda: [f"/gpu:{index}" for index in range(gpus)])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda chosen: chosen)
    chosen = devices.choose_strategy(batch_size)
    assert (len(chosen) if isinstance(chosen, list) else chosen.num_replicas_in_sync) == expected


def test_this_machine_has_no_gpu():
    assert devices.list_gpus() == []
