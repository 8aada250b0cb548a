"""The records: the test ledger."""

import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Table
from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections.records import describe_test_evaluations
from keras_inat.store.ledger import ledger_path, record_evaluation


def test_a_changed_setting_is_another_configuration_on_the_same_images(workshop: Workshop) -> None:
    runs = [
        workshop.add_run(name="a", seed=0),
        workshop.add_run(name="a", seed=1),
        workshop.add_run(name="a", settings={"training.learning_rate": 1e-4}),
        workshop.add_finetuned("head"),
    ]
    ledger_path(workshop.runs).unlink(missing_ok=True)
    data = workshop.read_data_set().data
    assert data is not None
    for run in runs:
        record_evaluation(workshop.runs, run.command, run.path, data.hash)
    record_evaluation(workshop.runs, "finetune", workshop.runs / "finetune" / "aborted", data.hash)
    section = describe_test_evaluations(read_history(workshop.runs))
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row[1:] for row in table.rows] == [
        ["train-best", "3", "3", "2", "2"],
        ["finetune", "2", "2", "2", "2"],
        ["all", "5", "5", "4", "4"],
    ]
    text = format_text(section).replace("\xa0", " ")
    assert "The same test images gave 4 results." in text
    assert f"with a probability of {100 * (1 - 0.95**4):.0f} %" in text


@pytest.mark.parametrize("number", [1, 2])
def test_one_evaluation_is_untouched(workshop: Workshop, number: int) -> None:
    run = workshop.add_run()
    ledger_path(workshop.runs).unlink(missing_ok=True)
    for _ in range(number):
        record_evaluation(workshop.runs, run.command, run.path, "hash")
    text = format_text(describe_test_evaluations(read_history(workshop.runs)))
    assert ("The same test images gave 2 results." in text) is (number > 1)
    assert ("No run was evaluated more than once" in text) is (number == 1)


def test_seeds_of_one_configuration_are_one_result(workshop: Workshop) -> None:
    for seed in range(3):
        workshop.add_run(seed=seed)
    section = describe_test_evaluations(read_history(workshop.runs))
    [table] = [block for block in section.blocks if isinstance(block, Table)]
    assert [row[1:] for row in table.rows] == [["train-best", "3", "3", "1", "1"]]
    assert "The same test images gave" not in format_text(section)
