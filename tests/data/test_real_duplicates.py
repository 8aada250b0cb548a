"""Near-duplicates planted among real photographs. The test is skipped without the photographs."""

import io
import json
import random
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image, ImageOps

from keras_inat.data.dataset import open_data
from keras_inat.store.records import Manifest

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "nature_tiny.zip"
HOME = PurePosixPath("inaturalist_12K")
NUM_PLANTED = 400


def change(image, number, rng):
    """Mirrors, recompresses or resizes a photograph, or does all of it, and returns it as JPEG."""
    kind = ("mirrored", "recompressed", "resized", "all")[number % 4]
    if kind in ("mirrored", "all"):
        image = ImageOps.mirror(image)
    if kind in ("resized", "all"):
        side = round(64 * rng.choice([0.5, 0.75, 1.5, 2]))
        image = image.resize((side, side))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=rng.choice([30, 50, 70]) if kind in ("recompressed", "all") else 90)
    return content.getvalue()


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the real photographs are not on this machine")
def test_planted_duplicates_are_found_among_real_photographs(make_config, workplace):
    rng = random.Random(0)
    path = Path(shutil.copy(PHOTOGRAPHS, workplace / "photographs.zip"))
    planted = {}
    with zipfile.ZipFile(path, "a") as archive:
        originals = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for number, original in enumerate(rng.sample(originals, NUM_PLANTED)):
            split = rng.choice(["train", "train", "val"])  # pairs within and across the splits
            duplicate = str(HOME / split / PurePosixPath(original).parent.name / f"planted-{number}.jpg")
            with archive.open(original) as file, Image.open(file) as image:
                content = change(image, number, rng)
            archive.writestr(duplicate, content)
            planted[duplicate] = original

    data = open_data(make_config(f"DATA={path}"))
    scan = Manifest.read(data.directory / "scan.json")
    found = {frozenset((pair.path, pair.of)) for pair in scan.duplicates}
    assert sum(frozenset(pair) in found for pair in planted.items()) >= 0.95 * NUM_PLANTED
    involved = set(planted) | set(planted.values())
    assert len({path for pair in found for path in pair} - involved) <= 0.005 * len(originals)

    leaked = {file.path for file in scan.leaked}
    train = str(HOME / "train")
    across = set()
    for pair in planted.items():
        in_train = [path for path in pair if path.startswith(train)]
        if len(in_train) == 1:
            across.update(in_train)
    assert len(across & leaked) >= 0.95 * len(across) > 50
    paths = json.loads((data.directory / "paths.json").read_text())
    paths = [path for path in paths if path.startswith(train)]
    sides = {paths[row]: "train" for row in data.training_rows} | {paths[row]: "val" for row in data.validation_rows}
    within = [(sides.get(duplicate), sides.get(original)) for duplicate, original in planted.items()]
    both = [pair for pair in within if None not in pair]
    assert sum(duplicate == original for duplicate, original in both) >= 0.98 * len(both) > 100
