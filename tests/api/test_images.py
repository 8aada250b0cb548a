import numpy as np
import pytest
from PIL import Image

from keras_inat.api.images import place_images
from keras_inat.errors import UserError


def draw(count, value):
    return np.full((count, 12, 10, 3), value, np.uint8)


def read_tree(folder):
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path))[0, 0].tolist()
        for path in sorted(folder.rglob("*.png"))
    }


def test_a_path_is_itself(workplace):
    assert place_images("photos.zip", "data") == "photos.zip"
    assert place_images(workplace / "photos", "data") == str(workplace / "photos")
    assert list(workplace.iterdir()) == []


def test_a_fifth_of_each_class_becomes_the_test_images(workplace):
    images = np.concatenate([draw(10, 1), draw(5, 200)])
    folder = place_images((images, ["cat"] * 10 + ["dog"] * 5), "data")
    tree = read_tree(workplace / folder)
    assert sum(name.startswith("train/cat/") for name in tree) == 8
    assert sum(name.startswith("val/cat/") for name in tree) == 2
    assert sum(name.startswith("train/dog/") for name in tree) == 4
    assert sum(name.startswith("val/dog/") for name in tree) == 1
    assert all(pixel == ([1] * 3 if "/cat/" in name else [200] * 3) for name, pixel in tree.items())
    assert place_images((images, ["cat"] * 10 + ["dog"] * 5), "data") == folder
    assert place_images((images + 1, ["cat"] * 10 + ["dog"] * 5), "data") != folder


def test_given_test_images_are_the_test_images(workplace):
    data = {"train": (draw(2, 1), [0, 1]), "test": (draw(4, 9), [0, 0, 1, 1])}
    tree = read_tree(workplace / place_images(data, "data"))
    assert [name.rsplit("/", 1)[0] for name in tree] == ["train/0", "train/1", "val/0", "val/0", "val/1", "val/1"]


@pytest.mark.parametrize("batched", [True, False])
def test_a_tensorflow_dataset(workplace, batched):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((draw(6, 7).astype(np.float32), [b"a", b"b"] * 3))
    tree = read_tree(workplace / place_images(dataset.batch(4) if batched else dataset, "data"))
    assert len(tree) == 6
    assert set(map(tuple, tree.values())) == {(7, 7, 7)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (5, "Received: int"),
        ((draw(3, 1), [0, 1]), r"Received: \(3, 12, 10, 3\) and \(2,\)"),
        ((draw(2, 1) / 255, [0, 1]), "pixels must be from 0 to 255"),
        ((draw(2, 1) * np.nan, [0, 1]), "pixels must be from 0 to 255"),
        ((draw(2, 1), ["../a", "b"]), "must not begin with '.'"),
        ({"train": (draw(2, 1), [0, 1])}, "must have the keys 'train' and 'test'"),
    ],
)
def test_a_mistake_is_named(workplace, data, words):
    with pytest.raises(UserError, match=words):
        place_images(data, "data")
    assert list((workplace / "data").glob("arrays*")) == []
