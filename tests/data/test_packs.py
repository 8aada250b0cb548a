import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mutations import damage_one
from PIL import Image, ImageOps

from keras_inat.data.dataset import open_data
from keras_inat.data.decode import decode_image
from keras_inat.data.pack_files import INDEX
from keras_inat.data.packs import load_pack, remove_stale_packs
from keras_inat.errors import UserError
from keras_inat.store.records import DuplicateCounts, Manifest, Preparation, SplitCounts
from keras_inat.store.runs import RunFolder


def test_pixels_and_labels_match(make_config, photos):
    data = open_data(make_config())
    assert data.summary.classes == ("blue", "green", "red")
    assert data.images.shape == (30, 16, 16, 3)
    assert data.images.dtype == np.uint8
    assert np.bincount(data.labels).tolist() == [10, 10, 10]
    # The strongest channel of a class is its own: blue is 2, green 1, red 0.
    assert (data.images.mean(axis=(1, 2)).argmax(axis=1) == 2 - data.labels).all()
    first = decode_image((photos / "train" / "blue" / "0.png").read_bytes(), 16)
    np.testing.assert_array_equal(data.images[0], first)


def test_a_pack_is_made_again_only_if_the_images_change(make_config, photos):
    first = load_pack(make_config())
    stamp = (first.directory / "16.uint8").stat().st_mtime_ns
    assert load_pack(make_config()).directory == first.directory
    assert (first.directory / "16.uint8").stat().st_mtime_ns == stamp
    shutil.copy(photos / "train" / "red" / "0.png", photos / "train" / "blue" / "new.png")
    assert load_pack(make_config()).manifest.hash != first.manifest.hash


def test_a_pack_holds_several_sizes(make_config, photos):
    small = open_data(make_config())
    large = open_data(make_config("data.image_size=24"))
    assert small.directory == large.directory
    assert small.hash == large.hash
    assert small.images.shape == (30, 16, 16, 3)
    assert large.images.shape == (30, 24, 24, 3)
    first = decode_image((photos / "train" / "blue" / "0.png").read_bytes(), 24)
    np.testing.assert_array_equal(large.images[0], first)
    np.testing.assert_array_equal(open_data(make_config()).images, small.images)


