from pathlib import Path

import pytest

from keras_inat.errors import UserError
from keras_inat.search.space import (
    build_hyperparameters,
    configure_trial,
    decode_values,
    describe_values,
    encode_base,
    is_forbidden,
)
from keras_inat.settings.loading import load_config, override
from keras_inat.settings.recipes import RECIPES
from keras_inat.settings.schema import Augment, Config

ROOT = Path(__file__).parents[2]


def config(space):
    return load_config([f"sweep.space={space}"])


def test_the_space_of_the_documentation_tries_weights_and_sampling_one_at_a_time(tmp_path):
    page = (ROOT / "docs" / "howto" / "imbalance.md").read_text(encoding="utf-8")
    (tmp_path / "my.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    given = load_config([], tmp_path / "my.yaml")
    assert given.training.objective == "balanced_accuracy"
    space = build_hyperparameters(given)
    (condition,) = next(hp for hp in space.space if hp.name == "training.class_weights").conditions
    assert condition.is_active({"training.sampling": "shuffle"})
    assert not condition.is_active({"training.sampling": "balanced"})
    for settings in ({"training.sampling": "balanced"}, {"training.class_weights": "balanced"}):
        configure_trial(given, settings)


def test_every_kind_of_domain():
    given = config(
        "{model.filters: [8, 16], model.batch_norm: [true, false], model.activation: [relu, gelu], model.dropout:"
        " [0, 0.5], model.kernel_size: [3, [3, 3, 2, 2, 2]], training.batch_size:"
        " {min: 1, max: 9}, training.learning_rate: {min: 1e-4, max: 1e-1, log: true}, model.num_blocks: [5]}"
    )
    hyperparameters = build_hyperparameters(given)
    kinds = {hp.name: type(hp).__name__ for hp in hyperparameters.space}
    assert kinds == {
        "model.filters": "Choice",
        "model.batch_norm": "Boolean",
        "model.activation": "Choice",
        "model.dropout": "Choice",
        "model.kernel_size": "Choice",
        "training.batch_size": "Int",
        "training.learning_rate": "Float",
        "model.num_blocks": "Fixed",
    }
    encoded = {"model.kernel_size": "[3, 3, 2, 2, 2]", "model.batch_norm": False}
    decoded = decode_values(given, encoded | {"model.dropout": 0.5, "training.batch_size": 3, "model.num_blocks": 5})
    assert decoded["model.kernel_size"] == [3, 3, 2, 2, 2]
    assert decoded["model.batch_norm"] is False
    assert decoded["training.batch_size"] == 3


@pytest.mark.parametrize(
    ("space", "base"),
    [
        ("{model.filters: [8, 32], model.activation: [gelu, relu]}", {"model.filters": 32, "model.activation": "relu"}),
        ("{model.kernel_size: [3, [3, 3, 2, 2, 2]]}", {"model.kernel_size": "3"}),
        ("{training.learning_rate: {min: 1e-4, max: 1e-2}}", {"training.learning_rate": 1e-3}),
        ("{model.filters: [8, 16], model.activation: [gelu, relu]}", None),
        ("{training.learning_rate: {min: 2e-3, max: 1e-2}}", None),
        ("{finetune.unfreeze: [2, 3]}", None),
    ],
)
def test_the_configuration_is_encoded_as_a_point_of_its_space(space, base):
    assert encode_base(config(space)) == base


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("{}", "`sweep.space` is empty"),
        ("{model.filter: [3]}", "Did you mean 'model.filters'?"),
        ("{model.filters: [3, many]}", "`model.filters` must be a valid integer"),
        ("{model.activation: [relu, rulu]}", "Did you mean 'relu'?"),
        ("{model.filters: []}", "no choice for `model.filters`"),
        ("{model.dropout: {min: 0.1}}", "max: Field required. Give {min, max}"),
        ("{model.dropout: {min: 0.5, max: 0.1}}", "from a number to a larger one"),
        ("{model.dropout: {min: 0, max: 0.5, log: true}}", "min of a logarithmic range must be above 0"),
        ("{model.dropout: {min: 0.1, max: 1.5}}", "`model.dropout` must be less than 1"),
        ("{model.dropout: {min: 0.1, max: 0.5, step: 0}}", "must be above 0"),
        ("{model.dropout: {min: 0.1, max: 0.5, step: .nan}}", "step: Input should be a finite number"),
        ("{model.batch_norm: {min: 0, max: 1}}", "`model.batch_norm` in `sweep.space` is not a number"),
        ("{training.batch_size: {min: 1, max: 9, step: x}}", "step: Input should be a valid number"),
        ("{model.dropout: {min: 0.1, max: 0.5, log: 'no'}}", "log: Input should be a valid boolean"),
        ("{model.dropout: {min: 0.1, max: 0.5, step: 0.5}}", "makes 0 steps"),
        ("{model.dropout: {min: 0.1, max: 0.5, step: 1e-9}}", "makes 400000000 steps"),
        ("{training.learning_rate: {min: 1e-4, max: 1e-1, log: true, step: 1}}", "or above 1 in a logarithmic range"),
        ("{training.learning_rate: {min: 1e-4, max: .inf}}", "max: Input should be a finite number"),
        ("{model.filters: [2, 2, 4]}", "gives `model.filters` the choice 2 twice"),
        ("{model.dropout: [0, 0.0, 0.1]}", "the choice 0.0 twice"),
        ("{model.kernel_size: [3, 3, 5]}", "needs its own brackets"),
        ("{finetune.unfreeze: [2, 3]}", "needs a `finetune` section"),
        ("{training.epochs: [1, 2]}", "a name in `sweep.space` must be one of"),
        ("{model.dropout: {choices: [0.1], whne: {}}}", "whne: Extra inputs are not permitted"),
        ("{run.seed: [1, 2]}", "a name in `sweep.space` must be one of"),
        ("{data.split_seed: [1, 2]}", "a name in `sweep.space` must be one of"),
    ],
)
def test_a_wrong_space_is_refused(space, words):
    with pytest.raises(UserError) as error:
        build_hyperparameters(config(space))
    assert words in str(error.value)


