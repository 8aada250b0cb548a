"""Every setting by its dotted name, with its type and its role."""

from collections.abc import Callable, Mapping, Set
from typing import Any, Literal, get_args, get_origin

import pydantic

from keras_inat.settings.places import name_cluster, name_path, name_url
from keras_inat.settings.roles import Role
from keras_inat.settings.schema import Config
from keras_inat.settings.section import CLUSTER, PATH, PATHS, URL, Section

# How records name the values of a setting with a mark.
NAMERS: dict[Any, Callable[[str], str | None]] = {
    PATH: name_path,
    PATHS: lambda paths: " ".join(map(name_path, paths.split())),
    URL: name_url,
    CLUSTER: name_cluster,
}


def list_settings() -> dict[str, pydantic.fields.FieldInfo]:
    """Returns every setting by its dotted name, in the order of declaration."""
    return {
        f"{section}.{name}": field
        for section, parent in Config.model_fields.items()
        for name, field in _section_of(parent).model_fields.items()
    }


def role_of(name: str) -> Role:
    """Returns the role of a setting, by its dotted name."""
    section, _, key = name.partition(".")
    kind = _section_of(Config.model_fields[section])
    own = [entry for entry in kind.model_fields[key].metadata if isinstance(entry, Role)]
    return own[0] if own else kind.role


def list_names(roles: Set[Role]) -> list[str]:
    """Returns the dotted names of the settings with one of these roles."""
    return [name for name in list_settings() if role_of(name) in roles]


def name_places(config: Config) -> Config:
    """Returns a configuration as records have it, without places of this machine; see `settings.places`."""
    sections = dict(config)
    for name, field in list_settings().items():
        section, _, key = name.partition(".")
        value = getattr(sections[section], key, None)
        change = next((NAMERS[mark] for mark in field.metadata if mark in NAMERS), None)
        if value and change:
            sections[section] = sections[section].model_copy(update={key: change(value)})
    return config.model_copy(update=sections)


def select(config: Config, roles: Set[Role]) -> dict[str, Any]:
    """Returns the settings with one of these roles by dotted name, as JSON values, as records have them.

    A missing section has none.
    """
    values = flatten(name_places(config))
    return {name: values[name] for name in list_names(roles) if name in values}


def flatten(config: Config) -> dict[str, Any]:
    """Returns all settings by dotted name, as JSON values. A missing section has none."""
    sections = config.model_dump(mode="json")
    return {
        f"{section}.{key}": value for section, settings in sections.items() for key, value in (settings or {}).items()
    }


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turns values by dotted name into nested sections."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        nested.setdefault(section, {})[key] = value
    return nested


def list_choices(annotation: Any) -> tuple[Any, ...]:
    """Returns the values of a `Literal` type, alone or within a union; otherwise nothing."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((choices for kind in get_args(annotation) if (choices := list_choices(kind))), ())


def _section_of(parent: pydantic.fields.FieldInfo) -> type[Section]:
    kinds = (parent.annotation, *get_args(parent.annotation))
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))
