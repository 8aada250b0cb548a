"""The sections on fine-tuning and on its comparison with models from scratch."""

import re

from report_workshop import Workshop, format_text

from keras_inat.reporting.blocks import Picture, Table, list_blocks
from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections.fine_tuning import describe_comparison, describe_fine_tuning, tabulate_differences
from keras_inat.reporting.sections.learning_curves import describe_learning_curves
from keras_inat.reporting.sections.network import describe_network
from keras_inat.reporting.sections.records import describe_reproduction
from keras_inat.reporting.sections.summary import list_accuracies, list_findings
from keras_inat.settings.loading import build_config, merge


def test_strategies_are_compared_over_seeds(workshop: Workshop) -> None:
    for seed in range(3):
        workshop.add_run(seed=seed, correct=50 + seed)
        workshop.add_finetuned("head", seed=seed, correct=70 + 3 * seed, val=0.70)
        workshop.add_finetuned("full", seed=seed, correct=(72, 71, 78)[seed], val=0.71)
        workshop.add_finetuned("lpft", seed=seed, correct=60 + 3 * seed, val=0.60)
    data_set = workshop.read_data_set()
    sections = [describe_fine_tuning(data_set, workshop.figures), describe_comparison(data_set, workshop.figures)]
    text = format_text(*sections)
    # Against `full`: head is 2, -2 and 2 images behind, lpft 12, 8 and 12.
    assert re.search(r"head: MobileNetV2 −0.7 −\d.\d to \+\d.\d 3 seeds configurations not significant", text)
    assert re.search(r"lpft: MobileNetV2 −10.7 −\d+.\d to −\d.\d 3 seeds configurations worse", text)
    [against_scratch] = re.findall(
        r"full: MobileNetV2 (\+22.7 \+\d+.\d to \+\d+.\d) 3 seeds configurations better", text
    )
    assert "relative to the configuration with the best" in text
    assert "does not tell which configuration is better" not in text
    # The summary has the same numbers as the table.
    points, interval = against_scratch.split(maxsplit=1)
    finding = list_findings(data_set, None)[0].replace("\xa0", " ")
    assert f"is {points} points (95 % interval {interval}, n = 3 seeds)." in finding
    alts = {}
    for section in sections:
        alts |= {block.file: block.alt for block in list_blocks(section.blocks) if isinstance(block, Picture)}
    for name in ("costs", "validation-by-time", "class-differences"):
        assert len(alts[f"figures/{name}.svg"]) >= 40


def test_one_seed_is_not_called_a_configuration(workshop: Workshop) -> None:
    """Seeds of one configuration differ as well: the page says so, and by how much where it is known."""
    workshop.add_run(correct=40)
    workshop.add_finetuned("topk", correct=70, val=0.7)
    workshop.add_finetuned("head", correct=55, val=0.6)
    data_set = workshop.read_data_set()
    sections = [describe_fine_tuning(data_set, workshop.figures), describe_comparison(data_set, workshop.figures)]
    text = format_text(*sections, describe_learning_curves(data_set, workshop.figures))
    assert re.search(r"head: MobileNetV2 −15.0 −\d+.\d to −\d.\d 100 images two trained models worse", text)
    assert "relative to the trained model with the best validation accuracy" in text
    assert "relative to the best trained model from scratch" in text
    assert "This trained model has a test accuracy of 70.0 %" in text
    assert "This configuration" not in text
    assert "SEEDS=3 trains three seeds of each" in text
    for seed, correct in ((1, 64), (2, 72)):
        workshop.add_finetuned("topk", seed=seed, correct=correct, val=0.7)
    groups = workshop.read_data_set().find_groups("finetune")
    text = format_text(tabulate_differences(groups[0], groups[1:], ["head"], "the best"))
    assert "single seeds differ by up to 8.0 points (topk 20: MobileNetV2, 3 seeds)" in text


def test_configurations_with_the_same_title_keep_their_names(workshop: Workshop) -> None:
    for val, correct in ((0.8, 80), (0.7, 72), (0.5, 55)):
        workshop.add_finetuned("head", correct=correct, val=val, settings={"training.learning_rate": val})
    section = describe_fine_tuning(workshop.read_data_set(), workshop.figures)
    configurations, differences = [block for block in list_blocks(section.blocks) if isinstance(block, Table)]
    title = "head: MobileNetV2 (head-MobileNetV2)"
    accuracies = {row[0]: row[7].replace("\xa0", " ") for row in configurations.rows}
    assert accuracies == {title: "80.0 %", f"{title} #2": "72.0 %", f"{title} #3": "55.0 %"}
    points = {row[0]: row[1] for row in differences.rows}
    assert points == {f"{title} #2": "\N{MINUS SIGN}8.0", f"{title} #3": "\N{MINUS SIGN}25.0"}


def test_a_narrow_backbone_has_its_full_name(workshop: Workshop) -> None:
    weights = {"finetune.backbone": "MobileNet", "finetune.weights": "mobilenet_2_5_224_tf_no_top.h5"}
    workshop.add_finetuned("head", settings=weights)
    data_set = workshop.read_data_set()
    assert "head: MobileNet 0.25 1 " in format_text(describe_fine_tuning(data_set, workshop.figures))
    [finding] = list_accuracies(data_set)
    assert "the best fine-tuned model (head: MobileNet 0.25) has" in finding


def test_train_best_may_fine_tune(workshop: Workshop) -> None:
    workshop.config = build_config(merge(workshop.config.model_dump(), {"finetune": {"strategy": "head"}}))
    workshop.add_run("train-best", "best", correct=70)
    workshop.add_sweep("s", [{"finetune.unfreeze": number} for number in (2, 3)], [0.4, 0.3])
    data_set = workshop.read_data_set()
    [finding] = list_accuracies(data_set)
    assert "the best fine-tuned model (head: MobileNetV2) has a test accuracy of 70.0 %" in finding.replace("\xa0", " ")
    # No CNN has a cost to describe.
    assert "No CNN was trained from scratch on these images yet" in format_text(describe_network(data_set))
    assert "keras-inat train-best NAME=again" in format_text(describe_reproduction(read_history(workshop.runs).runs))


def test_many_classes_are_shown_in_excerpts(workshop: Workshop) -> None:
    workshop.classes = tuple(f"class {number}" for number in range(60))
    data = workshop.describe_data(num_test=1200)
    workshop.add_run(correct=700, data=data)
    workshop.add_finetuned("head", correct=690, shift=1, data=data)
    section = describe_comparison(workshop.read_data_set(), workshop.figures)
    pictures = [block for block in list_blocks(section.blocks) if isinstance(block, Picture)]
    [chart] = [picture for picture in pictures if "class-differences" in picture.file]
    assert "the 20 largest and the 20 smallest differences of 60 classes" in chart.caption
    [shown] = re.findall(r"Difference by class, in percentage points: (.+)\.", chart.alt)
    differences = [float(text.split()[-1].replace("−", "-")) for text in shown.split(", ")]
    assert len(differences) == 40
    assert differences == sorted(differences, reverse=True)
    assert differences[-1] < 0
