import shutil

import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.errors import UserError
from keras_inat.export import calibration
from keras_inat.export.calibration import read_calibration_images


@pytest.fixture
def result(make_config, build_result):
    config = make_config()
    data = open_data(config)
    return build_result().model_copy(update={"config": config, "data": data.summary})


def test_the_images_are_training_images_drawn_with_a_fixed_seed(result, monkeypatch):
    data = open_data(result.config)
    images, description = read_calibration_images(result)
    assert description == f"{len(data.training_rows)} training images, drawn with seed 0"
    np.testing.assert_array_equal(images, data.images[np.sort(data.training_rows)])
    monkeypatch.setattr(calibration, "NUM_IMAGES", 5)
    images, description = read_calibration_images(result)
    assert description == "5 training images, drawn with seed 0"
    training = {image.tobytes() for image in data.images[data.training_rows]}
    assert len(images) == 5
    assert all(image.tobytes() in training for image in images)
    np.testing.assert_array_equal(images, read_calibration_images(result)[0])


def test_images_that_are_gone_or_others_are_refused(result, photos):
    moved = result.model_copy(update={"data": result.data.model_copy(update={"hash": "other"})})
    with pytest.raises(UserError, match="has other images now: restore them"):
        read_calibration_images(moved)
    shutil.rmtree(photos)
    with pytest.raises(UserError, match=r"calibrated on the training images of the run, give them as data\.source="):
        read_calibration_images(result)
