import subprocess
import sys
from pathlib import Path

import pytest

from keras_inat.errors import UserError
from keras_inat.settings.loading import build_config, load_config, override
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml


def test_later_wins(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  filters: 48\n  dropout: 0.1\n")
    config = load_config(["model.filters=96"], path)
    assert config.model.filters == 96
    assert config.model.dropout == 0.1
    assert config.training == Config().training


def test_given_epochs_replace_the_steps_of_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {epochs: 120, min_steps: 3000}")
    for arguments, epochs, min_steps in (
        (["training.batch_size=8"], 120, 3000),
        (["training.epochs=20"], 20, 0),
        (["training.epochs=20", "training.min_steps=500"], 20, 500),
    ):
        training = load_config(arguments, path).training
        assert (training.epochs, training.min_steps) == (epochs, min_steps)


def test_a_given_setting_is_not_searched(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("sweep: {space: {model.dropout: [0.0, 0.2], model.kernel_size: [3, 5], model.filters: [8, 16]}}")
    space = load_config(["model.dropout=0.4", "model.kernel_size=[5, 3, 3, 3, 3]"], path).sweep.space
    assert space == {"model.dropout": [0.4], "model.kernel_size": [[5, 3, 3, 3, 3]], "model.filters": [8, 16]}
    space = load_config(["model.dropout=0.4", "sweep.space={model.dropout: [0.1, 0.3]}"], path).sweep.space
    assert space == {"model.dropout": [0.1, 0.3]}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("average", {"training.batch_size": {"choices": [8, 16], "when": {}}}),
        ("max", {"training.batch_size": {"choices": [8, 16], "when": {}}}),
        ("flatten", {"model.dense_units": {"choices": [8, 16], "when": {"model.batch_norm": True}}}),
    ],
)
def test_conditions_on_a_given_setting_are_resolved(tmp_path, given, left):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "sweep: {space: {model.pooling: [flatten, average, max], model.batch_norm: [true, false], model.dense_units:"
        " {choices: [8, 16], when: {model.pooling: flatten, model.batch_norm: true}},"
        " training.batch_size: {choices: [8, 16], when: {model.pooling: [average, max]}}}}"
    )
    config = load_config([f"model.pooling={given}"], path)
    assert config.sweep.space == {"model.pooling": [given], "model.batch_norm": [True, False]} | left
    assert config.model.pooling == given


def test_yaml_of_version_1_2(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training:\n  learning_rate: 1e-3\nrun:\n  name: no\n")
    config = load_config([], path)
    assert config.training.learning_rate == 0.001
    assert config.run.name == "no"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            "finetune.strategy=top-k",
            ["`finetune.strategy` must be one of {all, full, gr", "'top-k'", "'topk'?"],
        ),
        (
            "UNFREEZE=0",
            ["`finetune.unfreeze` must be a number of layers, 1 or more, a fraction", "Received: 0"],
        ),
        ("UNFREEZE=1.5", ["`finetune.unfreeze` must be a number of layers", "Received: 1.5"]),
        ("model.filter=3", ["unknown setting", "'model.filter'", "Did you mean 'model.filters'?"]),
        ("modle.filters=3", ["unknown setting", "Did you mean 'model'?"]),
        ("training.epochs=many", ["`training.epochs` must be a valid integer", "'many'"]),
        ("model.dropout=1.2", ["`model.dropout` must be less than 1", "1.2"]),
        ("model.activation=rlu", ["`model.activation` must be one of", "'relu'?"]),
        ("model.kernel_size=[3,3]", ["`model.kernel_size` needs one size for each of the 5 blocks"]),
        ("model.kernel_size=0", ["`model.kernel_size` must lie between 1 and 31"]),
        ("model.kernel_size=[3,3]", ["Received: 2, [3, 3]."]),
        ("model.filters=[8,8]", ["`model.filters` needs one number for each of the 5 blocks"]),
        ("model.filters=0", ["`model.filters` must lie between 1 and 4096", "Received: 0"]),
        ("model.filters=[8,8,8,8,5000]", ["`model.filters` must lie between 1 and 4096"]),
        ("model.convolutions=[1,1]", ["`model.convolutions` needs one number for each of the 5 blocks"]),
        ("model.convolutions=17", ["`model.convolutions` must lie between 1 and 16"]),
        ("model.residual=true", ["`model.convolutions`=3 or other odd numbers", "[1, 1, 1, 1, 1]"]),
        ("model.pooling=min", ["`model.pooling` must be one of {average, flatten, max}"]),
        ("run.name=../up", ["`run.name` must be up to 100 letters, digits", "'../up'"]),
        ("SEEDS=99999999999999999999", ["`run.seeds` must be less than or equal to 10000"]),
        ("run.seed=true", ["`run.seed` must be a number. Received: True"]),
        ("finetune.unfreeze=true", ["`finetune.unfreeze` must be a number"]),
        (f"training.image_scales={[1] * 31}", ["`training.image_scales` has 31 sizes, for `training.epochs`=30"]),
        ("training.image_scales=[0.5]", ["`training.image_scales` needs `model.pooling`=average or max"]),
        ("training.image_scales=[0.01]", ["`training.image_scales` make images of 1 pixels, at least 32 are needed"]),
        (
            "UNFREEZE=3",
            ["`finetune.unfreeze` is for a pretrained backbone", "or also give STRATEGY"],
        ),
        ("training.image_scales=[2]", ["`training.image_scales` must be less than or equal to 1"]),
        ("data.image_size=16", ["`data.image_size`=16 is too small", "2**5 = 32"]),
        ("training.learning_rate=.inf", ["`training.learning_rate` must be"]),
        ("training.learning_rate={", ["`training.learning_rate` is not valid YAML"]),
        pytest.param(
            "model.filters=" + 600 * "[" + 600 * "]", ["`model.filters` is not valid YAML"], id="lists in lists"
        ),
        ("model.filters=!!int ''", ["`model.filters` is not valid YAML"]),
        ("model.batch_norm=!!bool maybe", ["`model.batch_norm` is not valid YAML"]),
        ("epochs", ["section.key=value", "'epochs'"]),
        ("STRATEGI=head", ["a variable must be one of", "'STRATEGY'?"]),
        ("model=3", ["a variable must be one of"]),
    ],
)
def test_mistakes_are_explained_in_one_line(argument, words):
    with pytest.raises(UserError) as error:
        load_config([argument])
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_error_names_the_file_only_if_the_mistake_is_in_it(tmp_path):
    (tmp_path / "c.yaml").write_text("training: {epochs: 3}")
    with pytest.raises(UserError) as error:
        load_config(["training.epoch=3"], tmp_path / "c.yaml")
    assert "c.yaml" not in str(error.value)
    (tmp_path / "c.yaml").write_text("training: {epoch: 3}")
    with pytest.raises(UserError, match=r"c\.yaml.*Did you mean 'training\.epochs'"):
        load_config([], tmp_path / "c.yaml")