def test_a_space_of_the_cnn_is_refused_for_a_backbone():
    given = load_config(["STRATEGY=head", "sweep.space={model.filters: [8, 16]}"], RECIPES / "finetune.yaml")
    with pytest.raises(UserError, match=r"model\.filters. in .sweep\.space. belongs to the CNN"):
        build_hyperparameters(given)


@pytest.mark.parametrize(
    ("name", "steps", "values"),
    [
        ("model.dropout", "{min: 0, max: 0.3, step: 0.1}", [0.0, 0.1, 0.2, 0.3]),
        ("model.dropout", "{min: 0.1, max: 0.7, step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        ("model.dropout", "{min: 0.1, max: 0.45, step: 0.1}", [0.1, 0.2, 0.3, 0.4]),
        ("model.filters", "{min: 8, max: 64, step: 2, log: true}", [8, 16, 32, 64]),
        ("training.batch_size", "{min: 16, max: 48, step: 16}", [16, 32, 48]),
        ("training.learning_rate", "{min: 1e-4, max: 0.1, step: 10, log: true}", [1e-4, 1e-3, 1e-2, 0.1]),
    ],
)
def test_a_range_with_steps_includes_its_last_value(name, steps, values):
    (hyperparameter,) = build_hyperparameters(config(f"{{{name}: {steps}}}")).space
    assert hyperparameter.values == values
    assert {type(value) for value in hyperparameter.values} == {type(values[0])}
    places = [hyperparameter.value_to_prob(value) for value in values]
    assert places == sorted(set(places))


def test_image_scales_can_be_searched():
    space = "{training.image_scales: [[0.5, 1.0], [1.0]]}"
    given = load_config([f"sweep.space={space}", "model.pooling=average", "training.epochs=2"])
    values = [decode_values(given, {"training.image_scales": text}) for text in ("[0.5, 1.0]", "[1.0]")]
    assert values == [{"training.image_scales": [0.5, 1.0]}, {"training.image_scales": [1.0]}]


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_can_be_searched(path):
    shipped = load_config([], path)
    if shipped.sweep.space:
        assert len(build_hyperparameters(shipped).space) == len(shipped.sweep.space)


def test_every_augmentation_can_be_searched():
    domains = {
        "flip": [True, False],
        "crop": {"min": 0.2, "max": 1.0},
        "rotation": [0, 15],
        "color": [0.0, 0.2],
        "cutout": [0.0, 0.25],
        "mixup": [0, 0.2],
        "cutmix": [0, 1.0],
        "policy": ["none", "randaugment", "trivialaugment"],
    }
    assert set(domains) == set(Augment.model_fields)
    given = override(Config(), {"sweep.space": {f"augment.{name}": domain for name, domain in domains.items()}})
    values = build_hyperparameters(given).values
    assert set(values) == set(given.sweep.space)
    assert override(given, decode_values(given, values)).augment.policy == "none"


def test_a_setting_that_takes_a_number_or_a_list_is_searched_among_integers():
    (hyperparameter,) = build_hyperparameters(config("{model.filters: {min: 8, max: 64, log: true}}")).space
    assert type(hyperparameter).__name__ == "Int"


@pytest.mark.parametrize(
    "space",
    [
        "{model.filters: [8, [8, 8, 8, 8, 8]], model.filter_organization: [double, same]}",
        "{model.residual: [true, false], model.convolutions: [1, 2, 3]}",
        "{model.filters: [8, 32], model.filter_organization: [half], model.min_filters: [1, 8]}",
    ],
)
def test_choices_that_only_fail_together_are_accepted(space):
    assert build_hyperparameters(config(space)).space


def test_settings_are_described_in_one_line():
    assert (
        describe_values({"model.filters": 8, "training.learning_rate": 0.00123456}) == "filters=8 learning_rate=0.00123"
    )


CONDITIONAL = (
    "sweep.space={model.dense_units: [0, 64], model.dropout: {min: 0.1, max: 0.5, when: {model.dense_units: 64}}, "
    "model.dropout_placement: {choices: [before_dense, after_dense], when: {model.dense_units: [64]}}, "
    "training.batch_size: 32}"
)


def test_conditions_depend_on_earlier_settings():
    given = load_config([CONDITIONAL, "model.dense_units=0"])
    space = build_hyperparameters(given)
    assert [hp.name for hp in space.space if space.is_active(hp)] == ["model.dense_units", "training.batch_size"]
    conditions = {hp.name: hp.conditions for hp in space.space}
    assert [condition.is_active({"model.dense_units": 0}) for condition in conditions["model.dropout"]] == [False]
    assert [condition.is_active({"model.dense_units": 64}) for condition in conditions["model.dropout"]] == [True]
    assert conditions["model.dense_units"] == []
    assert encode_base(override(given, {"training.batch_size": 32})) == {
        "model.dense_units": 0,
        "training.batch_size": 32,
    }


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            "{model.dropout: {choices: [0.1], when: {model.dense_units: 3}}}",
            "`model.dense_units`, which must come before",
        ),
        (
            "{model.dense_units: [0, 8], model.dropout: {choices: [0.1], when: {model.dense_units: 3}}}",
            "`model.dense_units` must be one of [0, 8]. Received: 3.",
        ),
        (
            "{model.dense_units: {min: 1, max: 8}, model.dropout: {choices: [0.1], when: {model.dense_units: 3}}}",
            "choices",
        ),
        (
            "{model.dropout: {choices: [0.1], when: 3}}",
            "`model.dropout` in `sweep.space`: when: Input should be a valid dictionary",
        ),
        (
            "{model.filters: [8, 16], model.dropout: {choices: [0.1], when: {model.filters: []}}}",
            "`model.filters` must be one of [8, 16]. Received: [].",
        ),
    ],
)
def test_wrong_conditions_are_refused(space, words):
    with pytest.raises(UserError) as error:
        build_hyperparameters(config(space))
    assert words in str(error.value)


