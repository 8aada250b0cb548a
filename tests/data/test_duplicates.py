import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from keras_inat.data.decode import decode_image
from keras_inat.data.duplicates import (
    FINE_SIDE,
    PAIR_DTYPE,
    find_duplicates,
    group_duplicates,
    renumber_pairs,
)
from keras_inat.data.scan import THUMBNAIL

NUM_IMAGES = 200
NUM_COPIES = 40


def paint(index):
    """Draws a picture of blobs and lines that differs from those of other indices."""
    rng = np.random.default_rng(index)
    noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    picture = noise.resize((320, 240), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        ends = rng.integers(0, 240, 4).tolist()
        draw.line(ends, fill=tuple(rng.integers(0, 256, 3).tolist()), width=4)
    return picture.filter(ImageFilter.GaussianBlur(1))


def encode(image, quality=90):
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def shrink(image, factor=0.5):
    return image.resize((round(factor * image.width), round(factor * image.height)))


def frame(image, border=20):
    """Adds a white frame with a thin black line in it."""
    framed = ImageOps.expand(image, border, "white")
    edge = border // 2
    box = (edge, edge, framed.width - edge - 1, framed.height - edge - 1)
    ImageDraw.Draw(framed).rectangle(box, outline="black", width=2)
    return framed


def letterbox(image):
    boxed = Image.new("RGB", (image.width, image.width), "black")
    boxed.paste(image, (0, (image.width - image.height) // 2))
    return boxed


def crop(image):
    width, height = image.size
    return image.crop((0.02 * width, 0.08 * height, 0.92 * width, 0.95 * height))


CHANGES = {
    "recompressed": lambda image: encode(image, 25),
    "smaller": lambda image: encode(shrink(image, 0.4)),
    "twice the size": lambda image: encode(image.resize((640, 480))),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
    "darker": lambda image: encode(ImageEnhance.Brightness(image).enhance(0.6)),
    "gray": lambda image: encode(image.convert("L")),
    "framed": lambda image: encode(frame(image)),
    "letterboxed": lambda image: encode(letterbox(image)),
    "cropped": lambda image: encode(crop(image)),
    "all of them": lambda image: encode(frame(crop(ImageOps.mirror(shrink(image)))), 40),
}


def decode_all(contents, size=THUMBNAIL):
    return np.stack([decode_image(content, size) for content in contents])


def search(contents, **options):
    """Searches among files as the index of a pack does."""
    hashes = np.zeros((len(contents), 32), np.uint8)
    hashes[:, :4] = np.arange(len(contents), dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    options = {"read": lambda number: decode_image(contents[number], FINE_SIDE)} | options
    return find_duplicates(decode_all(contents), hashes, np.arange(len(contents)), **options)


@pytest.fixture(scope="module")
def originals():
    return [encode(paint(index)) for index in range(NUM_IMAGES)]


def test_different_pictures_are_not_duplicates(originals):
    assert len(search(originals)) == 0


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_are_found(originals, change):
    copies = [CHANGES[change](paint(index)) for index in range(NUM_COPIES)]
    pairs = search(originals[:NUM_COPIES] + copies)
    assert pairs[["first", "second"]].tolist() == [(index, NUM_COPIES + index) for index in range(NUM_COPIES)]
    assert (pairs["mirrored"] == (change in ("mirrored", "all of them"))).all()
    assert ((pairs["similarity"] >= 0.93) & (pairs["similarity"] < 1)).all()
    assert (pairs["agreeing"] >= 0.82 * pairs["cells"]).all()
    assert (pairs["cells"] >= 50).all()


def draw_page(rng):
    """Draws a page whose words differ from those of other pages, in the same lines."""
    page = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 400, 40), fill=(30, 60, 120))
    for top in range(60, 380, 18):
        left = 20
        while left < 360:
            letters = rng.integers(3, 11)
            for x in range(left, left + 6 * letters, 6):
                draw.rectangle((x, top + rng.integers(0, 5), x + rng.integers(1, 5), top + 10), fill="black")
            left += 6 * letters + 8
    return page


def draw_product(rng):
    """Draws a bottle with a label on white. All bottles have the same outline."""
    photo = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(photo)
    draw.rounded_rectangle((100, 30, 200, 280), 25, fill=tuple(rng.integers(60, 200, 3).tolist()))
    label = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).resize((90, 110))
    photo.paste(label, (105, 120))
    return photo


def draw_watermarked(rng):
    photo = paint(int(rng.integers(2**31)))
    draw = ImageDraw.Draw(photo, "RGBA")
    for offset in range(-200, 320, 60):
        draw.line((offset, 0, offset + 240, 240), fill=(255, 255, 255, 150), width=3)
    return photo


LOOKALIKES = {
    "the same frame": lambda rng: frame(paint(int(rng.integers(2**31))), 40),
    "the same bars": lambda rng: letterbox(paint(int(rng.integers(2**31)))),
    "pages of text": draw_page,
    "products on white": draw_product,
    "the same watermark": draw_watermarked,
}


@pytest.mark.parametrize("kind", LOOKALIKES)
def test_pictures_that_look_alike_are_not_duplicates(kind):
    rng = np.random.default_rng(3)
    pairs = search([encode(LOOKALIKES[kind](rng)) for _ in range(120)])
    assert pairs.tolist() == []


def test_a_copy_is_found_among_images_with_the_same_frame():
    pictures = [frame(paint(index), 40) for index in range(60)]
    pairs = search([encode(picture) for picture in [*pictures, shrink(pictures[7])]])
    assert pairs[["first", "second"]].tolist() == [(7, 60)]


def test_a_pair_that_only_the_files_tell_apart_is_not_a_duplicate(originals):
    contents = [originals[0], CHANGES["smaller"](paint(0))]
    assert len(search(contents)) == 1
    assert len(search(contents, read=None)) == 1  # by the thumbnails alone
    others = [originals[1], originals[0]]
    assert len(search(contents, read=lambda number: decode_image(others[number], FINE_SIDE))) == 0


def test_pairs_that_the_user_calls_different_are_left_out(originals):
    contents = [originals[0], originals[1], CHANGES["gray"](paint(0)), CHANGES["gray"](paint(1))]
    assert search(contents)[["first", "second"]].tolist() == [(0, 2), (1, 3)]
    assert search(contents, different={frozenset((2, 0))})[["first", "second"]].tolist() == [(1, 3)]


def test_identical_files_are_duplicates_even_if_plain():
    thumbnails = np.full((6, THUMBNAIL, THUMBNAIL, 3), 90, np.uint8)  # too plain for near-duplicates
    hashes = np.zeros((6, 32), np.uint8)
    hashes[:, 0] = [1, 2, 1, 3, 1, 2]
    pairs = find_duplicates(thumbnails, hashes, np.array([0, 1, 2, 4, 5]))
    assert pairs[["first", "second"]].tolist() == [(0, 2), (0, 4), (1, 5)]
    assert (pairs["similarity"] == 1).all()
    assert (pairs["cells"] == 0).all()


def test_only_the_given_rows_are_compared(originals):
    thumbnails = decode_all([*originals[:2], CHANGES["recompressed"](paint(0)), CHANGES["recompressed"](paint(1))])
    hashes = np.arange(128, dtype=np.uint8).reshape(4, 32)
    assert find_duplicates(thumbnails, hashes, np.array([0, 1, 3]))[["first", "second"]].tolist() == [(1, 3)]
    assert len(find_duplicates(thumbnails, hashes, np.array([], np.int64))) == 0
    assert len(find_duplicates(thumbnails, hashes, np.array([2]))) == 0


def test_many_frames_of_one_scene_are_one_group():
    rng = np.random.default_rng(0)
    scene = np.asarray(paint(0).resize((THUMBNAIL, THUMBNAIL)), np.float64)
    thumbnails = (scene + rng.normal(0, 2, (300, THUMBNAIL, THUMBNAIL, 3))).clip(0, 255).astype(np.uint8)
    hashes = np.frombuffer(rng.bytes(32 * 300), np.uint8).reshape(300, 32)
    pairs = find_duplicates(thumbnails, hashes, np.arange(300))
    assert len(set(group_duplicates(300, pairs))) == 1
    assert len(pairs) == 299  # as many as connect them


def test_groups_are_connected_components():
    pairs = np.array([(0, 2, 1, 0, 0, False), (2, 5, 1, 0, 0, False), (3, 4, 1, 0, 0, True)], PAIR_DTYPE)
    groups = group_duplicates(6, pairs)
    assert groups[0] == groups[2] == groups[5]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3
    assert len(set(group_duplicates(3, np.zeros(0, PAIR_DTYPE)))) == 3


def test_pairs_follow_the_images_to_other_numbers():
    pairs = np.array([(0, 2, 0.95, 9, 8, False), (1, 3, 1, 0, 0, True)], PAIR_DTYPE)
    moved = renumber_pairs(pairs, np.array([3, 1, 2, 0]))
    assert moved[["first", "second", "cells", "mirrored"]].tolist() == [(0, 1, 0, True), (2, 3, 9, False)]
