import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from keras_inat.data.pack import decode_image, load_pack
from keras_inat.errors import UserError
from keras_inat.runs import RunFolder, read_jsonl


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pixels_and_labels_belong_together(make_config, photos):
    pack = load_pack(make_config())
    assert pack.classes == ["blue", "green", "red"]
    assert pack.train_images.shape == (30, 16, 16, 3)
    assert pack.train_images.dtype == np.uint8
    assert np.bincount(pack.train_labels).tolist() == [10, 10, 10]
    # The strongest channel of a class is its own: blue is 2, green 1, red 0.
    assert (pack.train_images.mean(axis=(1, 2)).argmax(axis=1) == 2 - pack.train_labels).all()
    first = decode_image((photos / "train" / "blue" / "0.png").read_bytes(), 16)
    np.testing.assert_array_equal(pack.train_images[0], first)


def test_made_once_and_again_only_when_the_images_change(make_config, photos):
    first = load_pack(make_config())
    stamp = (first.directory / "manifest.json").stat().st_mtime_ns
    assert load_pack(make_config()).directory == first.directory
    assert (first.directory / "manifest.json").stat().st_mtime_ns == stamp
    shutil.copy(photos / "train" / "red" / "0.png", photos / "train" / "blue" / "new.png")
    assert load_pack(make_config()).hash != first.hash
    assert load_pack(make_config("data.image_size=24")).train_images.shape[1] == 24


def test_what_a_kill_left_is_cleared(make_config):
    directory = load_pack(make_config()).directory
    shutil.rmtree(directory)
    partial = directory.parent / f".{directory.name}"
    partial.mkdir()
    (partial / "train.uint8").write_bytes(b"half")
    assert len(load_pack(make_config()).train_images) == 30
    assert not partial.exists()


def test_a_file_that_is_no_image_is_named_and_left_out(make_config, photos, capsys):
    (photos / "train" / "red" / "notes.jpg").write_text("not an image")
    (photos / "train" / "red" / "short.png").write_bytes((photos / "train" / "red" / "1.png").read_bytes()[:300])
    pack = load_pack(make_config())
    assert len(pack.train_images) == len(pack.train_labels) == 30
    reasons = {entry["path"]: entry["reason"] for entry in pack.manifest["quarantined"]}
    assert reasons["train/red/notes.jpg"] == "is not an image"
    assert "cannot be decoded" in reasons["train/red/short.png"]
    assert "warning: train/red/notes.jpg is left out: is not an image" in capsys.readouterr().err
    load_pack(make_config())
    assert capsys.readouterr().err == ""  # once is enough


def test_copies_of_test_images_are_left_out_of_train(make_config, photos):
    shutil.copy(photos / "val" / "red" / "0.png", photos / "train" / "blue" / "copy.png")
    pack = load_pack(make_config())
    assert len(pack.train_images) == 30
    reason = "is the same image as val/red/0.png"
    assert pack.manifest["leaked"] == [{"path": "train/blue/copy.png", "reason": reason}]


def test_a_class_without_readable_images_is_an_error(make_config, photos):
    for path in (photos / "val" / "red").iterdir():
        path.write_text("no image")
    with pytest.raises(
        UserError, match=r"val/red .* holds 0 usable images, at least 1 are needed; left out, as one is not an image"
    ):
        load_pack(make_config())
    assert not [path for path in (photos.parent / "data" / ".packs").iterdir() if path.is_dir()]


def test_the_test_images_open_only_through_the_ledger(make_config, tmp_path):
    config, pack = make_config(), load_pack(make_config())
    with pytest.raises(PermissionError):
        pack.read_test(config, RunFolder(tmp_path / "t", "sweep"))
    images, labels, files = pack.read_test(config, RunFolder(tmp_path / "t", "train-best"))
    assert (len(images), len(labels), len(files)) == (12, 12, 12)
    assert (images.mean(axis=(1, 2)).argmax(axis=1) == 2 - labels).all()
    assert [line["data"] for line in read_jsonl(tmp_path / "runs" / "test_ledger.jsonl")] == [pack.hash]


def test_an_interrupted_build_leaves_nothing(make_config, monkeypatch):
    monkeypatch.setattr("keras_inat.data.pack.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load_pack(make_config())
    monkeypatch.undo()
    pack = load_pack(make_config())
    assert json.loads((pack.directory / "manifest.json").read_text())["counts"] == {"train": 30, "test": 12}


def test_orientation_is_applied():
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    pixels = decode_image(encode(image, "PNG", exif=exif), 20)
    assert pixels[2, 10].tolist() == [0, 0, 255]
    assert pixels[-3, 10].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("mode", "color"), [("L", 128), ("CMYK", (0, 0, 0, 127)), ("P", 3), ("LA", (128, 255)), ("1", 1)]
)
def test_every_mode_becomes_rgb(mode, color):
    image = Image.new(mode, (9, 9), color)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    pixels = decode_image(encode(image, kind), 8)
    assert pixels.shape == (8, 8, 3)
    np.testing.assert_array_equal(pixels[0, 0], image.convert("RGB").getpixel((0, 0)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_cut_off(kind):
    ramp = np.linspace(0, 65535, 16, dtype=np.uint16)[None].repeat(16, 0)
    pixels = decode_image(encode(Image.fromarray(ramp), kind), 16)
    np.testing.assert_allclose(pixels[0, :, 0], np.linspace(0, 255, 16), atol=1)


def test_what_is_transparent_is_white():
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 4, 8))
    pixels = decode_image(encode(image), 8)
    assert pixels[4, 1].tolist() == [200, 0, 0]
    assert pixels[4, 6].tolist() == [255, 255, 255]


def test_a_damaged_member_of_an_archive_is_left_out(make_config, photos, tmp_path):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(photos.rglob("*.png")):
            archive.write(file, file.relative_to(photos))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    pack = load_pack(make_config(f"DATA={path}"))
    (left_out,) = pack.manifest["quarantined"]
    assert left_out["path"] == "train/blue/0.png"
    assert "cannot be read from the archive" in left_out["reason"]


def test_copies_of_one_image_only(make_config, photos):
    for path in sorted((photos / "train").glob("*/*.png")):
        if path.stem != "0":
            shutil.copy(path.with_name("0.png"), path)
    with pytest.raises(UserError, match="no image can be held out"):
        load_pack(make_config()).split(make_config())


def test_the_middle_is_kept_in_proportion():
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    assert (decode_image(encode(image), 20) == [0, 0, 255]).all()
