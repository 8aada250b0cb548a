"""Runs and sweeps, sorted by their images."""

from report_workshop import Workshop

from keras_inat.reporting.history import read_history


def test_data_sets_are_separated_by_hash(workshop: Workshop) -> None:
    workshop.add_run(data=workshop.describe_data("one"))
    workshop.add_run(data=workshop.describe_data("two"))
    workshop.add_run(data=workshop.describe_data("two", hash="other"))
    workshop.add_sweep("s", [{"model.filters": 8}], [0.5], workshop.describe_data("two"))
    data_sets = read_history(workshop.runs).data_sets
    assert [(data_set.name, len(data_set.groups), len(data_set.sweeps)) for data_set in data_sets] == [
        ("two", 1, 1),
        ("one", 1, 0),
        ("two", 1, 0),
    ]
