"""All activations of every backbone are guided. `make test` covers some backbones, `make test-all` covers all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inat.explain.guided_backpropagation import explain_predictions
from keras_inat.explain.networks import find_activations
from keras_inat.models.backbones import BACKBONES
from keras_inat.models.pretrained import build_finetune
from keras_inat.settings.networks import Finetune

# One of each kind: activations in a nested model, gates in layers of their own, arguments of convolutions.
QUICK = ("ConvNeXtTiny", "MobileNetV3Small", "VGG16")
# Operations of activations in a TensorFlow graph. GELU is an error function or its complement, hard sigmoid a ReLU6.
OPERATIONS = {"Relu", "Relu6", "Sigmoid", "Erf", "Erfc"}
CHOICES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in BACKBONES]


def _count_in_graph(model: keras.Model) -> int:
    signature = tf.TensorSpec((1, *model.input_shape[1:]))
    graph = tf.function(lambda batch: model(batch, training=False)).get_concrete_function(signature).graph
    functions = [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
    return sum(operation.type in OPERATIONS for part in (graph, *functions) for operation in part.get_operations())


@pytest.mark.parametrize("name", CHOICES)
def test_all_activations_are_guided(name):
    keras.utils.set_random_seed(0)
    side = BACKBONES[name].min_size
    model = build_finetune(Finetune(backbone=name, weights="none"), side, 3)
    found = find_activations(model)
    assert len({id(layer) for layer in found}) == len(found) == _count_in_graph(model)
    if name in QUICK[1:]:
        images = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)
        before = model.get_weights()
        outputs = model(images).numpy()
        assert np.isfinite(explain_predictions(model, images)).all()
        np.testing.assert_array_equal(model(images).numpy(), outputs)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    keras.backend.clear_session()
