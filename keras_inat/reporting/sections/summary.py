"""Summary: test accuracies with their intervals, and the findings in sentences."""

from functools import partial

from keras_inat.errors import PROGRAM
from keras_inat.reporting import formatting
from keras_inat.reporting.blocks import Bullets, Cards, Picture, Prose, Section
from keras_inat.reporting.charts.images import STRIP_LENGTH, draw_prediction_strip
from keras_inat.reporting.figure_folder import FigureFolder
from keras_inat.reporting.formatting import percent, plural
from keras_inat.reporting.history import STUDENT, DataSet, History
from keras_inat.reporting.sections.confusion_matrix import list_frequent_errors
from keras_inat.reporting.sections.records import describe_faults
from keras_inat.reporting.sections.sweep import describe_trial_balance
from keras_inat.reporting.sections.trained_models import TITLES, TrainedModel, choose_groups, read_models
from keras_inat.reporting.statistics.accuracy import (
    compare_groups,
    count_confusion,
    describe_test_accuracy,
    estimate_balanced_accuracy,
    estimate_test_accuracy,
)
from keras_inat.reporting.statistics.conclusion import SweepConclusion
from keras_inat.store.balance import NAMES

GETTING_STARTED = [
    f"`{PROGRAM} demo` runs a sweep, a training and a fine-tuning on drawn organisms, offline, in minutes.",
    f"`{PROGRAM} sweep` searches the hyperparameters of the CNN.",
    f"`{PROGRAM} train-best` trains the best configuration in full and evaluates it once on the test images.",
    f"`{PROGRAM} finetune STRATEGY=head` fine-tunes a pretrained network.",
]
INTERVALS = (
    f"All intervals are 95{formatting.SPACE}% intervals. With n images, an accuracy describes one trained model, and "
    "its interval covers other test images. With n seeds, it describes the configuration, and its interval covers "
    "other seeds as well."
)


def describe_scope(history: History, author: str) -> str:
    """Returns what the page is about, in a line."""
    parts = []
    for data_set in history.data_sets:
        data = data_set.data
        if data:
            counts = data.counts
            parts.append(
                f"{data_set.name}: {plural(len(data.classes), 'class')}, {counts.train:,} training, "
                f"{counts.validation:,} validation and {counts.test:,} test images"
            )
    num_trials = sum(len(sweep.trials) for data_set in history.data_sets for sweep in data_set.sweeps)
    parts.append(f"{plural(len(history.runs), 'evaluated run')}, {plural(num_trials, 'trial')}")
    created = [run.result.created for run in history.runs]
    if created:
        parts.append(max(created)[:10])
    if author:
        parts.append(author)
    return " · ".join(parts)


def summarize(history: History, findings: list[str], figures: FigureFolder) -> Section:
    """Returns the section with a card for each test accuracy, the other findings and some predictions."""
    cards = []
    for data_set in history.data_sets:
        for command, group in choose_groups(data_set).items():
            training = TITLES[command].lower()
            title = f"{data_set.name}: test accuracy {training}"
            balanced = estimate_balanced_accuracy(group)
            if balanced:
                title += f", majority baseline {percent(group.best.test.majority_baseline)}"
            cards.append((title, estimate_test_accuracy(group)))
            if balanced:
                cards.append((f"{data_set.name}: balanced test accuracy {training}", balanced))
    blocks = describe_faults(history.ledger)
    if cards:
        blocks.append(Cards(cards))
    if findings:
        blocks.append(Bullets(findings))
    models = read_models(history.data_sets[0])
    if models:
        best = max(models, key=lambda model: model.run.result.val_score)
        blocks.append(_show_predictions(best, figures))
    return Section("", [*blocks, Prose(INTERVALS)])


def _show_predictions(model: TrainedModel, figures: FigureFolder) -> Picture:
    shown = model.predictions.examples[:STRIP_LENGTH]
    num_correct = int(model.predictions.correct[shown].sum())
    text = (
        f"Test images drawn at random, with the predicted class of `{model.run.title}`: {num_correct} of {len(shown)} "
        "are correct."
    )
    draw = partial(draw_prediction_strip, model.predictions, model.run.data.classes)
    return figures.add("predictions", draw, text.replace("`", ""), text)


