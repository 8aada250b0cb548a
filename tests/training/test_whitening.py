import numpy as np
import pytest

from keras_inat.data.dataset import open_data
from keras_inat.errors import UserError
from keras_inat.store.runs import create_run
from keras_inat.training import session
from keras_inat.training.session import build_model, fit
from keras_inat.training.whitening import draw_patches, find_components, whiten_first_layer

CNN = ("model.first_layer=whitening", "model.kernel_size=3", "model.filters=8", "augment.crop=0.5", "augment.flip=true")


def whiten(config):
    data = open_data(config)
    model = build_model(config, len(data.classes))
    before = model.get_weights()
    whiten_first_layer(model, config, data)
    return data, model, before


def test_components_are_orthonormal_and_ordered_by_variance():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    patches = rng.normal(size=(50_000, 4)) * [1, 4, 2, 3] @ axes + 7
    found = find_components(patches)
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(found * axes[[1, 3, 2, 0]].T, axis=0)), 1, atol=1e-3)
    assert (found[np.abs(found).argmax(axis=0), np.arange(4)] > 0).all()


def test_filters_are_components_with_both_signs(make_config):
    config = make_config(*CNN)
    data, model, before = whiten(config)
    kernel = model.get_layer("block1_conv").kernel.numpy()
    filters = kernel.reshape(27, 8)
    np.testing.assert_allclose(filters[:, :4], -filters[:, 4:], rtol=1e-6)
    # The outputs for the patches are uncorrelated, and the norm is that of the random kernels.
    outputs = draw_patches(config, data, 3) @ filters[:, :4]
    correlations = np.corrcoef(outputs, rowvar=False) - np.eye(4)
    assert np.abs(correlations).max() < 1e-4
    norms = np.sqrt((before[0].reshape(27, 8) ** 2).sum(axis=0).mean())
    np.testing.assert_allclose(np.linalg.norm(filters, axis=0), norms, rtol=1e-5)
    for weight, other in zip(model.get_weights()[1:], before[1:], strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_component_is_a_patch_pattern_in_its_place(make_config, monkeypatch):
    # The kernel has the order of the pixels: rows, columns, colors.
    config = make_config(*CNN, "augment.crop=1", "augment.flip=false")
    data = open_data(config)
    patches = draw_patches(config, data, 3).reshape(-1, 3, 3, 3)
    pixels = np.concatenate([data.images[row].reshape(-1, 3) for row in data.training_rows]).astype(float)
    assert {tuple(pixel) for pixel in patches[:, 1, 1]} <= {tuple(pixel) for pixel in pixels}
    image = data.images[data.training_rows[0]]
    windows = {image[y : y + 3, x : x + 3].tobytes() for y in range(14) for x in range(14)}
    assert any(patch.astype(np.uint8).tobytes() in windows for patch in patches)


def test_more_filters_than_components_stay_random(make_config):
    _, model, before = whiten(make_config(*CNN, "model.kernel_size=1", "model.filters=9"))
    kernel = model.get_layer("block1_conv").kernel.numpy().reshape(3, 9)
    np.testing.assert_array_equal(kernel[:, 6:], before[0].reshape(3, 9)[:, 6:])
    np.testing.assert_allclose(kernel[:, :3], -kernel[:, 3:6])


def test_every_member_of_an_ensemble_is_whitened(make_config):
    _, model, _ = whiten(make_config(*CNN, "model.ensemble_size=2"))
    first, second = (model.get_layer(f"{prefix}block1_conv").kernel.numpy() for prefix in ("", "member2_"))
    np.testing.assert_allclose(first / np.linalg.norm(first), second / np.linalg.norm(second), atol=1e-6)


def test_a_training_begins_with_the_whitened_layer(make_config, monkeypatch):
    config = make_config(*CNN, "training.epochs=1", "training.learning_rate=1e-30", "training.precision=float32")
    expected = whiten(config)[1].get_layer("block1_conv").kernel.numpy()
    trained = fit(config, create_run(config, "train-best", "one"))
    # The random part depends on the seed of the session only through the norm.
    kernel = trained.model.get_layer("block1_conv").kernel.numpy()
    np.testing.assert_allclose(kernel / np.linalg.norm(kernel), expected / np.linalg.norm(expected), atol=1e-6)
    monkeypatch.setattr(session, "whiten_first_layer", lambda *arguments: pytest.fail("it is for random networks"))
    plain = make_config("training.epochs=1")
    fit(plain, create_run(plain, "train-best", "two"))


def test_a_kernel_larger_than_the_images_is_refused(make_config):
    with pytest.raises(UserError, match="needs training images of at least the kernel size, 17 pixels"):
        make_config("model.first_layer=whitening", "model.kernel_size=17")
