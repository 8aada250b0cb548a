import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_inat.data.dataset import open_data
from keras_inat.errors import UserError
from keras_inat.files import read_jsonl
from keras_inat.store.runs import RunFolder


def test_near_duplicates_stay_on_one_side_of_the_split(make_config, photos):
    for index in range(10):
        with Image.open(photos / "train" / "red" / f"{index}.png") as image:
            image.resize((2 * image.width, 2 * image.height)).save(
                photos / "train" / "red" / f"{index}-near.jpg", quality=85
            )
            ImageOps.mirror(image).save(photos / "train" / "blue" / f"{index}-mirrored.png")
    for seed in range(3):
        data = open_data(make_config(f"data.split_seed={seed}"))
        assert data.summary.num_duplicates.mirrored >= 10
        paths = json.loads((data.directory / "paths.json").read_text())[12:]
        sides = {paths[row]: "train" for row in data.training_rows} | {
            paths[row]: "val" for row in data.validation_rows
        }
        assert set(sides.values()) == {"train", "val"}
        for index in range(10):
            family = {f"train/red/{index}.png", f"train/red/{index}-near.jpg", f"train/blue/{index}-mirrored.png"}
            assert len({sides[path] for path in family}) == 1


def test_the_test_images_open_only_through_the_ledger(make_config, tmp_path):
    data = open_data(make_config())
    with pytest.raises(PermissionError):
        data.open_test(RunFolder(tmp_path / "t", "sweep"))
    images, labels, rows, paths = data.open_test(RunFolder(tmp_path / "t", "train-best"))
    assert (len(images), len(labels), len(paths), len(rows)) == (12, 12, 12, 12)
    assert (images.mean(axis=(1, 2)).argmax(axis=1) == 2 - labels).all()
    assert [line["data"] for line in read_jsonl(tmp_path / "runs" / "test_ledger.jsonl")] == [data.hash]


def test_a_class_of_duplicates_of_one_image_is_an_error(make_config, photos):
    for path in sorted((photos / "train").glob("*/*.png")):
        if path.stem != "0":
            shutil.copy(path.with_name("0.png"), path)
    with pytest.raises(UserError, match="the class 'blue' has no image for validation"):
        open_data(make_config())


def test_a_class_of_duplicates_of_another_class_is_an_error(make_config, photos):
    first = photos / "train" / "blue" / "0.png"
    for path in (photos / "train" / "red").glob("*.png"):
        shutil.copy(first, path) if path.stem in "01" else path.unlink()
    missing = set()
    for seed in range(12):
        config = make_config(f"data.split_seed={seed}", "data.val_fraction=0.3")
        with pytest.raises(UserError, match="the class 'red' has no image for ") as error:
            open_data(config)
        missing.add(str(error.value).split("image for ")[1].split(":")[0])
    assert missing == {"training", "validation"}


def test_near_duplicates_are_read_for_the_report(make_config, photos):
    with Image.open(photos / "val" / "green" / "1.png") as image:
        ImageOps.mirror(image).save(photos / "train" / "green" / "near.png")
    with Image.open(photos / "train" / "red" / "3.png") as image:
        image.save(photos / "train" / "red" / "near.jpg", quality=80)
    data = open_data(make_config())
    indices, pixels = data.read_duplicates(data.open_test(RunFolder(Path("t"), "train-best")), 4)
    paths = [data.summary.duplicates[index].path for index in indices]
    assert paths == ["train/green/near.png", "train/red/near.jpg"]  # pairs across train and test come first
    assert pixels.shape == (2, 2, 16, 16, 3)
    np.testing.assert_allclose(pixels[0, 0], pixels[0, 1, :, ::-1].astype(int), atol=1)
    np.testing.assert_allclose(pixels[1, 0], pixels[1, 1].astype(int), atol=60)
