"""Decoded pixels: every image is opened once, then served from a memory map."""

import functools
import hashlib
import io
import json
import os
import shutil
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from keras_inat.config import Config
from keras_inat.data.source import FOLDERS, ImageFile, Source, open_source
from keras_inat.data.split import split_validation
from keras_inat.errors import UserError
from keras_inat.progress import show_progress
from keras_inat.runs import RunFolder, hold_lock, look_at_test, write_json

VERSION = 1
NUM_NAMED = 10
_warned: set[Path] = set()


@dataclass(frozen=True)
class Pack:
    """A folder with the pixels of a data set, all of one size.

    Attributes:
        directory: Holds `manifest.json`, and `<split>.uint8`, `<split>.json` for train and test.
        manifest: Name, hash, classes, counts, and the files that were left out, with the reason.
    """

    directory: Path
    manifest: dict[str, Any]

    @property
    def classes(self) -> list[str]:
        return list(self.manifest["classes"])

    @property
    def image_size(self) -> int:
        return int(self.manifest["image_size"])

    @property
    def hash(self) -> str:
        return str(self.manifest["hash"])

    @functools.cached_property
    def train_labels(self) -> np.ndarray:
        """`(images,)` int64, an index into `classes`."""
        return np.array([row["label"] for row in self._rows("train")], dtype=np.int64)

    @functools.cached_property
    def train_images(self) -> np.ndarray:
        """`(images, size, size, 3)` uint8, mapped from the disk."""
        return self._pixels("train")

    def split(self, config: Config) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the training and the validation images, as `data.val_fraction` and `data.split_seed` say."""
        hashes = [row["sha256"] for row in self._rows("train")]
        rows = split_validation(self.train_labels, hashes, config.data.val_fraction, config.data.split_seed)
        if not len(rows[1]):
            raise UserError("no image can be held out for validation: every class holds copies of one image only")
        return rows

    def read_test(self, config: Config, run: RunFolder) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Pixels, labels and paths of the test images, through the ledger, for a final evaluation only."""

        def read() -> tuple[np.ndarray, np.ndarray, list[str]]:
            rows = self._rows("test")
            labels = np.array([row["label"] for row in rows], dtype=np.int64)
            return self._pixels("test"), labels, [row["path"] for row in rows]

        return look_at_test(config, run, self.hash, read)

    def describe(self, config: Config) -> dict[str, Any]:
        """What a result says about its data: name, hash, counts."""
        training, validation = self.split(config)
        counts = {"train": len(training), "validation": len(validation), "test": self.manifest["counts"]["test"]}
        keys = ("name", "hash", "image_size", "classes", "per_class", "quarantined", "leaked")
        return {key: self.manifest[key] for key in keys} | {"counts": counts}

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return json.loads((self.directory / f"{split}.json").read_text(encoding="utf-8"))

    def _pixels(self, split: str) -> np.ndarray:
        shape = (self.manifest["counts"][split], self.image_size, self.image_size, 3)
        return np.memmap(self.directory / f"{split}.uint8", np.uint8, "r", shape=shape)


def load_pack(config: Config) -> Pack:
    """Opens the pack of `data.source` at `data.image_size`, decoding the images first where that was not yet done.

    Files that are no image are left out with a warning that names them, and so are training images that occur
    among the test images.

    Raises:
        UserError: When the source is missing or has a class without a readable image.
    """
    source = open_source(config)
    packs = Path(config.data.directory) / ".packs"
    packs.mkdir(parents=True, exist_ok=True)
    key = _key(source, config.data.image_size)
    directory = packs / key
    with hold_lock(packs / f"{key}.lock"):
        if not (directory / "manifest.json").exists():
            # Under the lock a temporary folder can only be what a killed process left.
            temporary = packs / f".{key}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                _build(source, config.data.image_size, temporary)
                temporary.rename(directory)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    pack = Pack(directory, json.loads((directory / "manifest.json").read_text(encoding="utf-8")))
    _warn_of_left_out(pack)
    return pack


