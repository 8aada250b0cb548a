from typing import Annotated

import pytest
from pydantic import Field

from keras_inat.settings import catalog, roles
from keras_inat.settings.catalog import list_names, list_settings, role_of, select
from keras_inat.settings.loading import load_config
from keras_inat.settings.networks import Finetune
from keras_inat.settings.roles import Role
from keras_inat.settings.schema import Config, Data, Training


def test_every_setting_has_a_role():
    assert {role_of(name) for name in list_settings()} == set(Role)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model.filters", Role.OUTCOME),
        ("data.image_size", Role.OUTCOME),
        ("training.teacher", Role.TEACHER),
        ("training.epochs", Role.LENGTH),
        ("data.split_seed", Role.DATA),
        ("training.objective", Role.SELECTION),
        ("training.sampling", Role.OUTCOME),
        ("run.deterministic", Role.SEED),
        ("run.name", Role.NAME),
        ("sweep.prune", Role.SEARCH),
        ("data.source", Role.PLACE),
        ("run.seeds", Role.EXECUTION),
        ("report.neurons", Role.DISPLAY),
    ],
)
def test_roles(name, role):
    assert role_of(name) is role


def test_select_returns_json_values_by_dotted_name():
    config = load_config(["model.filters=[1,2,3,4,5]", "run.seed=7"])
    assert select(config, {Role.SEED}) == {"run.seed": 7, "run.deterministic": False}
    assert select(config, roles.RUN)["model.filters"] == [1, 2, 3, 4, 5]
    assert not any(name.startswith("finetune.") for name in select(config, roles.RUN))
    assert "finetune.backbone" in select(Config(finetune=Finetune()), roles.RUN)


class TrainingWithMore(Training):
    momentum: float = Field(0.9, description="of SGD")


class DataWithMore(Data):
    mirror_site: str = Field("", description="another place to download from")
    fold: Annotated[int, Role.DATA] = Field(0, description="fold of a cross-validation")


class ConfigWithMore(Config):
    training: TrainingWithMore = TrainingWithMore()
    data: DataWithMore = DataWithMore()


def test_a_new_setting_is_seen_everywhere(monkeypatch):
    monkeypatch.setattr(catalog, "Config", ConfigWithMore)
    config = ConfigWithMore()
    for uses in (roles.RUN, roles.GROUP, roles.SWEEP, roles.BEST, roles.TRACKED):
        assert select(config, uses)["training.momentum"] == 0.9
        assert select(config, uses)["data.fold"] == 0
    assert "training.momentum" in list_names(roles.SEARCHABLE)
    assert "data.fold" not in list_names(roles.SEARCHABLE)
    # A place is no part of an identity, and stays on this machine. Only `best.yaml` needs it.
    assert "data.mirror_site" in select(config, roles.BEST)
    for uses in (roles.RUN, roles.GROUP, roles.SWEEP, roles.TRACKED):
        assert "data.mirror_site" not in select(config, uses)


def test_groups_of_seeds_differ_in_the_seed_only():
    first = load_config(["run.seed=1"])
    second = load_config(["run.seed=2", "run.seeds=3", "report.strict=true", "DATA=moved"])
    assert select(first, roles.GROUP) == select(second, roles.GROUP)
    assert select(first, roles.RUN) != select(second, roles.RUN)


def test_a_teacher_identifies_a_run_and_cannot_be_searched():
    taught = load_config(["training.teacher=runs/finetune/a"])
    for uses in (roles.RUN, roles.GROUP, roles.BEST, roles.TRACKED):
        assert select(taught, uses)["training.teacher"] == "runs/finetune/a"
        assert select(taught, uses) != select(load_config([]), uses)
    for uses in (roles.SEARCHABLE, roles.SWEEP):
        assert not {"training.teacher", "training.distillation_temperature", "training.teacher_weight"} & {
            *list_names(uses)
        }
