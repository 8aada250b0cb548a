import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from keras_inat.data.decode import decode_image
from keras_inat.data.duplicates import PAIR_DTYPE, find_duplicates, group_duplicates

NUM_IMAGES = 300


def paint(index):
    """Draws a picture of soft blobs that differs from those of other indices."""
    rng = np.random.default_rng(index)
    noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return noise.resize((160, 120), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def encode(image, quality=90):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def shrink(image):
    return image.resize((image.width // 2, image.height // 2))


CHANGES = {
    "recompressed": lambda image: encode(image, 30),
    "half the size": lambda image: encode(shrink(image)),
    "twice the size": lambda image: encode(image.resize((320, 240))),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
    "all of them": lambda image: encode(ImageOps.mirror(shrink(image)), 40),
    "brighter": lambda image: encode(image.point(lambda value: 40 + 0.7 * value)),
    "gray": lambda image: encode(image.convert("L")),
}


def decode_all(contents):
    return np.stack([decode_image(content, 16) for content in contents])


def search(thumbnails):
    count = len(thumbnails)
    hashes = np.arange(32 * count, dtype=np.uint32).astype(np.uint8).reshape(-1, 32)
    hashes[:, :4] = np.arange(count, dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    return find_duplicates(thumbnails, hashes, np.arange(count))


@pytest.fixture(scope="module")
def originals():
    """The thumbnails of different pictures."""
    return decode_all([encode(paint(index)) for index in range(NUM_IMAGES)])


def test_different_pictures_are_not_duplicates(originals):
    assert len(search(originals)) == 0


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_found(originals, change):
    duplicates = decode_all([CHANGES[change](paint(index)) for index in range(40)])
    pairs = search(np.concatenate([originals, duplicates]))
    assert pairs[["first", "second"]].tolist() == [(index, NUM_IMAGES + index) for index in range(40)]
    assert (pairs["mirrored"] == (change in ("mirrored", "all of them"))).all()
    assert ((pairs["similarity"] >= 0.9) & (pairs["similarity"] <= 1)).all()


def test_identical_files_are_duplicates_even_if_plain():
    thumbnails = np.full((6, 16, 16, 3), 90, np.uint8)  # too plain for near-duplicates
    hashes = np.zeros((6, 32), np.uint8)
    hashes[:, 0] = [1, 2, 1, 3, 1, 2]
    pairs = find_duplicates(thumbnails, hashes, np.array([0, 1, 2, 4, 5]))
    assert pairs[["first", "second"]].tolist() == [(0, 2), (0, 4), (1, 5)]
    assert (pairs["similarity"] == 1).all()


def test_only_the_given_rows_are_compared(originals):
    thumbnails = np.concatenate([originals[:2], decode_all([encode(paint(0), 50), encode(paint(1), 50)])])
    hashes = np.arange(128, dtype=np.uint8).reshape(4, 32)
    assert find_duplicates(thumbnails, hashes, np.array([0, 1, 3]))[["first", "second"]].tolist() == [(1, 3)]
    assert len(find_duplicates(thumbnails, hashes, np.array([], np.int64))) == 0
    assert len(find_duplicates(thumbnails, hashes, np.array([2]))) == 0


def test_a_thousand_frames_of_one_scene_are_one_group():
    rng = np.random.default_rng(0)
    scene = np.asarray(paint(0).resize((16, 16)), np.float64)
    thumbnails = (scene + rng.normal(0, 2, (1000, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    hashes = np.frombuffer(rng.bytes(32_000), np.uint8).reshape(1000, 32)
    pairs = find_duplicates(thumbnails, hashes, np.arange(1000))
    assert len(set(group_duplicates(1000, pairs))) == 1
    assert len(pairs) < 100_000  # not all pairs


def test_groups_are_connected_components():
    pairs = np.array([(0, 2, 1, False), (2, 5, 1, False), (3, 4, 1, True)], PAIR_DTYPE)
    groups = group_duplicates(6, pairs)
    assert groups[0] == groups[2] == groups[5]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3
    assert len(set(group_duplicates(3, np.zeros(0, PAIR_DTYPE)))) == 3
