"""Discussion: what mattered, what did not, what is unknown and what to try next, from the effects on the page."""

from keras_inat.errors import PROGRAM
from keras_inat.intervals import Estimate
from keras_inat.reporting.blocks import Bullets, Section
from keras_inat.reporting.formatting import SPACE, percentage_points, plural, sample_size
from keras_inat.reporting.history import STUDENT, DataSet, SeedGroup
from keras_inat.reporting.statistics.accuracy import compare_groups
from keras_inat.reporting.statistics.conclusion import SweepConclusion

TITLE = "Discussion"
LEAD = "Only effects that the sections below show, each with its interval."
MIN_SEEDS = 3
MIN_TRIALS = 40
MAX_NAMES = 8  # in a sentence


def discuss(data_set: DataSet, conclusion: SweepConclusion | None) -> Section:
    """Returns the section on a data set and the newest sweep on it."""
    scratch = data_set.find_groups("train-best")[:1]
    tuned = data_set.find_groups("finetune")
    students = data_set.find_groups(STUDENT)[:1]
    pretraining = compare_groups(scratch[0], tuned[0]) if scratch and tuned else None
    teaching = compare_groups(scratch[0], students[0]) if scratch and students else None
    strategies = [(group.title, compare_groups(tuned[0], group)) for group in tuned[1:]]
    compared = [(title, difference) for title, difference in strategies if difference]
    paragraphs = {
        "What mattered": _list_effects(pretraining, teaching, compared, conclusion),
        "What did not": conclusion and conclusion.small and [f"Less than 3 points: {_join(conclusion.small)}."],
        "What is unknown": _list_unknown(pretraining, teaching, compared, conclusion, [*scratch, *students, *tuned]),
        "What to try next": _list_next_steps(conclusion, [*scratch, *students, *tuned]),
    }
    items = [f"{title}: {' '.join(sentences)}" for title, sentences in paragraphs.items() if sentences]
    return Section(TITLE, [Bullets(items)] if items else [], lead=LEAD)


def _list_effects(
    pretraining: Estimate | None,
    teaching: Estimate | None,
    strategies: list[tuple[str, Estimate]],
    conclusion: SweepConclusion | None,
) -> list[str]:
    sentences = []
    if pretraining and pretraining.excludes_zero:
        verb = "is better" if pretraining.value > 0 else "is worse"
        sentences.append(
            f"The best fine-tuned model {verb} than the best one from scratch: {_describe(pretraining)}. Their "
            "settings differ as well, so this is not the effect of pretraining alone."
        )
    if teaching and teaching.excludes_zero:
        verb = "is better" if teaching.value > 0 else "is worse"
        sentences.append(f"The best model with a teacher {verb} than the best one from scratch: {_describe(teaching)}.")
    worse = [f"{title}, {_describe(difference)}" for title, difference in strategies if difference.high < 0]
    if worse:
        sentences.append(f"Fine-tuned models that are worse than the best one: {'; '.join(worse[:MAX_NAMES])}.")
    return sentences + (conclusion.significant[:MAX_NAMES] if conclusion else [])


def _list_unknown(
    pretraining: Estimate | None,
    teaching: Estimate | None,
    strategies: list[tuple[str, Estimate]],
    conclusion: SweepConclusion | None,
    groups: list[SeedGroup],
) -> list[str]:
    sentences = []
    if pretraining and not pretraining.excludes_zero:
        sentences.append(
            f"It is open which of fine-tuning and training from scratch is better: {_describe(pretraining)}."
        )
    if teaching and not teaching.excludes_zero:
        sentences.append(f"It is open if the teacher helps: {_describe(teaching)}.")
    open_questions = [title for title, difference in strategies if not difference.excludes_zero]
    if open_questions:
        sentences.append(f"Not significantly different from the best fine-tuned model: {_join(open_questions)}.")
    if conclusion and conclusion.reason:
        sentences.append(conclusion.reason)
    if conclusion and conclusion.inconclusive:
        sentences.append(f"The effects of {_join(conclusion.inconclusive)} may be larger than 3 points, or zero.")
    if conclusion and conclusion.not_estimated:
        sentences.append(f"The effects of {_join(conclusion.not_estimated)} were not estimated.")
    if conclusion and conclusion.untried:
        sentences.append(f"Never tried: {_join(conclusion.untried)}.")
    if groups and all(len(group.runs) == 1 for group in groups):
        sentences.append("The variation over seeds is unknown, because every configuration was trained once.")
    return sentences


def _list_next_steps(conclusion: SweepConclusion | None, groups: list[SeedGroup]) -> list[str]:
    sentences = []
    if conclusion and conclusion.reason and len(conclusion.sweep.completed) < MIN_TRIALS:
        sentences.append(f"`{PROGRAM} sweep TRIALS={MIN_TRIALS}` makes most effects of hyperparameters estimable.")
    if conclusion and conclusion.trials_for_3_points:
        num_needed = round(conclusion.trials_for_3_points, -1)
        sentences.append(
            f"About {num_needed:,} trials instead of {len(conclusion.sweep.completed):,} would bring the margin of "
            f"error of most effects to 3 points: `{PROGRAM} sweep TRIALS={num_needed}`."
        )
    commands = {_name_command(group) for group in groups if len(group.runs) < MIN_SEEDS}
    repeated = " and ".join(f"`{PROGRAM} {command} SEEDS={MIN_SEEDS}`" for command in sorted(commands, reverse=True))
    if repeated:
        sentences.append(f"{repeated}: several seeds separate a configuration from the luck of one training.")
    return sentences


def _name_command(group: SeedGroup) -> str:
    """Returns the command of a group, with its teacher if it has one."""
    best = group.best
    teacher = f" training.teacher={best.result.config.training.teacher}" if best.teacher else ""
    return best.folder.command + teacher


def _describe(difference: Estimate) -> str:
    points, interval = percentage_points(difference)
    return f"{points} points (95{SPACE}% interval {interval}, {sample_size(difference)})"


def _join(names: list[str]) -> str:
    """Returns at most eight names with commas, and the number of the others."""
    shown = ", ".join(names[:MAX_NAMES])
    num_others = len(names) - MAX_NAMES
    return shown if num_others <= 0 else f"{shown} and {plural(num_others, 'other')}"
