"""Near-duplicates planted among real photographs. The test is skipped without the photographs."""

import json
import random
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from keras_inat.data.dataset import split_rows
from keras_inat.data.packs import load_pack
from keras_inat.store.data_summary import Manifest

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "nature_tiny.zip"
NUM_PLANTED = 400


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the real photographs are not on this machine")
def test_planted_duplicates_are_found_among_real_photographs(make_config, workplace):
    rng = random.Random(0)
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        archive.extractall(workplace)
    home = workplace / "inaturalist_12K"
    originals = sorted(path for path in home.rglob("*.jpg"))
    num_clean = len(originals)
    planted = {}
    for number, original in enumerate(rng.sample(originals, NUM_PLANTED)):
        with Image.open(original) as image:
            change = ("mirrored", "recompressed", "resized", "all")[number % 4]
            if change in ("mirrored", "all"):
                image = ImageOps.mirror(image)
            if change in ("resized", "all"):
                scale = rng.choice([0.5, 0.75, 1.5, 2])
                image = image.resize((round(64 * scale), round(64 * scale)))
            split = rng.choice(["train", "train", "val"])  # pairs within and across the splits
            duplicate = home / split / original.parent.name / f"planted-{number}.jpg"
            image.save(duplicate, quality=rng.choice([30, 50, 70]) if change in ("recompressed", "all") else 90)
        planted[duplicate.relative_to(home).as_posix()] = original.relative_to(home).as_posix()

    config = make_config(f"DATA={home}")
    pack = load_pack(config)
    scan = Manifest.read(pack.directory / "scan.json")
    found = {frozenset((pair.path, pair.of)) for pair in scan.duplicates}
    assert sum(frozenset(pair) in found for pair in planted.items()) >= 0.95 * NUM_PLANTED
    about = set(planted) | set(planted.values())
    assert len({path for pair in found for path in pair} - about) <= 0.005 * num_clean

    leaked = {file.path for file in scan.leaked}
    across = {
        max(pair, key=lambda path: path < "val") for pair in planted.items() if {p[:3] for p in pair} == {"tra", "val"}
    }
    assert len(across & leaked) >= 0.95 * len(across) > 50
    paths = json.loads((pack.directory / "paths.json").read_text())
    paths = [path for path in paths if path.startswith("train/")]
    sides = {paths[row]: side for side, rows in enumerate(split_rows(pack, config)) for row in rows}
    within = [(sides.get(duplicate), sides.get(original)) for duplicate, original in planted.items()]
    both = [pair for pair in within if None not in pair]
    assert sum(duplicate == original for duplicate, original in both) >= 0.98 * len(both) > 100
