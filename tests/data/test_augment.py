from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_inat.data.augment import augment, needs_margin
from keras_inat.data.policies import (
    OPERATIONS,
    Drawn,
)
from keras_inat.settings.schema import Augment

EVERYTHING = {"rotation": 20, "cutout": 0.2, "mixup": 0.4, "cutmix": 1.0, "policy": "randaugment"}


def settings(**changes):
    """Returns settings with only the given changes."""
    return Augment(**{"flip": False, "crop": 1, "color": 0} | changes)


def noise(count=16, size=12):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def one_hot(count, classes=None):
    """Gives every image its own class, so that a mixed label shows its two images."""
    return np.eye(count if classes is None else classes, dtype=np.float32)[np.arange(count) % (classes or count)]


def change(images, size=None, seed=(0, 5), **changes):
    return augment(images, one_hot(len(images)), size or images.shape[1], seed, settings(**changes))[0]


def horizontal_ramp(count, size, step):
    ramp = np.arange(size, dtype=np.uint8) * step
    return np.broadcast_to(ramp[:, None], (count, size, size, 3))


class FixedDraws:
    """A fake generator: fixed uniform draws by range, no flip, squares of a quarter of the area at the center."""

    def __init__(self, values):
        self.values = values

    def uniform(self, low, high, size):
        return np.full(size, self.values[low, high])

    def random(self, size):
        return np.ones(size)

    def integers(self, end, size=()):
        return np.full(size, end // 2)

    def beta(self, a, b, size):
        return np.full(size, 0.75)


# Geometric changes


def test_without_changes_the_arguments_are_returned():
    images = noise()
    labels = one_hot(16)
    received = augment(images, labels, 12, (0, 0), settings())
    assert received[0] is images
    assert received[1] is labels


def test_flip_mirrors_about_half_of_the_images_exactly():
    images = noise(400, 4)
    flipped = change(images, flip=True)
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored != kept).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_a_flip_within_a_warp_is_exact():
    images = noise(64)
    moved = change(images, flip=True, crop=0.999999)  # a crop too small to change a pixel by one half
    mirrored = (moved == images[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (moved == images).all(axis=(1, 2, 3))
    assert (mirrored != kept).all()
    assert 16 < mirrored.sum() < 48


@pytest.mark.parametrize("changes", [{}, {"flip": True}, {"rotation": 1e-6}, {"flip": True, "rotation": 1e-6}])
def test_larger_images_without_a_crop_are_scaled_down(changes):
    blocks = noise(16, 8)
    scaled = change(blocks.repeat(2, axis=1).repeat(2, axis=2), 8, **changes)
    mirrored = (scaled == blocks[:, :, ::-1]).all(axis=(1, 2, 3))
    kept = (scaled == blocks).all(axis=(1, 2, 3))
    assert (mirrored != kept).all()
    assert mirrored.any() == ("flip" in changes)


@pytest.mark.parametrize("changes", [{}, {"rotation": 1e-6}])
def test_much_larger_images_are_scaled_by_area_averaging(changes):
    plane = np.zeros((1, 32, 32, 3), np.uint8)
    plane[:, ::4] = 240  # Sampling one pixel in eight would miss this row or hit it.
    np.testing.assert_allclose(change(plane, 4, **changes), 60, atol=25)
    assert change(plane, 4, **changes).shape == (1, 4, 4, 3)


def test_crops_have_the_configured_area_and_aspect():
    # A horizontal and a vertical ramp show the position, width and height of a crop.
    size = 64
    plane = np.zeros((600, size, size, 3), np.uint8)
    plane[..., 0] = np.arange(size, dtype=np.uint8) * 4
    plane[..., 1] = np.arange(size, dtype=np.uint8)[:, None] * 4
    cropped = change(plane, crop=0.3).astype(float) / 4
    middle = slice(16, 48)
    width = (cropped[:, 32, 47, 0] - cropped[:, 32, 16, 0]) / 31
    height = (cropped[:, 47, 32, 1] - cropped[:, 16, 32, 1]) / 31
    area = width * height
    aspect = width / height
    assert 0.28 < area.min() < 0.33
    assert 0.97 < area.max() < 1.02
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.475, 0.65, 0.825], atol=0.05)
    assert 0.73 < aspect.min() < 0.8
    assert 1.25 < aspect.max() < 1.37
    center = cropped[:, 31:33, 31:33].mean(axis=(1, 2))
    assert (np.abs(center[:, 0] - 31.5) < (1 - width) * 32 + 0.6).all()
    assert np.abs((center[:, :2] - 31.5).mean(axis=0)).max() < 1.5
    assert (center[:, :2].std(axis=0) > 2).all()
    assert (np.diff(cropped[:, 32, middle, 0], axis=1) >= 0).all()