def test_forbidden_combinations_include_settings_that_are_not_searched():
    given = load_config(
        [
            "sweep.space={model.filters: [8, 128], model.filter_organization: [same, double]}",
            "sweep.forbid=[{model.filters: 128, model.filter_organization: [double], model.batch_norm: true}]",
        ]
    )
    build_hyperparameters(given)
    assert is_forbidden(given, {"model.filters": 128, "model.filter_organization": "double"})
    assert not is_forbidden(given, {"model.filters": 8, "model.filter_organization": "double"})
    without = override(given, {"model.batch_norm": False})
    assert not is_forbidden(without, {"model.filters": 128, "model.filter_organization": "double"})


def test_a_list_that_is_one_choice_is_forbidden_as_one_value():
    space = "{model.kernel_size: [3, [3, 5]]}"
    forbid = "[{model.kernel_size: [3, 5]}]"
    given = load_config(["model.num_blocks=2", f"sweep.space={space}", f"sweep.forbid={forbid}"])
    [kernels] = build_hyperparameters(given).space
    forbidden = {value: is_forbidden(given, {kernels.name: value}) for value in kernels.values}
    assert forbidden == {"3": False, "[3, 5]": True}


@pytest.mark.parametrize(
    ("forbid", "words"),
    [
        ("[{}]", "an empty combination"),
        ("[{model.filter: 3}]", "Did you mean 'model.filters'?"),
        ("[{model.filters: [8, 12]}]", "`model.filters` in `sweep.forbid` must be one of [8, 128]. Received: [8, 12]."),
    ],
)
def test_wrong_forbidden_combinations_are_refused(forbid, words):
    given = load_config(["sweep.space={model.filters: [8, 128]}", f"sweep.forbid={forbid}"])
    with pytest.raises(UserError) as error:
        build_hyperparameters(given)
    assert words in str(error.value)
