"""The settings of exports."""

from typing import Any, ClassVar, Literal

import pydantic
from pydantic import Field

from keras_inat.settings.roles import Role
from keras_inat.settings.section import Section

ExportFormat = Literal["onnx", "litert", "litert-int8", "savedmodel"]


class Export(Section):
    role: ClassVar[Role] = Role.DISPLAY

    formats: tuple[ExportFormat, ...] = Field(
        ("onnx", "litert"), min_length=1, description="files for other runtimes, separated by commas"
    )
    license: str | None = Field(
        None, min_length=1, max_length=200, description="license of the model, such as CC-BY-4.0; null: not stated"
    )

    @pydantic.field_validator("formats", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            return value
        if "tfjs" in names:
            raise ValueError(
                "must not have tfjs: the last converter of TensorFlow.js, 4.22, does not run with this TensorFlow. Use "
                "onnx, which runs in the browser with onnxruntime-web"
            )
        return tuple(dict.fromkeys(names))