def test_a_crop_is_taken_from_the_stored_pixels(monkeypatch):
    # Half of the side of an image that is stored at twice the size: pixels are copied without interpolation.
    monkeypatch.setattr("keras_inat.data.augment.MAX_LOG_ASPECT", 0)
    stored = noise(1, 32)
    rng = FixedDraws({(-1, 1): 0.0, (0.25, 1): 0.25, (-0.5, 0.5): 0.0})
    monkeypatch.setattr(np.random, "default_rng", lambda _: rng)
    np.testing.assert_array_equal(change(stored, 16, crop=0.25), stored[:, 8:24, 8:24])
    # The policy translates the cropped image: a quarter of its side is four pixels.
    drawn = Drawn(np.array([[list(OPERATIONS).index("translate_x")]]), np.array([[0.25]]))
    monkeypatch.setattr("keras_inat.data.policies.draw_operations", lambda *_: drawn)
    np.testing.assert_array_equal(change(stored, 16, crop=0.25, policy="randaugment"), stored[:, 8:24, 12:28])


def test_rotation_is_around_the_center_and_uniform_in_both_directions():
    size = 41
    radius = 12
    images = np.zeros((500, size, size, 3), np.uint8)
    images[:, 20, 20, 0] = 200
    images[:, 18:23, 20 + radius - 2 : 20 + radius + 3, 1] = 250  # a dot on the right
    turned = change(images, rotation=60).astype(float)
    np.testing.assert_array_equal(turned[:, 20, 20, 0], 200)
    y, x = np.mgrid[:size, :size] - 20.0
    green = turned[..., 1] * (np.hypot(x, y) < 18)  # without the reflections at the corners
    weight = green.sum(axis=(1, 2))
    right = (green * x).sum(axis=(1, 2)) / weight
    up = -(green * y).sum(axis=(1, 2)) / weight
    np.testing.assert_allclose(np.hypot(right, up), radius, atol=0.3)
    angle = np.degrees(np.arctan2(up, right))
    assert np.abs(angle).max() <= 60.5
    np.testing.assert_allclose(np.quantile(angle, [0, 0.25, 0.5, 0.75, 1]), [-60, -30, 0, 30, 60], atol=6)


def test_warped_images_have_no_borders():
    white = np.full((32, 16, 16, 3), 255, np.uint8)
    assert (change(white, rotation=180, crop=0.5, policy="none") == 255).all()


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        ({"rotate": np.pi / 2}, lambda image: np.rot90(image)),  # counterclockwise
        ({"translate_x": 0.25}, lambda image: np.concatenate([image[:, 2:], image[:, -2:-4:-1]], axis=1)),
        ({"translate_y": -0.25}, lambda image: np.concatenate([image[2:0:-1], image[:-2]])),
        # The matrix of the papers: the shift grows with the distance from the top left corner.
        ({"shear_x": 2 / 5}, (1, 2 / 5, 0, 0, 1, 0)),
        ({"shear_y": 2 / 5}, (1, 0, 0, 2 / 5, 1, 0)),
    ],
)
def test_a_geometric_operation_computed_by_hand(monkeypatch, move, expected):
    image = noise(1, 8)
    (name, level), *_ = move.items()
    drawn = Drawn(np.array([[list(OPERATIONS).index(name)]]), np.array([[level]]))
    monkeypatch.setattr("keras_inat.data.policies.draw_operations", lambda *_: drawn)
    moved = change(image, policy="randaugment")[0]
    if callable(expected):
        np.testing.assert_array_equal(moved, expected(image[0]))
        return
    sheared = np.asarray(Image.fromarray(image[0]).transform((8, 8), Image.Transform.AFFINE, expected))
    if name == "shear_y":
        moved = moved.swapaxes(0, 1)
        sheared = sheared.swapaxes(0, 1)
    # A row 2.5 or 7.5 pixels from the corner is shifted by one or three whole pixels.
    np.testing.assert_array_equal(moved[2, :7], sheared[2, :7])
    np.testing.assert_array_equal(moved[7, :5], sheared[7, :5])