def test_each_fit_has_its_own_pixels_in_one_pack(make_config, photos):
    for file in photos.rglob("*.png"):
        with Image.open(file) as image:
            image.crop((0, 0, image.width, image.height // 2)).save(file)
    opened = {fit: open_data(make_config(f"data.fit={fit}", "augment.crop=0.5")) for fit in ("crop", "pad", "squash")}
    assert len({data.directory for data in opened.values()}) == 1
    assert {path.name for path in opened["pad"].directory.glob("*.uint8")} == {
        "16.uint8", "16-at-20.uint8", "pad-16.uint8", "pad-16-at-20.uint8", "squash-16.uint8", "squash-16-at-20.uint8",
    }  # fmt: skip
    content = (photos / "train" / "blue" / "0.png").read_bytes()
    for fit, data in opened.items():
        preparation = Preparation(fit=fit)
        assert data.summary.preparation == preparation
        assert data.hash == opened["crop"].hash
        np.testing.assert_array_equal(data.images[0], decode_image(content, 16, preparation))
        np.testing.assert_array_equal(data.training_images[0], decode_image(content, 20, preparation))


def test_pixels_of_changed_files_are_not_added(make_config, photos, monkeypatch):
    pack = load_pack(make_config())
    larger = make_config("data.image_size=24")
    with monkeypatch.context() as patch:
        patch.setattr("keras_inat.data.decoders.Decoders._take_process", lambda _: None)  # decode in this process
        patch.setattr("keras_inat.data.scan.Reader.read", lambda *_: b"")  # as with a failing disk
        with pytest.raises(UserError, match="have changed or could not be read this time"):
            load_pack(larger)
    assert load_pack(larger).directory == pack.directory


def test_images_are_larger_if_they_are_cropped(make_config):
    plain = make_config("augment.flip=true")
    cropped = make_config("augment.crop=0.5")
    assert open_data(plain).training_images.shape == (30, 16, 16, 3)
    data = open_data(cropped)
    assert data.training_images.shape == (30, 20, 20, 3)
    assert data.images.shape == (30, 16, 16, 3)
    assert (data.training_images.mean(axis=(1, 2)).argmax(axis=1) == 2 - data.labels).all()


def test_damaged_pixels_are_decoded_again(make_config, capsys):
    pack = load_pack(make_config())
    pixels = (pack.directory / "16.uint8").read_bytes()
    for damaged in (pixels[:-1], bytes([pixels[0] ^ 1]) + pixels[1:]):
        (pack.directory / "16.uint8").write_bytes(damaged)
        load_pack(make_config())
        assert (pack.directory / "16.uint8").read_bytes() == pixels
    assert "16.uint8 is damaged or was changed by hand, and is made anew" in capsys.readouterr().err


def test_a_damaged_pack_is_made_anew(make_config, list_seeds):
    config = make_config("augment.crop=0.5")  # two sizes
    pack = load_pack(config)
    other = load_pack(make_config("DATA=photos/train", "data.near_duplicates=false"))
    files = [path for home in (pack.directory, other.directory) for path in sorted(home.iterdir())]
    shutil.copytree(pack.directory, "whole")

    def read():
        data = open_data(config)
        return data.hash, data.images.tobytes(), data.training_images.tobytes(), data.labels.tolist(), data.paths

    sound = read()
    for seed in list_seeds(60):
        path, words = damage_one(sorted(pack.directory.iterdir()), seed, files)
        assert read() == sound, (seed, path, words)
        shutil.rmtree(pack.directory)
        shutil.copytree("whole", pack.directory)


@pytest.mark.parametrize("name", ["{}", ".{}"])  # a finished pack, and one that is being made
def test_a_pipe_in_place_of_a_pack_is_replaced(make_config, name):
    pack = load_pack(make_config())
    shutil.rmtree(pack.directory)
    os.mkfifo(pack.directory.with_name(name.format(pack.directory.name)))
    assert load_pack(make_config()).manifest == pack.manifest


def test_packs_that_exchange_their_folders_are_made_anew(make_config):
    configs = [make_config(*settings) for settings in ((), ("data.near_duplicates=false",))]
    packs = [load_pack(config) for config in configs]
    packs[0].directory.rename("x")
    packs[1].directory.rename(packs[0].directory)
    Path("x").rename(packs[1].directory)
    assert [load_pack(config).manifest for config in configs] == [pack.manifest for pack in packs]


def test_an_added_size_does_not_make_damaged_pixels_sound(make_config):
    pack = load_pack(make_config())
    path = pack.directory / "16.uint8"
    pixels = path.read_bytes()
    path.write_bytes(bytes(len(pixels)))
    load_pack(make_config("data.image_size=20"))
    assert load_pack(make_config()).manifest == pack.manifest
    assert path.read_bytes() == pixels


@pytest.mark.parametrize("name", [*INDEX, "manifest.json", "checksums.json"])
def test_files_of_another_pack_are_made_anew(make_config, write_photos, workplace, name):
    pack = load_pack(make_config())
    whole = (pack.directory / name).read_bytes()
    if name == "manifest.json":  # that of the same images with another name
        shutil.copytree("photos", "other")
    else:
        write_photos(workplace / "other", side=20)
    other = load_pack(make_config("DATA=other"))
    shutil.copy(other.directory / name, pack.directory / name)
    assert load_pack(make_config()).manifest == pack.manifest
    assert (pack.directory / name).read_bytes() == whole or name == "index.npz"


@pytest.mark.parametrize("name", [*INDEX, "manifest.json", "checksums.json"])
@pytest.mark.parametrize("content", [None, b"", b"null", b"{"])
def test_a_damaged_index_is_rebuilt(make_config, name, content):
    pack = load_pack(make_config())
    whole = (pack.directory / name).read_bytes()
    (pack.directory / name).unlink() if content is None else (pack.directory / name).write_bytes(content)
    again = load_pack(make_config())
    assert again.manifest == pack.manifest
    if name != "index.npz":  # It holds the time at which it was written.
        assert (pack.directory / name).read_bytes() == whole


def test_a_complete_pack_is_opened_in_a_read_only_folder(make_config, monkeypatch):
    pack = load_pack(make_config())
    shutil.copytree(make_config().data.source, "moved", copy_function=shutil.copy2)

    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("keras_inat.data.packs.hold_lock", fail)
    monkeypatch.setattr("keras_inat.store.records.write_json", fail)
    assert load_pack(make_config()).manifest.hash == pack.manifest.hash
    with pytest.raises(OSError, match="Read-only"):
        load_pack(make_config("data.image_size=20"))


def test_moved_images_keep_their_pack(make_config, photos, monkeypatch):
    name = load_pack(make_config()).directory.name
    Path("elsewhere").mkdir()
    moved = photos.rename(Path("elsewhere") / photos.name)
    assert load_pack(make_config(f"DATA={moved}")).directory.name == name
    assert [(pack, stale) for pack, _, stale in remove_stale_packs(make_config())] == [(name, False)]


def test_a_folder_of_one_split_has_the_pack_of_its_parent(make_config, photos, capsys):
    config = make_config(f"DATA={photos / 'train'}")
    pack = load_pack(config)
    assert f"warning: {photos}: {photos / 'train'} is one split of {photos}, which is used" in capsys.readouterr().err
    assert pack.manifest.source == str(photos)
    assert [stale for _, _, stale in remove_stale_packs(config)] == [False]
    assert load_pack(make_config()).directory == pack.directory


def test_a_hidden_folder_has_a_visible_pack(make_config, photos):
    hidden = photos.rename(photos.with_name(".photos"))
    config = make_config(f"DATA={hidden}")
    name = load_pack(config).directory.name
    assert name.startswith("photos-")
    assert [(name, stale) for name, _, stale in remove_stale_packs(config)] == [(name, False)]


def test_stale_packs_are_removed(make_config, photos):
    config = make_config()
    old = load_pack(config)
    (photos / "train" / "red" / "0.png").unlink()
    new = load_pack(config)
    (new.directory.parent / f".{old.directory.name}").mkdir()  # leftover of a killed process
    assert [(name, stale) for name, _, stale in remove_stale_packs(config)] == sorted(
        [(f".{old.directory.name}", True), (old.directory.name, True), (new.directory.name, False)]
    )
    assert [path.name for path in new.directory.parent.iterdir() if path.is_dir()] == [new.directory.name]
    shutil.rmtree(photos)
    assert [stale for _, _, stale in remove_stale_packs(config)] == [True]
    assert remove_stale_packs(config) == []


def test_a_full_disk_is_reported_before_decoding(make_config, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        UserError, match=r"data/\.packs/.* needs 0\.00 GiB more disk space, but only 0\.00 GiB are free"
    ):
        load_pack(make_config())


def test_leftovers_of_a_killed_process_are_removed(make_config):
    directory = load_pack(make_config()).directory
    shutil.rmtree(directory)
    partial = directory.parent / f".{directory.name}"
    partial.mkdir()
    (partial / "train.uint8").write_bytes(b"half")
    assert len(open_data(make_config()).images) == 30
    assert not partial.exists()


def test_a_file_that_is_not_an_image_is_named_and_skipped(make_config, photos, capsys):
    (photos / "train" / "red" / "notes.jpg").write_text("not an image")
    (photos / "train" / "red" / "short.png").write_bytes((photos / "train" / "red" / "1.png").read_bytes()[:300])
    data = open_data(make_config())
    assert load_pack(make_config()).manifest.counts == SplitCounts(train=30, test=12)
    assert data.summary.num_quarantined == 2
    rows = np.sort(np.concatenate([data.training_rows, data.validation_rows]))
    assert len(rows) == 30
    means = data.images[rows].mean(axis=(1, 2))
    assert (means.argmax(axis=1) == 2 - data.labels[rows]).all()  # No label has shifted.
    reasons = {file.path: file.reason for file in data.summary.quarantined}
    assert reasons["train/red/notes.jpg"] == "is not an image"
    assert reasons["train/red/short.png"] == "is cut short"
    assert "warning: skipped train/red/notes.jpg: it is not an image" in capsys.readouterr().err
    open_data(make_config())
    assert capsys.readouterr().err == ""  # Each pack is reported once.


def test_duplicates_of_test_images_are_excluded_from_training(make_config, photos):
    shutil.copy(photos / "val" / "red" / "0.png", photos / "train" / "blue" / "duplicate.png")
    with Image.open(photos / "val" / "green" / "1.png") as image:
        ImageOps.mirror(image).resize((4 * image.width, 4 * image.height)).save(
            photos / "train" / "green" / "near.jpg", quality=85
        )
    data = open_data(make_config())
    assert [(file.path, file.reason) for file in data.summary.leaked] == [
        ("train/blue/duplicate.png", "is an exact duplicate of the test image val/red/0.png"),
        ("train/green/near.jpg", "is a near-duplicate of the test image val/green/1.png, mirrored"),
    ]
    assert data.summary.num_duplicates == DuplicateCounts(
        identical=1, near=1, mirrored=1, of_another_class=1, train_and_test=2
    )
    rows = np.concatenate([data.training_rows, data.validation_rows])
    assert len(rows) == 30
    paths = json.loads((data.directory / "paths.json").read_text())[12:]
    assert not {"train/blue/duplicate.png", "train/green/near.jpg"} & {paths[row] for row in rows}


def test_a_class_without_readable_images_is_an_error(make_config, photos):
    for path in (photos / "val" / "red").iterdir():
        path.write_text("no image")
    words = (
        r"class 'red' of .*photos has too few usable images in val/: 0 found, 1 needed; "
        "4 files were skipped, the first because it is not an image"
    )
    with pytest.raises(UserError, match=words):
        load_pack(make_config())
    assert not [path for path in (photos.parent / "data" / ".packs").iterdir() if path.is_dir()]


def test_an_interrupted_build_leaves_nothing(make_config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load_pack(make_config())
    pack = load_pack(make_config())
    assert sorted(path.name for path in pack.directory.parent.iterdir()) == [
        pack.directory.name,
        f"{pack.directory.name}.lock",
    ]
    assert json.loads((pack.directory / "manifest.json").read_text())["counts"] == {
        "train": 30,
        "validation": 0,
        "test": 12,
    }


def test_a_damaged_member_of_an_archive_is_skipped(make_config, photos, tmp_path):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(photos.rglob("*.png")):
            archive.write(file, file.relative_to(photos))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    pack = load_pack(make_config(f"DATA={path}"))
    (skipped,) = pack.manifest.quarantined
    assert skipped.path == "train/blue/0.png"
    assert "cannot be read from the archive" in skipped.reason


@pytest.mark.parametrize("first", ["16", "64", "24"])
def test_duplicates_do_not_depend_on_the_size_decoded_first(make_config, workplace, first):
    rng = np.random.default_rng(0)
    for number in range(40):
        image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((320, 240))
        split = "val" if number % 4 == 0 else "train"
        folder = workplace / "large" / split / ("a" if number % 8 < 4 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{number}.jpg", quality=90)
        if number > 8:
            duplicate = folder.parents[1] / "train" / folder.name / f"duplicate-{number}.jpg"
            image.resize((64, 48)).save(duplicate, quality=20)
    large = f"DATA={workplace / 'large'}"
    open_data(make_config(large, f"data.image_size={first}", "augment.crop=0.5"))
    pack = open_data(make_config(large, "data.image_size=20"))
    fresh = open_data(make_config(large, "data.image_size=20", "data.directory=elsewhere"))
    first, second = (json.loads((made.directory / "scan.json").read_text()) for made in (pack, fresh))
    assert first == second
    assert fresh.summary.num_duplicates.near > 20
    np.testing.assert_array_equal(pack.images, fresh.images)


def test_an_open_pack_survives_its_removal(make_config, photos):
    config = make_config("augment.crop=0.5")
    data = open_data(config)
    (photos / "train" / "red" / "0.png").unlink()
    assert [stale for _, _, stale in remove_stale_packs(config)] == [True]
    images = data.training_images
    assert len(data.training_rows) + len(data.validation_rows) == 30
    test_images, _, rows, paths = data.open_test(RunFolder(Path("t"), "train-best"))
    assert test_images[rows].any(axis=(1, 2, 3)).all()
    assert len(paths) == 12
    assert images.shape == (30, 20, 20, 3)


def test_near_duplicates_can_be_kept(make_config, photos, capsys):
    for index in range(4):
        with Image.open(photos / "val" / "red" / f"{index}.png") as image:
            ImageOps.mirror(image).save(photos / "train" / "red" / f"mirrored-{index}.png")
    shutil.copy(photos / "val" / "blue" / "0.png", photos / "train" / "blue" / "same.png")
    assert load_pack(make_config()).manifest.num_leaked == 5
    assert "5 training images look like test images" in capsys.readouterr().err
    pack = load_pack(make_config("data.near_duplicates=false"))
    assert [file.path for file in pack.manifest.leaked] == ["train/blue/same.png"]
    assert pack.manifest.counts.train == 34
    assert "look like" not in capsys.readouterr().err
    assert {stale for _, _, stale in remove_stale_packs(make_config())} == {False}
