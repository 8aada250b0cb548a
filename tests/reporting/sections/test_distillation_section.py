"""Models with a teacher: their own rows on the page, in tables and in cards."""

import re

from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Table, list_blocks
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections.distillation import describe_distillation
from keras_inat.reporting.sections.fine_tuning import describe_comparison
from keras_inat.reporting.sections.summary import list_accuracies, list_findings

TEACHER = "topk-MobileNetV2-seed0"


def test_students_have_a_table_of_their_own_and_a_paired_difference(workshop: Workshop) -> None:
    for seed in range(3):
        workshop.add_run(seed=seed, correct=50 + seed)
        workshop.add_student(seed=seed, correct=60 + seed, val=0.6, settings={"training.teacher_weight": 0.5})
        workshop.add_finetuned("head", seed=seed, correct=70 + seed, val=0.7)
    data_set = workshop.read_data_set()
    section = describe_distillation(data_set)
    students, differences = [block for block in list_blocks(section.blocks) if isinstance(block, Table)]
    cells = [[cell.replace("\xa0", " ") for cell in row] for row in students.rows]
    assert [row[:6] + row[7:9] for row in cells] == [
        ["with a teacher: taught", "3", TEACHER, "1", "0.5", "12", "60.0 %", "61.0 %"]
    ]
    assert [row[:2] for row in differences.rows] == [["with a teacher: taught", "+10.0"]]
    assert "best configuration from scratch" in differences.caption

    text = format_text(describe_comparison(data_set, workshop.figures))
    assert re.search(r"with a teacher: taught \+10\.0 .* 3 seeds configurations better", text)
    accuracies = " ".join(list_accuracies(data_set)).replace("\xa0", " ")
    assert f"the best configuration with a teacher ({TEACHER}) has a test accuracy of 61.0 %" in accuracies
    assert "the best configuration from scratch has a test accuracy of 51.0 %" in accuracies
    findings = " ".join(list_findings(data_set, None))
    assert "accuracy of the best model with a teacher minus that of the best model from scratch is +10.0" in findings
    assert "accuracy of the best fine-tuned model minus that of the best model from scratch is +20.0" in findings


def test_one_seed_with_a_teacher_is_a_trained_model(workshop: Workshop) -> None:
    scratch = workshop.add_run(correct=50)
    student = workshop.add_student(correct=70)
    findings = " ".join(list_findings(workshop.read_data_set(), None))
    names = f"`{student.path.name}`, with a teacher, minus that of `{scratch.path.name}`, from scratch,"
    assert f"accuracy of {names} is +20.0" in findings


def test_the_page_shows_students_beside_models_from_scratch(workshop: Workshop) -> None:
    workshop.add_run(correct=50)
    student = workshop.add_student(correct=70)
    student.model.touch()
    for run in workshop.runs.glob("train-best/*"):
        (run / "validation_sample.npz").unlink()  # its figures take the most time
        (run / "training_sample.npz").unlink()
    write_report(workshop.config)
    text = workshop.read_text()
    assert "toy: test accuracy with a teacher" in text
    assert "toy: test accuracy from scratch" in text
    assert "CNNs that learned from the predictions of a teacher" in text
    assert "the training loss is on another scale" in text
    assert f"{student.path.name}, with a teacher 49,386" in text  # the cost of every run
    assert "several seeds separate" in text
    assert "train-best training.teacher=runs/finetune/20261101-080000-topk-MobileNetV2-seed0 SEEDS=3" in text
    figures = workshop.list_figures()
    assert {"toy-train-best-confusion", "toy-student-confusion", "toy-student-learning-curves"} <= figures
    rows = workshop.read_results()
    assert [(row["strategy"], row["teacher"]) for row in rows] == [("scratch", ""), ("scratch with a teacher", TEACHER)]
    card = (workshop.reports / "models" / f"{student.path.name}.md").read_text(encoding="utf-8")
    assert f"is a CNN that learned from the teacher `{TEACHER}`" in card


def test_a_page_without_students_has_no_such_section(workshop: Workshop) -> None:
    workshop.add_run().predictions.unlink()
    write_report(workshop.config)
    assert "With a teacher" not in workshop.read_text()
