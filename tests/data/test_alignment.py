import cv2
import numpy as np
import pytest
from test_duplicates import paint

from keras_inat.data.alignment import Placement, compare

SIDE = 64
WHOLE = (np.array([0.0, 0.0, 1.0, 1.0]),) * 2
SAME_PLACE = Placement(1.0, 1.0, 0.0, 0.0)


def render(index, scale=1.0, shift_x=0.0, shift_y=0.0):
    """Renders the part of a picture that begins at `shift` and has `scale` times its side, to a square image."""
    picture = cv2.resize(np.asarray(paint(index)), (512, 512), interpolation=cv2.INTER_AREA)
    first_x = round(512 * shift_x)
    first_y = round(512 * shift_y)
    part = picture[first_y : first_y + round(512 * scale), first_x : first_x + round(512 * scale)]
    return cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def test_an_image_is_itself():
    found = compare(render(0), render(0), WHOLE, SAME_PLACE)
    assert found.is_same
    assert found.placement == pytest.approx(SAME_PLACE, abs=1e-3)
    assert found.correlation == pytest.approx(1, abs=0.01)
    assert found.num_agreeing == found.num_cells > 30


def test_the_placement_of_a_part_is_found():
    # The part shows 87.5 % of each side, beginning at 6.25 % and 3.125 %.
    part = render(0, 0.875, 0.0625, 0.03125)
    found = compare(part, render(0), WHOLE, Placement(0.9, 0.9, 0.05, 0.05))
    assert found.is_same
    assert found.placement == pytest.approx((0.875, 0.875, 0.0625, 0.03125), abs=0.01)


def test_brightness_and_contrast_have_no_influence():
    darker = (0.6 * render(0) + 30).astype(np.uint8)
    assert compare(render(0), darker, WHOLE, SAME_PLACE).is_same


@pytest.mark.parametrize(
    "other", [render(1), 255 - render(0), render(0)[:, ::-1], np.full((SIDE, SIDE, 3), 90, np.uint8)]
)
def test_another_picture_is_not_the_same(other):
    found = compare(render(0), np.ascontiguousarray(other), WHOLE, SAME_PLACE)
    assert found is None or not found.is_same


def test_other_colors_are_another_picture():
    recolored = np.ascontiguousarray(render(0)[..., [1, 2, 0]])
    gray = cv2.cvtColor(render(0), cv2.COLOR_RGB2GRAY)
    # The gray levels stay those of the original, so that only the colors differ.
    shift = gray.astype(float) - cv2.cvtColor(recolored, cv2.COLOR_RGB2GRAY)
    recolored = (recolored + shift[..., None]).clip(0, 255).astype(np.uint8)
    assert not compare(render(0), recolored, WHOLE, SAME_PLACE).is_same
    assert compare(render(0), np.repeat(gray[..., None], 3, axis=2), WHOLE, SAME_PLACE).is_same


def test_an_exchanged_part_is_another_picture():
    mixed = render(0)
    mixed[:, SIDE // 2 :] = render(1)[:, SIDE // 2 :]
    found = compare(render(0), mixed, WHOLE, SAME_PLACE)
    assert found is None or not found.is_same


def test_only_what_the_frames_enclose_is_compared():
    framed = np.full((SIDE, SIDE, 3), 255, np.uint8)
    framed[8:56, 8:56] = cv2.resize(render(0), (48, 48), interpolation=cv2.INTER_AREA)
    boxes = (WHOLE[0], np.array([0.125, 0.125, 0.875, 0.875]))
    found = compare(render(0), framed, boxes, Placement(0.75, 0.75, 0.125, 0.125))
    assert found.is_same
    assert found.placement == pytest.approx((0.75, 0.75, 0.125, 0.125), abs=0.01)
