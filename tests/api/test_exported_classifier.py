"""A loaded run with an export: its predictions need no Keras model."""

import numpy as np
from PIL import Image

import keras_inat
from keras_inat.store.calibration import scale_probabilities


def test_the_export_predicts_for_the_api(workplace, write_exported_run):
    """There is no Keras model that could."""
    path = workplace / "runs/train-best/20260101-000000-tiny"
    compute = write_exported_run(path, temperature=1.5)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    model = keras_inat.load(path)
    raw = compute(pixels)[0]
    np.testing.assert_allclose(model.predict(pixels, calibrated=False).probabilities, raw, atol=1e-6)
    np.testing.assert_allclose(model.predict(pixels).probabilities, scale_probabilities(raw, 1.5), atol=1e-6)
    image = Image.fromarray(pixels[0])
    twice = model.predict([image, image])
    assert [prediction.file for prediction in twice] == ["image 0", "image 1"]
    assert twice[0].probabilities == twice[1].probabilities
    np.testing.assert_array_equal(twice[0].pixels, pixels[0])