def decode_image(content: bytes, size: int) -> np.ndarray:
    """Decodes an image file to a square, scaled so that the short side fits and cut to its middle.

    Args:
        content: The file's bytes, of any format Pillow reads; only the first frame counts.
        size: Side in pixels.

    Returns:
        `(size, size, 3)` uint8 RGB, turned upright by its EXIF orientation.

    Raises:
        ValueError: When it cannot be decoded, saying why.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
            warnings.simplefilter("ignore")  # odd metadata does not matter; pixels that do not decode raise
            image.draft("RGB", (size, size))  # a JPEG is decoded at a fraction of its size where that is enough
            upright = ImageOps.exif_transpose(image)
            return np.asarray(ImageOps.fit(_to_rgb(upright), (size, size), Image.Resampling.BILINEAR))
    except Image.DecompressionBombError:
        raise ValueError("has too many pixels") from None
    except Image.UnidentifiedImageError:
        raise ValueError("is not an image") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them into
        raise ValueError(f"cannot be decoded ({error})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of 8 bits: 16 bits are scaled, not cut off; what is transparent becomes white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _warn_of_left_out(pack: Pack) -> None:
    """Names the files that were left out, once a process and pack, the first of them where there are many."""
    left_out = pack.manifest["quarantined"] + pack.manifest["leaked"]
    if pack.directory in _warned or not left_out:
        return
    _warned.add(pack.directory)
    for entry in left_out[:NUM_NAMED]:
        print(f"warning: {entry['path']} is left out: {entry['reason']}", file=sys.stderr)
    if len(left_out) > NUM_NAMED:
        print(f"warning: {len(left_out) - NUM_NAMED} more, see {pack.directory / 'manifest.json'}", file=sys.stderr)


def _key(source: Source, image_size: int) -> str:
    digest = hashlib.sha256(f"{VERSION} {image_size}".encode())
    for file in source.files:
        digest.update(f"\0{file.path}\0{file.fingerprint}".encode("utf-8", "surrogateescape"))
    return f"{source.name}-{image_size}-{digest.hexdigest()[:12]}"


def _build(source: Source, image_size: int, directory: Path) -> None:
    quarantined: list[dict[str, str]] = []
    leaked: list[dict[str, str]] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    num_done = 0

    def decode(file: ImageFile) -> tuple[ImageFile, str, np.ndarray | str]:
        try:
            content = source.read(file)
            return file, hashlib.sha256(content).hexdigest(), decode_image(content, image_size)
        except ValueError as error:
            return file, "", str(error)

    seen_in_test: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The test images come first, so that copies of them can be kept out of the training images.
        for split in ("test", "train"):
            rows[split] = []
            files = [file for file in source.files if file.split == split]
            # A bounded number of decoded images waits for the disk at any time.
            parts = (files[start : start + 256] for start in range(0, len(files), 256))
            decoded = chain.from_iterable(pool.map(decode, part) for part in parts)
            with open(directory / f"{split}.uint8", "wb") as pixels:
                for file, content_hash, image in decoded:
                    num_done += 1
                    show_progress(f"decoding {source.name}", num_done, len(source.files))
                    if isinstance(image, str):
                        quarantined.append({"path": file.path, "reason": image})
                    elif split == "train" and content_hash in seen_in_test:
                        reason = f"is the same image as {seen_in_test[content_hash]}"
                        leaked.append({"path": file.path, "reason": reason})
                    else:
                        pixels.write(image.tobytes())
                        label = source.classes.index(file.class_name)
                        rows[split].append({"path": file.path, "label": label, "sha256": content_hash})
                        if split == "test":
                            seen_in_test[content_hash] = file.path
                pixels.flush()
                os.fsync(pixels.fileno())
    per_class = {split: Counter(row["label"] for row in rows[split]) for split in rows}
    for split, folder in FOLDERS.items():
        for label, class_name in enumerate(source.classes):
            found, needed = per_class[split][label], 2 if split == "train" else 1
            if found < needed:
                reasons = {entry["reason"] for entry in quarantined + leaked if f"/{class_name}/" in entry["path"]}
                raise UserError(
                    f"the class folder {folder}/{class_name} of {source.path} holds {found} usable images, at least "
                    f"{needed} are needed" + (f"; left out, as one {min(reasons)}" if reasons else "")
                )
        write_json(directory / f"{split}.json", rows[split])
    contents = sorted(f"{split} {row['label']} {row['sha256']}" for split in rows for row in rows[split])
    manifest = {
        "version": VERSION,
        "name": source.name,
        "source": str(source.path),
        "hash": hashlib.sha256("\n".join((*source.classes, *contents)).encode()).hexdigest()[:16],
        "image_size": image_size,
        "classes": source.classes,
        "counts": {split: len(rows[split]) for split in FOLDERS},
        "per_class": {split: [per_class[split][k] for k in range(len(source.classes))] for split in FOLDERS},
        "quarantined": quarantined,
        "leaked": leaked,
    }
    write_json(directory / "manifest.json", manifest)
