import numpy as np
import pytest
from test_duplicates import CHANGES, NUM_COPIES, decode_all, encode, frame, paint

from keras_inat.data.candidates import expect_placement, find_candidates, find_frames


def test_frames_and_bars_are_found():
    rng = np.random.default_rng(0)
    gray = rng.uniform(0, 255, (5, 64, 64)).astype(np.float32)
    gray[1, :8] = gray[1, -8:] = 0  # bars
    gray[2, :6] = gray[2, -6:] = gray[2, :, :6] = gray[2, :, -6:] = 250
    gray[2, 3, 3:-3] = gray[2, -4, 3:-3] = gray[2, 3:-3, 3] = gray[2, 3:-3, -4] = 0  # a line in the frame
    gray[3, :20] = 200  # a sky
    gray[4] = 90  # a plain image
    boxes = 64 * find_frames(gray)
    # The line at the edge of a frame is left out, because it is blended with the picture.
    assert boxes.tolist() == [[0, 0, 64, 64], [9, 0, 55, 64], [7, 7, 57, 57], [0, 0, 64, 64], [0, 0, 64, 64]]


def test_noise_of_a_compressed_frame_does_not_hide_it():
    rng = np.random.default_rng(0)
    gray = rng.uniform(0, 255, (1, 64, 64)).astype(np.float32)
    gray[:, :10] = gray[:, -10:] = 240 + rng.normal(0, 1.5, (1, 10, 64))
    assert (64 * find_frames(gray)).tolist() == [[11, 0, 53, 64]]


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_a_candidate_at_its_placement(change):
    contents = [encode(paint(index)) for index in range(NUM_COPIES)]
    contents += [CHANGES[change](paint(index)) for index in range(NUM_COPIES)]
    pairs, boxes = find_candidates(decode_all(contents), np.arange(2 * NUM_COPIES))
    found = {tuple(sorted((int(pair["first"]), int(pair["second"])))): pair for pair in pairs}
    wanted = {(index, NUM_COPIES + index) for index in range(NUM_COPIES)}
    assert wanted <= found.keys()
    assert len(found) < 2 * NUM_COPIES
    assert (np.diff(pairs["similarity"]) <= 0).all()
    for pair in [found[key] for key in wanted]:
        ends = [boxes[pair[end]] for end in ("first", "second")]
        scale = expect_placement(int(pair["view"]), *ends, bool(pair["mirrored"])).scale_x
        assert 0.6 < scale < 1.6


def test_framed_images_are_compared_by_their_pictures():
    contents = [encode(frame(paint(index), 40)) for index in range(60)]
    pairs, boxes = find_candidates(decode_all(contents), np.arange(60))
    assert (boxes[:, 0] > 0.1).all()
    assert len(pairs) < 10


def test_the_numbers_of_candidates_are_those_of_the_images():
    contents = [encode(paint(index)) for index in (0, 1, 2, 0)]
    pairs, boxes = find_candidates(decode_all(contents), np.array([0, 2, 3]))
    assert [sorted((int(pair["first"]), int(pair["second"]))) for pair in pairs] == [[0, 3]]
    assert boxes.shape == (3, 4)


def test_a_mirrored_placement_counts_from_the_other_side():
    box = np.array([0.0, 0.0, 1.0, 1.0])
    left_part = np.array([0.25, 0.0, 0.75, 0.5])
    assert expect_placement(0, box, left_part, mirrored=False) == pytest.approx((0.5, 0.5, 0.0, 0.25))
    assert expect_placement(0, box, left_part, mirrored=True) == pytest.approx((0.5, 0.5, 0.5, 0.25))
    assert expect_placement(2, box, box, mirrored=False) == pytest.approx((1.25, 1.25, -0.125, -0.125))
