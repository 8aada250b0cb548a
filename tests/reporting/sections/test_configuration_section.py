"""The section on the configuration of the best models."""

from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Table, list_blocks
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections.configuration import ALWAYS, GROUPS, ROLES, describe_configuration
from keras_inat.reporting.sections.trained_models import choose_groups
from keras_inat.settings.catalog import list_names
from keras_inat.settings.loading import override
from keras_inat.store.records import Result, StageSummary


def read_rows(workshop: Workshop) -> dict[str, list[str]]:
    """Returns the cells of the two tables of settings, after the name of the part, by setting."""
    section = describe_configuration(choose_groups(workshop.read_data_set()))
    tables = [block for block in list_blocks(section.blocks) if isinstance(block, Table)][:2]
    for table in tables:
        parts = [row[0] for row in table.rows if row[0]]
        assert len(parts) == len(set(parts)) > 1
    return {row[1]: row[2:] for table in tables for row in table.rows}


def test_every_setting_that_matters_has_a_part() -> None:
    assert set(list_names(ROLES)) >= ALWAYS
    assert {name.partition(".")[0] for name in list_names(ROLES)} == set(GROUPS)


def test_values_that_differ_from_the_default_have_it_beside_them(workshop: Workshop) -> None:
    workshop.add_run(settings={"training.learning_rate": 0.004, "training.patience": 3, "model.filters": [8, 8, 16]})
    rows = read_rows(workshop)
    assert rows["training.learning_rate"] == ["0.004 (default 0.001)"]
    assert rows["training.optimizer"] == ["adam"]
    assert rows["training.patience"] == ["3 (default 0)"]
    assert rows["model.filters"] == ["8, 8, 16 (default 32)"]
    assert rows["training.objective"] == ["auto: accuracy"]
    assert rows["training.precision"] == ["auto: float32"]
    assert "training.ema" not in rows  # it has its default
    assert "run.name" not in rows
    assert "training.objective" in rows
    assert not any(name.startswith("finetune.") for name in rows)


def test_settings_that_do_not_apply_are_a_dash_or_absent(workshop: Workshop) -> None:
    workshop.add_run(settings={"model.filters": 16})
    weights = {"finetune.backbone": "MobileNet", "finetune.weights": "/home/ada/mobilenet_2_5_224_tf_no_top.h5"}
    run = workshop.add_finetuned("head", settings=weights | {"model.filters": 8, "augment.cutout": 0.3})
    stage = StageSummary(stage="head", parameters=1, learning_rate=0.004, layers=0)
    Result.read(run.result).model_copy(update={"stages": (stage,)}).write(run.result)
    rows = read_rows(workshop)
    assert rows["model.filters"] == ["16 (default 32)", "–"]
    assert rows["finetune.backbone"] == ["–", "MobileNet 0.25 (default MobileNetV2)"]
    assert rows["finetune.weights"] == ["–", "mobilenet_2_5_224_tf_no_top.h5 (default imagenet)"]
    assert rows["learning rates by stage"] == ["–", "head: 0.004, backbone frozen"]
    assert rows["augment.crop"] == ["0.5", "–"]  # cached features
    assert rows["augment.flip"] == ["true", "true"]
    assert "finetune.unfreeze" not in rows
    assert "augment.cutout" not in rows


def test_the_teacher_is_named_without_its_folder(workshop: Workshop) -> None:
    workshop.add_run()
    workshop.add_student(settings={"training.distillation_temperature": 2.0})
    rows = read_rows(workshop)
    assert rows["training.teacher"] == ["–", "topk-MobileNetV2-seed0 (default –)"]
    assert rows["training.distillation_temperature"] == ["–", "2 (default 1)"]


def test_the_rates_of_every_stage_are_listed(workshop: Workshop) -> None:
    run = workshop.add_finetuned("topk")
    stages = (
        StageSummary(stage="head", parameters=1, learning_rate=0.004, layers=0),
        StageSummary(stage="top", parameters=2, learning_rate=0.004, layers=3, backbone_rates=(4e-4, 1e-4)),
    )
    Result.read(run.result).model_copy(update={"stages": stages}).write(run.result)
    rows = read_rows(workshop)
    assert rows["learning rates by stage"] == ["head: 0.004, backbone frozen; top: 0.004, backbone 0.0004 to 0.0001"]
    assert rows["finetune.unfreeze"] == ["20"]
    assert rows["augment.crop"] == ["0.5"]


def test_the_page_names_device_date_commit_packages_and_author(workshop: Workshop) -> None:
    for seed in (0, 1):
        workshop.add_run(seed=seed).predictions.unlink()  # their figures take the most time
    write_report(override(workshop.config, {"report.author": "Ada Lovelace"}))
    text = workshop.read_text()
    for fact in (
        *("author Ada Lovelace", "seeds 0, 1", "device CPU, 2 cores", "epochs 12 of 12; best: 11"),
        *("date (UTC) 2026-11-01", "commit 0123456789ab", "packages keras 3.15.1, tensorflow-cpu 2.21.0"),
    ):
        assert fact in text


def test_no_model_is_a_sentence() -> None:
    assert "No model was trained on these images yet." in format_text(describe_configuration({}))