def test_only_warps_need_larger_images():
    assert not any(map(needs_margin, (settings(), settings(flip=True, color=0.2, cutout=0.2, mixup=1, cutmix=1))))
    assert all(map(needs_margin, (settings(crop=0.9), settings(rotation=1), settings(policy="trivialaugment"))))


# Colors


def test_color_changes_each_image_within_its_bounds():
    gray = np.full((400, 2, 2, 3), 100, np.uint8)
    changed = change(gray, color=0.2)[:, 0, 0, 0]
    assert 80 <= changed.min() < 83
    assert 117 < changed.max() <= 120
    np.testing.assert_allclose(np.quantile(changed, [0.25, 0.5, 0.75]), [90, 100, 110], atol=3)


# Policies


def test_every_image_gets_its_own_operations(monkeypatch):
    chosen = [[list(OPERATIONS).index(name)] for name in ("identity", "solarize", "posterize")]
    drawn = Drawn(np.array(chosen), np.array([[0.0], [1.0], [4.0]]))
    monkeypatch.setattr("keras_inat.data.policies.draw_operations", lambda *_: drawn)
    images = noise(3)
    expected = np.stack([images[0], 255 - images[1], images[2] & 0xF0])
    np.testing.assert_array_equal(change(images, policy="randaugment"), expected)


# Erasing and mixing


def test_cutout_erases_a_gray_square_clipped_at_the_border():
    white = np.full((500, 20, 20, 3), 255, np.uint8)
    erased = change(white, cutout=0.3)
    assert set(np.unique(erased)) == {128, 255}
    gray = erased[..., 0] == 128
    heights = gray.any(axis=2).sum(axis=1)
    widths = gray.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(gray.sum(axis=(1, 2)), heights * widths)
    assert heights.max() == widths.max() == 6
    assert heights.min() >= 3
    # A center from 3 to 17, of 0 to 19, leaves the square unclipped.
    assert 0.65 < (heights == 6).mean() < 0.85
    assert 0.4 < (heights * widths == 36).mean() < 0.7


def test_mixup_mixes_pixels_and_labels_by_the_same_fraction():
    images = noise(64, 8)
    labels = one_hot(64)
    mixed, soft = augment(images, labels, 8, (0, 1), settings(mixup=0.8))
    np.testing.assert_allclose(mixed, np.einsum("ij,jyxc->iyxc", soft, images.astype(float)), atol=0.51)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    fractions = np.diag(soft)
    assert ((soft > 0).sum(axis=1) == 2).mean() > 0.9
    assert len(np.unique(fractions)) > 60
    assert fractions.min() < 0.1
    assert fractions.max() > 0.9


def test_cutmix_weights_labels_by_the_pasted_pixels():
    # Every image has its own constant value, so that each pixel shows its origin.
    images = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 16, 16, 3))
    mixed, soft = augment(images, one_hot(100), 16, (0, 1), settings(cutmix=1.0))
    for index in range(100):
        counts = np.bincount(mixed[index, :, :, 0].ravel(), minlength=100)
        np.testing.assert_array_equal(soft[index], counts.astype(np.float32) / 256)
    assert (mixed == mixed[..., :1]).all()
    assert 0.05 < np.quantile(np.diag(soft), 0.1) < 0.6 < np.quantile(np.diag(soft), 0.7)
    assert ((soft > 0).sum(axis=1) == 2).mean() > 0.8


def test_cutmix_pastes_the_drawn_fraction(monkeypatch):
    images = noise(2, 16)
    monkeypatch.setattr(np.random, "default_rng", lambda _: FixedDraws({}))
    mixed, soft = augment(images, one_hot(2), 16, (0, 0), settings(cutmix=1.0))
    np.testing.assert_array_equal(soft, [[0.75, 0.25], [0.25, 0.75]])
    expected = images.copy()
    expected[:, 4:12, 4:12] = images[::-1, 4:12, 4:12]
    np.testing.assert_array_equal(mixed, expected)


