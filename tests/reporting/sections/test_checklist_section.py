"""The checklist of requirements."""

import re

import pytest
from report_workshop import Workshop

from keras_inat.commands import report
from keras_inat.errors import UserError
from keras_inat.reporting.blocks import Chapter, Picture, Section, Table
from keras_inat.reporting.history import read_history
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections.checklist import REQUIREMENTS, check_requirements
from keras_inat.settings.loading import override


def test_requirements_link_to_their_section(workshop: Workshop) -> None:
    workshop.add_sweep("s", [{"model.filters": 8}, {"model.filters": 16}], [0.4, 0.5])
    workshop.add_run()
    with pytest.raises(UserError, match=r"lacks \d+ required sections: .*importance of hyperparameters") as failure:
        report.run(override(workshop.config, {"report.strict": True}))
    assert "parallel coordinates of the trials" not in str(failure.value)
    page = workshop.read_page()
    [anchor] = re.findall(r'example predictions on test images, in a grid of [^<]+</td><td><a href="#([^"]+)"', page)
    assert f'<h3 id="{anchor}">Example predictions</h3>' in page
    assert "importance of hyperparameters missing: run keras-inat sweep TRIALS=40" in workshop.read_text()
    markdown = (workshop.reports / "README.md").read_text(encoding="utf-8")
    assert "| reproduction of every run | Reproduction |" in markdown


def test_columns_of_a_table_meet_requirements() -> None:
    section = Section("Sweep", [Table("", "lr", ["hyperparameter", "importance"], [])])
    missing = check_requirements([Chapter("toy", [section])], []).missing
    assert "importance of hyperparameters" not in missing
    assert "correlation of hyperparameters with accuracy" in missing


def test_three_strategies_are_required(workshop: Workshop) -> None:
    section = Section("Fine-tuning", [Picture("figures/toy-costs.svg", "", "", 1, 1)])
    for strategy, is_enough in (("head", False), ("topk", False), ("full", True)):
        workshop.add_finetuned(strategy, correct=70, val=0.7)
        checklist = check_requirements([Chapter("toy", [section])], read_history(workshop.runs).data_sets)
        assert ("comparison of at least 3 fine-tuning strategies" not in checklist.missing) is is_enough


def test_an_empty_page_lacks_everything(workshop: Workshop) -> None:
    assert len(write_report(workshop.config).missing) == len(REQUIREMENTS)