def list_accuracies(data_set: DataSet) -> list[str]:
    """Returns the test accuracies of the best models on a data set, a sentence each."""
    sentences = []
    for command, group in choose_groups(data_set).items():
        noun = group.subject.removeprefix("trained ")
        models = {
            "train-best": f"{noun} from scratch",
            STUDENT: f"{noun} with a teacher ({group.best.teacher})",
            "finetune": f"fine-tuned {noun} ({group.title})",
        }
        accuracy = describe_test_accuracy(group)
        sentences.append(f"{data_set.name}: the best {models[command]} has a test accuracy of {accuracy}.")
    return sentences


def list_findings(data_set: DataSet, conclusion: SweepConclusion | None) -> list[str]:
    """Returns what else was found on a data set: the gain of fine-tuning, the clearest effect, the commonest error."""
    findings = [*_compare_with_scratch(data_set, "finetune"), *_compare_with_scratch(data_set, STUDENT)]
    if conclusion and conclusion.adjusted:
        findings.append(f"{data_set.name}: {next(iter(conclusion.significant), _describe_no_effect(conclusion))}")
    for model in read_models(data_set)[:1]:
        classes = model.run.data.classes
        counts = count_confusion(model.predictions, len(classes))
        error = next(iter(list_frequent_errors(counts, classes)), "")
        if error:
            findings.append(
                f"{data_set.name}: the most frequent error of `{model.run.title}` is {error}. The interval does not "
                "account for this selection."
            )
    best = data_set.sweeps[0].best if data_set.sweeps else None
    if not data_set.groups and best:
        sweep = data_set.sweeps[0]
        score = f"{NAMES[best.objective]} of {percent(best.score)}{describe_trial_balance(sweep, best)}"
        findings.append(
            f"{data_set.name}: the best of {plural(len(sweep.completed), 'trial')} of the sweep {sweep.name} has a "
            f"{score}. It was selected by this accuracy, which is therefore optimistic. No model was evaluated on the "
            "test images yet."
        )
    if not data_set.groups and data_set.suspects:
        outcome = data_set.suspects.outcome
        findings.append(
            f"{data_set.name}: {plural(len(outcome.suspects), 'label suspect')} of {outcome.num_images:,} images. No "
            "model was evaluated on the test images yet."
        )
    return findings


def _describe_no_effect(conclusion: SweepConclusion) -> str:
    num_trials = plural(len(conclusion.sweep.completed), "trial")
    if conclusion.trials_for_3_points:
        return (
            f"the sweep is too small to show an effect of a hyperparameter: {num_trials}, a median margin of error of "
            f"{100 * conclusion.margin:.1f} points."
        )
    return f"no hyperparameter has a significant effect in {num_trials} of the sweep."


def _compare_with_scratch(data_set: DataSet, command: str) -> list[str]:
    """Returns the paired difference between the best model of a command and the best one from scratch."""
    groups = choose_groups(data_set)
    scratch = groups.get("train-best")
    other = groups.get(command)
    if not scratch or not other:
        return []
    best, single = {
        "finetune": ("the best fine-tuned model", f"the fine-tuned `{other.best.title}`"),
        STUDENT: ("the best model with a teacher", f"`{other.best.title}`, with a teacher,"),
    }[command]
    scores = {"accuracy": False}
    if data_set.data and data_set.data.is_imbalanced:
        scores["balanced accuracy"] = True
    sentences = []
    for score, is_balanced in scores.items():
        difference = compare_groups(scratch, other, is_balanced)
        if difference:
            points, interval = formatting.percentage_points(difference)
            names = f"{best} minus that of the best model from scratch"
            if difference.unit == "images":
                names = f"{single} minus that of `{scratch.best.title}`, from scratch,"
            text = (
                f"{data_set.name}: on the same test images, the {score} of {names} is {points} points (95 % interval "
                f"{interval}, {formatting.sample_size(difference)})."
            )
            if not difference.excludes_zero:
                text += " The difference is not significant."
            if difference.unit == "images":
                text += " Two trained models are compared: other seeds may differ."
            sentences.append(text)
    return sentences
