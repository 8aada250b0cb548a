"""The number of images of every class."""

from keras_inat.report.charts.class_counts import describe_shown_classes, draw_class_counts


def test_bars_are_those_of_the_training_and_of_the_test_images() -> None:
    (axes,) = draw_class_counts(["Aves", "Fungi", "Plantae"], [5, 6, 7], [1, 2, 3]).axes
    assert [bar.get_width() for bar in axes.patches] == [5, 6, 7, 1, 2, 3]


def test_the_number_of_shown_classes_is_stated() -> None:
    texts = [describe_shown_classes(number).replace("\xa0", " ") for number in (10, 100)]
    assert texts == ["all 10 classes", "the first 40 of 100 classes"]
