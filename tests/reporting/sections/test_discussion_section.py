"""The discussion: only effects that the page shows, and what to try next."""

from report_workshop import Workshop

from keras_inat.reporting.sections.discussion import discuss
from keras_inat.reporting.statistics.conclusion import conclude_sweep


def read_discussion(workshop: Workshop) -> dict[str, str]:
    """Returns the text of each paragraph by its title."""
    data_set = workshop.read_data_set()
    conclusion = conclude_sweep(data_set.sweeps[0]) if data_set.sweeps else None
    section = discuss(data_set, conclusion)
    if not section.blocks:
        return {}
    [bullets] = section.blocks
    return dict(item.replace("\xa0", " ").split(": ", 1) for item in bullets.items)


def test_a_clear_difference_mattered_and_an_unclear_one_is_unknown(workshop: Workshop) -> None:
    workshop.add_run(correct=50)
    workshop.add_finetuned("topk", correct=80, val=0.8)
    workshop.add_finetuned("head", correct=79, val=0.7)
    workshop.add_finetuned("full", correct=55, val=0.6)
    paragraphs = read_discussion(workshop)
    assert paragraphs["What mattered"].startswith(
        "The best fine-tuned model is better than the best one from scratch: +30.0 points (95 % interval +"
    )
    assert "worse than the best one: full: MobileNetV2, −25.0 points (95 % interval −" in paragraphs["What mattered"]
    assert "head: MobileNetV2" not in paragraphs["What mattered"]
    assert "different from the best fine-tuned model: head: MobileNetV2." in paragraphs["What is unknown"]
    assert "every configuration was trained once" in paragraphs["What is unknown"]
    assert "train-best SEEDS=3` and `keras-inat finetune SEEDS=3`" in paragraphs["What to try next"]


def test_a_small_sweep_is_unknown_and_a_large_one_is_concluded(workshop: Workshop) -> None:
    workshop.add_sweep("s", [{"model.filters": filters} for filters in (8, 16)], [0.4, 0.5])
    assert "Too few trials to estimate adjusted effects" in read_discussion(workshop)["What is unknown"]
    settings = [{"model.batch_norm": number % 2 == 0, "model.filters": (8, 16, 32)[number % 3]} for number in range(48)]
    scores = [0.5 + 0.1 * chosen["model.batch_norm"] + 0.002 * (7 * n % 5) for n, chosen in enumerate(settings)]
    other = Workshop(workshop.runs.parent / "other")
    other.add_sweep("s", settings, scores)
    paragraphs = read_discussion(other)
    assert paragraphs["What mattered"].startswith("`batch_norm` true against false: +10.0 points (95 % interval +")
    assert paragraphs["What did not"] == "Less than 3 points: `filters`."


def test_nothing_is_discussed_before_the_first_run(workshop: Workshop) -> None:
    workshop.add_suspects(3)
    assert read_discussion(workshop) == {}
