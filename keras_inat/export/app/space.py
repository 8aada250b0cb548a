"""A Space for Hugging Face: a page of Gradio around the ONNX model, with its card. It is written, not pushed."""

import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from keras_inat.files import write_atomically, write_text
from keras_inat.settings.yaml_files import format_yaml
from keras_inat.store.exports import ExportContract

GRADIO = "6.31.0"
FILES = ("app.py", "requirements.txt")


def write_space(folder: Path, model: Path, contract: ExportContract, data_name: str, card: str) -> None:
    """Writes the files of a Space into a folder.

    Args:
        folder: The folder of the Space.
        model: The ONNX model.
        contract: Its contract.
        data_name: The name of the data set.
        card: The model card as Markdown.
    """
    for name in FILES:
        write_text(folder / name, resources.files(__package__).joinpath("space_files", name).read_text("utf-8"))
    with write_atomically(folder / "model.onnx") as temporary:
        shutil.copyfile(model, temporary)
    contract.write(folder / "contract.json")
    write_text(folder / "README.md", f"---\n{format_yaml(_describe(contract, data_name))}---\n\n{card}")


def _describe(contract: ExportContract, data_name: str) -> dict[str, Any]:
    """Returns the front matter, as Hugging Face defines it for Spaces and for model cards (`model-index`)."""
    accuracy = contract.accuracy
    low, high = accuracy.interval
    metric = {
        "type": "accuracy",
        "value": round(accuracy.value, 4),
        "name": f"Accuracy (95 % interval {low:.1%} to {high:.1%}, n = {accuracy.num_images:,})",
    }
    data_set = {
        "name": data_name,
        "type": re.sub(r"[^a-z0-9]+", "-", data_name.lower()).strip("-") or "images",
        "split": accuracy.images,
    }
    task = {"type": "image-classification", "name": "Image classification"}
    license_ = {"license": "other", "license_name": contract.license} if contract.license else {}
    if re.fullmatch(r"[A-Za-z0-9.-]+", contract.license or ""):  # an identifier, such as Apache-2.0
        license_ = {"license": str(contract.license).lower()}
    return {
        "title": contract.name,
        "emoji": "\N{CAMERA}",
        "colorFrom": "blue",
        "colorTo": "yellow",
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "app_file": "app.py",
        **license_,
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras", "onnx"],
        "model-index": [{"name": contract.name, "results": [{"task": task, "dataset": data_set, "metrics": [metric]}]}],
    }