def test_a_batch_is_mixed_by_either_mixup_or_cutmix():
    images = np.broadcast_to((np.arange(8, dtype=np.uint8) * 30)[:, None, None, None], (8, 8, 8, 3))
    pasted = []
    for step in range(60):
        mixed, soft = augment(images, one_hot(8), 8, (0, step), settings(mixup=1.0, cutmix=1.0))
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), soft @ np.arange(8) * 30, atol=0.51)
        pasted.append(np.isin(mixed, np.arange(8) * 30).all())
    assert 15 < sum(pasted) < 45


@pytest.mark.parametrize("changes", [{"mixup": 1.0}, {"cutmix": 1.0}, EVERYTHING])
def test_a_batch_of_one_is_mixed_with_itself(changes):
    images = noise(1)
    labels = np.float32([[0, 1, 0]])
    mixed, soft = augment(images, labels, 12, (0, 0), settings(**changes))
    np.testing.assert_allclose(soft, labels, atol=1e-6)
    if changes is not EVERYTHING:
        np.testing.assert_allclose(mixed.astype(int), images, atol=1)


# All changes together


def test_the_result_depends_only_on_the_seed():
    images = noise(8)
    labels = one_hot(8)
    run = [augment(images, labels, 8, seed, Augment(**EVERYTHING)) for seed in ((3, 7), (3, 7), (3, 8), (4, 7))]
    np.testing.assert_array_equal(run[0][0], run[1][0])
    np.testing.assert_array_equal(run[0][1], run[1][1])
    assert not (run[0][0] == run[2][0]).all()
    assert not (run[0][0] == run[3][0]).all()
    assert not (run[2][0] == run[3][0]).all()


@pytest.mark.parametrize(
    "changes",
    [{"crop": 0.5}, {"rotation": 20}, {"color": 0.3}, {"cutout": 0.3}, {"policy": "trivialaugment"}],
    ids=lambda changes: next(iter(changes)),
)
def test_images_of_a_batch_are_changed_differently(changes):
    same = np.broadcast_to(noise(1), (16, 12, 12, 3))
    assert len(np.unique(change(same, **changes).reshape(16, -1), axis=0)) > 7


@pytest.mark.parametrize("policy", ["none", "randaugment", "trivialaugment"])
def test_everything_at_once(policy):
    images = noise(32, 20)
    labels = one_hot(32, 5)
    before = (images.copy(), labels.copy())
    changed, soft = augment(images, labels, 16, (1, 2), Augment(**EVERYTHING | {"policy": policy}))
    assert (changed.shape, changed.dtype) == ((32, 16, 16, 3), np.uint8)
    assert (soft.shape, soft.dtype) == ((32, 5), np.float32)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert soft.min() >= 0
    assert changed.std() > 20
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize(
    "changes",
    [{"flip": True}, {"crop": 0.5}, {"color": 0.2}, {"cutout": 0.3}, {"mixup": 1.0}, {"cutmix": 1.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_the_memory_layout_of_the_images_has_no_influence(tmp_path, changes):
    images = noise(6)
    labels = one_hot(6)
    expected = augment(images, labels, 12, (0, 0), settings(**changes))
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    spread = np.zeros((6, 12, 24, 4), np.uint8)[:, :, ::2, :3]
    spread[:] = images
    backwards = images[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    for given in (mapped, spread, backwards):
        received = augment(given, labels, 12, (0, 0), settings(**changes))
        np.testing.assert_array_equal(received[0], expected[0])
        np.testing.assert_array_equal(received[1], expected[1])
        assert type(received[0]) is np.ndarray


def test_broadcast_images_are_accepted():
    images = np.broadcast_to(np.uint8(100), (4, 12, 12, 3))
    changed, _ = augment(images, one_hot(4), 8, (0, 0), settings(flip=True, crop=0.5, rotation=30, mixup=1.0))
    np.testing.assert_array_equal(changed, 100)


def test_threads_do_not_interfere():
    images = noise(16, 20)
    labels = one_hot(16)
    config = Augment(**EVERYTHING)

    def run(step):
        return augment(images, labels, 16, (0, step), config)

    alone = [run(step) for step in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(24)))
    for (images_alone, labels_alone), (images_together, labels_together) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(images_alone, images_together)
        np.testing.assert_array_equal(labels_alone, labels_together)
