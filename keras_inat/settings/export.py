"""The settings of exports and of the app."""

from typing import Annotated, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from keras_inat.settings.roles import Role
from keras_inat.settings.section import PATH, Section

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


class App(Section):
    role: ClassVar[Role] = Role.DISPLAY

    directory: Annotated[str | None, PATH] = Field(None, description="folder of the app; null: app/ in the run folder")
    runtime: Annotated[str | None, PATH] = Field(
        None, description="onnxruntime-web as a folder or as an archive of npm; null: npm fetches it"
    )
    serve: bool = Field(False, description="serve the app on this machine until Ctrl-C; --serve does the same")
    port: int = Field(8000, ge=0, le=65535, description="port of the server; 0: any free one")
