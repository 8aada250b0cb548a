"""The base class of a group of settings, and the types that several groups share."""

import os
from typing import Annotated, Any, ClassVar, Literal, get_args

import pydantic
from pydantic import Field

from keras_inat.settings.roles import Role

Activation = Literal["relu", "gelu", "silu", "mish", "elu", "leaky_relu", "selu", "tanh"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
SMALLEST_IMAGE = 8  # pixels


def _expand_home(value: Any) -> Any:
    """Returns a path as text, with the home folder in place of `~`. An empty one would be the working folder."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and not value:
        raise ValueError("must not be empty")
    return os.path.expanduser(value) if isinstance(value, str) else value


def _expand_homes(value: Any) -> Any:
    return " ".join(map(_expand_home, value.split())) if isinstance(value, str) and value else _expand_home(value)


# The marks of a setting that is the path of a file or folder, or that may be one, and of several ones, separated by
# spaces.
PATH = pydantic.BeforeValidator(_expand_home)
PATHS = pydantic.BeforeValidator(_expand_homes)
# The marks of the address of a file and of a cluster.
URL = "url"
CLUSTER = "cluster"


class Section(pydantic.BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    # The role of its settings. `Annotated[type, Role...]` gives a setting another one.
    role: ClassVar[Role] = Role.OUTCOME

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("must be a number")  # In Python, true is 1.
        return value
