"""Every setting by its dotted name, with its type and its role."""

from collections.abc import Mapping, Set
from typing import Any, Literal, get_args, get_origin

import pydantic

from keras_inat.settings.roles import Role
from keras_inat.settings.schema import Config
from keras_inat.settings.section import Section


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


def select(config: Config, roles: Set[Role]) -> dict[str, Any]:
    """Returns the settings with one of these roles by dotted name, as JSON values. A missing section has none."""
    values = flatten(config)
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
