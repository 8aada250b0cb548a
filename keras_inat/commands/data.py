"""Getting the photographs: an archive from the network or the disk, unpacked where `data.source` says."""

from pathlib import Path

from keras_inat.config import Config
from keras_inat.data.get import download, unpack
from keras_inat.data.pack import load_pack
from keras_inat.errors import UserError


def run(config: Config) -> None:
    """Makes the data set ready: downloaded where that was not done, unpacked, decoded; and says what is in it."""
    folder = Path(config.data.source)
    if config.data.zip:
        archive = Path(config.data.zip)
        if not archive.is_file() or archive.suffix.lower() != ".zip":
            raise UserError(f"ZIP must be a .zip file that exists. Received: {str(archive)!r}.")
        print(f"unpacked {unpack(archive, folder)} images into {folder}")
    elif not (folder.exists() or config.data.source == "demo"):
        archive = download(config.data.url, Path(config.data.directory))
        num_images = unpack(archive, folder)
        archive.unlink()
        print(f"unpacked {num_images} images into {folder}; removed the archive, {archive}")
    manifest = load_pack(config).manifest
    counts = manifest["counts"]
    print(f"{manifest['name']}: {counts['train']} train and {counts['test']} test images, by class:")
    for class_name, train, test in zip(manifest["classes"], *manifest["per_class"].values(), strict=True):
        print(f"  {class_name:20} {train:>6} {test:>6}")
