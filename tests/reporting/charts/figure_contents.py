"""The texts, images and lines of a figure."""

import numpy as np


def list_texts(figure):
    return [text.get_text().replace("\xa0", " ") for axes in figure.axes for text in axes.texts]


def list_images(axes):
    """Returns the pixel value of each image, from left to right and top to bottom. An image has a single value."""
    ordered = sorted(axes.images, key=lambda image: (image.get_extent()[3], image.get_extent()[0]))
    return [int(np.unique(image.get_array()).item()) for image in ordered]


def find_line(axes, label):
    """Returns the points of the line with this label."""
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return list(zip(*(np.asarray(data).tolist() for data in line.get_data()), strict=True))
