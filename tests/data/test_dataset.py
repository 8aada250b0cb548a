import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_inat.data.dataset import open_data
from keras_inat.data.split import split_validation
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


def test_the_hash_of_the_validation_images_is_that_of_their_contents(make_config, photos):
    first = open_data(make_config()).summary
    assert len(first.validation_hash) == 16
    assert open_data(make_config("data.image_size=32", "run.seed=1")).summary.validation_hash == first.validation_hash
    for setting in ("data.split_seed=1", "data.val_fraction=0.4"):
        other = open_data(make_config(setting)).summary
        assert other.hash == first.hash
        assert other.validation_hash != first.validation_hash
    for path in sorted((photos / "train").glob("*/*.png")):
        path.rename(path.with_stem(str(9 - int(path.stem)) + "-renamed"))  # in the opposite order
    assert open_data(make_config()).summary.validation_hash == first.validation_hash


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


def hashes(count, start=0):
    return [f"image {index}" for index in range(start, start + count)]


def test_stratified_disjoint_and_complete():
    labels = np.repeat([0, 1, 2], [50, 20, 5])
    train, validation = split_validation(labels, hashes(75), 0.2, seed=0)
    assert np.bincount(labels[validation]).tolist() == [10, 4, 1]
    assert sorted([*train, *validation]) == list(range(75))


def test_the_split_depends_on_content_not_on_order():
    labels = np.repeat([0, 1], 40)
    names = hashes(80)
    _, validation = split_validation(labels, names, 0.25, seed=3)
    order = np.random.default_rng(0).permutation(80)
    _, shuffled = split_validation(labels[order], [names[i] for i in order], 0.25, seed=3)
    assert {names[i] for i in validation} == {names[order[i]] for i in shuffled}
    _, other = split_validation(labels, names, 0.25, seed=4)
    assert set(other) != set(validation)


def test_adding_images_changes_the_side_of_few():
    labels = np.zeros(100, int)
    _, before = split_validation(labels, hashes(100), 0.2, seed=0)
    _, after = split_validation(np.zeros(110, int), hashes(110), 0.2, seed=0)
    assert len(set(before) - set(after)) <= 4


def test_duplicates_stay_on_one_side_even_across_labels():
    names = hashes(40) + hashes(40)  # every image twice, under two labels
    labels = np.repeat([0, 1], 40)
    train, validation = split_validation(labels, names, 0.3, seed=0)
    assert not {names[i] for i in train} & {names[i] for i in validation}
    assert len(validation) >= 2


def test_every_class_keeps_an_image_for_training():
    train, validation = split_validation(np.array([0, 0, 1, 1]), hashes(4), 0.89, seed=0)
    assert len(train) == len(validation) == 2


def test_a_large_group_of_duplicates_does_not_exceed_the_fraction():
    labels = np.zeros(100, int)
    names = hashes(40) + ["burst"] * 60
    for seed in range(20):
        _, validation = split_validation(labels, names, 0.2, seed)
        assert len(validation) == 20
    # If all groups are too large, the smallest is held out.
    _, validation = split_validation(np.zeros(30, int), ["a"] * 12 + ["b"] * 8 + ["c"] * 10, 0.2, 0)
    assert validation.tolist() == list(range(12, 20))
