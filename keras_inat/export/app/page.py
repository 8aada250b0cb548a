"""The page: a static folder that runs a model in the browser, from disk or from any static host."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from keras_inat.data.decode import MAX_ASPECT, MAX_PIXELS, MIN_SIDE
from keras_inat.errors import UserError
from keras_inat.files import read_text, write_text
from keras_inat.store.exports import ExportContract

INDEX = "index.html"
STATIC = ("app.css", "prepare.js", "maps.js", "app.js", "icon.svg", "LICENSE-onnxruntime.txt", "sw.js", INDEX)
VERSIONED = ("runtime.js", "model.js", "prepare.js", "maps.js", "app.js", "app.css", "icon.svg")  # in `INDEX`
MARK = '<meta name="generator" content="keras-inat">'  # of the page, so that no other page is replaced
LIMITS = {"min_side": MIN_SIDE, "max_aspect": MAX_ASPECT, "max_pixels": MAX_PIXELS}  # of images that are not refused


def write_page(folder: Path, model: bytes, contract: ExportContract, runtime: tuple[str, bytes]) -> None:
    """Writes the files of the page into a folder.

    A page from disk may not read files, only load scripts. Hence the model and the WebAssembly module are texts in
    scripts, in the same way for a page from a server.

    Raises:
        UserError: The folder has another page.
    """
    index = folder / INDEX
    if index.exists() and MARK not in read_text(index):
        raise UserError(f"{index} is not from this program and would be replaced: give another app.directory")
    script, binary = runtime
    values = {"contract": contract.model_dump(mode="json"), "limits": LIMITS, "onnx": _encode(model)}
    texts = {name: resources.files(__package__).joinpath("static", name).read_text("utf-8") for name in STATIC}
    texts["runtime.js"] = f"{script}globalThis.RUNTIME = {json.dumps(_encode(binary))};\n"
    texts["model.js"] = f"globalThis.MODEL = {json.dumps(values)};\n"
    texts["manifest.webmanifest"] = json.dumps(_describe(contract), indent=2) + "\n"
    version = _hash(texts)
    files = ["./", "manifest.webmanifest", *(f"{name}?v={version}" for name in VERSIONED)]
    for name in (INDEX, "sw.js"):
        texts[name] = texts[name].replace("{version}", version).replace("{files}", json.dumps(files))
    for name in sorted(texts, key=INDEX.__eq__):  # the page itself comes last
        write_text(folder / name, texts[name])


def _encode(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _hash(texts: Mapping[str, str]) -> str:
    """Returns a version that changes with any of the files."""
    whole = json.dumps(dict(sorted(texts.items())))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _describe(contract: ExportContract) -> dict[str, object]:
    """Returns the manifest, with which a browser offers to install the page."""
    icon = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}
    return {
        "name": f"Image classifier: {contract.name}",
        "short_name": contract.name[:24],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#fbfaf8",
        "theme_color": "#2f6fb0",
        "icons": [icon],
    }
