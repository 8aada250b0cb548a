"""The section on the network and its cost."""

import re

import pytest
from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Details, Table
from keras_inat.reporting.sections.network import describe_network
from keras_inat.reporting.sections.summary import list_findings
from keras_inat.reporting.sections.sweep import describe_sweeps
from keras_inat.settings.schema import Model


@pytest.mark.parametrize("pooling", ["flatten", "average"])
@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("dense_units", [0, 64])
def test_closed_form_adds_up(workshop: Workshop, pooling: str, batch_norm: bool, dense_units: int) -> None:
    model = {"pooling": pooling, "batch_norm": batch_norm, "dense_units": dense_units, "filter_organization": "double"}
    assert Model(**model)
    workshop.add_run(settings={f"model.{name}": value for name, value in model.items()})
    details = describe_network(workshop.read_data_set()).blocks[1]
    assert isinstance(details, Details)
    [table] = details.blocks
    assert isinstance(table, Table)
    for quantity in ("parameters", "multiply-accumulates"):
        rows = [(name, value) for name, _, _, value in table.rows if name.startswith(f"{quantity}: ")]
        values = {name.split(": ")[1]: int(value.replace(",", "")) for name, value in rows}
        total = values.pop("total")
        assert sum(values.values()) == total
    for _, _, numbers, value in table.rows:
        if numbers:
            expression = numbers.replace("²", "**2").replace("·", "*")
            assert re.fullmatch(r"[0-9*+() ]+", expression)
            assert eval(expression) == int(value.replace(",", ""))


def test_a_sweep_alone_shows_the_network_of_its_best_trial(workshop: Workshop) -> None:
    settings = [{"data.image_size": 32, "model.filters": filters} for filters in (8, 16)]
    workshop.add_sweep("s", settings, [0.4, 0.3])
    data_set = workshop.read_data_set()
    assert "The best trial of the sweep s has" in format_text(describe_network(data_set))
    text = format_text(*describe_sweeps(data_set, workshop.figures))
    assert "Too few trials to estimate adjusted effects" in text
    assert "hyperparameter values (trials) verdict" in text  # neither importance nor correlation
    [finding] = list_findings(data_set, None)
    assert "of 40.0 %. It was selected by this accuracy, which is therefore optimistic." in finding.replace("\xa0", " ")
    assert finding.endswith("No model was evaluated on the test images yet.")


@pytest.mark.parametrize("text", ["", "{", "null", "{}", "3"])
def test_a_damaged_result_of_the_best_trial_is_skipped(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    sweep = workshop.add_sweep("first", [{"model.filters": 4}, {"model.filters": 8}], [0.5, 0.25])
    sweep.trial_run("000").result.write_text(text)
    assert "No CNN was trained from scratch" in format_text(describe_network(workshop.read_data_set()))
    assert "000/result.json is damaged or was changed by hand, and is skipped" in capsys.readouterr().err