@pytest.mark.parametrize("text", ["training: 5", "training:", "training: [epochs, 3]"])
def test_a_section_that_is_not_a_mapping_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    for arguments in ([], ["training.epochs=3"]):
        with pytest.raises(UserError, match=r"`training` must be a section of settings \(in .*c\.yaml\)"):
            load_config(arguments, tmp_path / "c.yaml")


def test_classes_are_made_equal_once():
    balanced = ["training.class_weights=balanced", "training.sampling=balanced"]
    for word in balanced:
        load_config([word])
    with pytest.raises(UserError, match="together they would favor the rare ones: set one of them"):
        load_config(balanced)


def test_settings_of_a_backbone_need_one(tmp_path):
    (tmp_path / "c.yaml").write_text("finetune: {backbone: ResNet50}")
    assert load_config(["UNFREEZE=3"], tmp_path / "c.yaml").finetune.backbone == "ResNet50"
    assert load_config(["UNFREEZE=3", "STRATEGY=topk"]).finetune.unfreeze == 3


def test_variables_of_text_settings_are_not_parsed():
    config = load_config(["DATA=2024", "TRIALS=7", "WEIGHTS=a b.h5"])
    assert (config.data.source, config.sweep.trials, config.finetune.weights) == ("2024", 7, "a b.h5")


def test_filter_organizations():
    def filters(**settings):
        return override(Config(), {f"model.{name}": value for name, value in settings.items()}).model.filters_per_block

    assert filters(filter_organization="double") == (32, 64, 128, 256, 512)
    assert filters(filter_organization="half") == (32, 16, 8, 8, 8)
    assert filters(filter_organization="half", filters=6) == (6, 6, 6, 6, 6)
    assert filters(filter_organization="half", min_filters=1) == (32, 16, 8, 4, 2)
    assert filters(filter_organization="half", min_filters=1, filters=16) == (16, 8, 4, 2, 1)
    assert filters(filters=[8, 3, 5, 1, 9]) == (8, 3, 5, 1, 9)
    with pytest.raises(UserError, match=r"8 / 2\*\*4 = 0\.5. It needs at least 16, or `model\.min_filters`=2"):
        filters(filter_organization="half", min_filters=1, filters=8)
    with pytest.raises(UserError, match=r"`model\.filter_organization`=same only\. Received: 'double'"):
        filters(filter_organization="double", filters=[8, 3, 5, 1, 9])


def test_residual_pairs_need_odd_numbers():
    assert load_config(["model.residual=true", "model.convolutions=[1,3,1,5,1]"]).model.residual
    with pytest.raises(UserError, match=r"odd numbers, above 1 in some block\. Received: \[1, 3, 2, 1, 1\]"):
        load_config(["model.residual=true", "model.convolutions=[1,3,2,1,1]"])


def test_a_written_configuration_reads_back_the_same(tmp_path):
    config = load_config(["model.kernel_size=[3,3,2,2,2]", "STRATEGY=full", "sweep.space={model.filters: [8, 16]}"])
    (tmp_path / "c.yaml").write_text(format_yaml(config.model_dump()))
    assert load_config([], tmp_path / "c.yaml") == config
    assert build_config(config.model_dump(mode="json")) == config


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Config().model.filters = 3


def test_loads_without_tensorflow():
    code = (
        "import sys, keras_inat.__main__, keras_inat.settings.loading; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


PATHS = (
    *("run.directory", "data.source", "data.directory", "data.zip", "report.directory", "run.path", "predict.image"),
    "finetune.weights",
)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_may_begin_with_a_tilde_and_is_not_empty(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    section, key = name.split(".")
    strategy = ["STRATEGY=head"] if section == "finetune" else []
    config = load_config([*strategy, f"{name}=~/some folder"])
    assert getattr(getattr(config, section), key) == "/home/me/some folder"
    with pytest.raises(UserError, match=rf"^`{name}` must not be empty\. Received: ''\."):
        load_config([*strategy, f"{name}=''"])


def test_each_of_several_paths_may_begin_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert load_config(["RUNS=~/a b ~/c"]).report.compare == "/home/me/a b /home/me/c"


def test_a_path_may_be_an_object(tmp_path):
    assert override(Config(), {"run.directory": tmp_path}).run.directory == str(tmp_path)
