"""The progress of a sweep."""

from figure_contents import find_line, list_texts

from keras_inat.report.charts.sweep_progress import draw_sweep_progress
from keras_inat.store.records import Trial


def test_trials_are_drawn_by_status_with_the_best_so_far() -> None:
    times = [f"2026-11-01T08:0{minute}:00+00:00" for minute in (0, 1, 2, 3)]
    outcomes = zip(times, ("completed", "pruned", "completed", "failed"), (0.4, 0.3, 0.5, None), strict=True)
    trials = [
        Trial(id=str(number), values={}, settings={}, status=status, score=score, started=started)
        for number, (started, status, score) in enumerate(outcomes)
    ]
    (axes,) = draw_sweep_progress(trials).axes
    shown = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert shown["pruned trial"] == [[1, 0.3]]
    assert shown["completed trial"] == [[0, 0.4], [2, 0.5]]
    assert find_line(axes, "best so far") == [(0, 0.4), (2, 0.5)]
    assert find_line(axes, "failed trial") == [(3, 0)]
    assert list_texts(axes.figure) == ["trial 2, 50.0 %"]
    assert axes.get_xlabel() == "creation time, minutes after the first trial"
