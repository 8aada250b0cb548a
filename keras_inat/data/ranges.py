"""The range of pixels with more than 8 bits. Files do not tell it, so that it is found over the training images."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from keras_inat.store.records import Preparation

DEEP = "16-bit"  # traits of `Decoded`
FLOATING = "floating-point"
DEPTHS = (8, 10, 12, 14, 16)  # bits of a sensor
# Fraction of the pixels of a file, at least one, that are ignored: a hot pixel says nothing about the range.
MAX_BRIGHTER = 1e-4
# Floating-point pixels usually reach from 0 to 1. If the brightest ones are below this, the range is another one.
MIN_FLOAT_PEAK = 1 / 16
COMMON_FRACTION = 99  # percent of the files


def measure_peak(values: np.ndarray) -> float:
    """Returns the largest of the values, without the few brightest ones."""
    rank = values.size - 1 - max(1, int(MAX_BRIGHTER * values.size))
    return float(np.partition(values, rank, axis=None)[rank])


def find_gain(image: Image.Image, tile: str, preparation: Preparation) -> tuple[float, float]:
    """Returns the factor from the values of a loaded image to 8 bits, and their peak.

    `tile` is the description of its data in the file. The peak is 0 if the file or its format tells the range. Pillow
    keeps the upper 8 bits of pixels with several channels of 16 bits.

    Raises:
        ValueError: Floating-point pixels are negative, infinite or not a number.
    """
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and np.isfinite(values.max())):
            raise ValueError("floating-point pixels below 0, infinite or not a number")
        return 255 / preparation.float_range, measure_peak(values)
    if image.mode.startswith("I"):
        if image.format == "PPM":
            return 255 / 65535, 0.0
        if ";12" in tile:
            return 255 / 4095, 0.0
        return 255 / preparation.white, measure_peak(np.asarray(image))
    if ";16" in tile and image.format != "BMP":  # 16 bits of a BMP are those of all three colors
        return 65535 / preparation.white, 256 * measure_peak(np.asarray(image.convert("RGB"))) + 255
    return 1.0, 0.0


def choose_bit_depth(peak: float) -> int:
    """Returns the smallest usual bit depth whose values include the peak."""
    return next((depth for depth in DEPTHS if peak < 2**depth), DEPTHS[-1])


def choose_float_range(peak: float) -> float:
    """Returns the value of white: 1 for pixels from 0 to 1, the largest one of a bit depth, or the peak itself."""
    if MIN_FLOAT_PEAK <= peak <= 1 or peak <= 0:
        return 1.0
    return 2.0 ** choose_bit_depth(peak) - 1 if 1 < peak < 2 ** DEPTHS[-1] else peak


def choose_preparation(
    given: Preparation, is_automatic: bool, deep_peaks: Sequence[float], float_peaks: Sequence[float]
) -> Preparation:
    """Returns the preparation of a data set, given the peaks of its training images.

    With `is_automatic`, the bit depth is found in `deep_peaks`. Otherwise it stays as it is.
    """
    changes = dict[str, float]()
    if is_automatic and deep_peaks:
        changes["bit_depth"] = choose_bit_depth(max(deep_peaks))
    if float_peaks:
        changes["float_range"] = choose_float_range(max(float_peaks))
    return given.model_copy(update=changes)


def describe_ranges(preparation: Preparation, deep_peaks: Sequence[float], float_peaks: Sequence[float]) -> list[str]:
    """Describes the ranges in one line for each kind of pixels."""
    lines = []
    if deep_peaks:
        line = (
            f"16-bit pixels: values up to {max(deep_peaks):,.0f} in train/, so {preparation.white:,} becomes white "
            f"(data.bit_depth={preparation.bit_depth})"
        )
        common = choose_bit_depth(float(np.percentile(deep_peaks, COMMON_FRACTION, method="lower")))
        if common < preparation.bit_depth:
            line += f"; {COMMON_FRACTION} % of the files need only {common} bits"
        lines.append(line)
    if float_peaks:
        lines.append(
            f"floating-point pixels: values up to {max(float_peaks):,.4g} in train/, so "
            f"{preparation.float_range:,.4g} becomes white"
        )
    return lines
