"""Getting the images: from the network, from an archive or from a folder."""

from pathlib import Path

from keras_inat.data.conversion import check_suffix
from keras_inat.data.download import download
from keras_inat.data.packs import Pack, load_pack
from keras_inat.data.source import DEMOS
from keras_inat.data.unpacking import unpack
from keras_inat.errors import UserError
from keras_inat.files import suggest_path
from keras_inat.settings.places import name_url
from keras_inat.settings.schema import Config, Data


def run(config: Config) -> None:
    """Makes the data set ready: downloads, unpacks and decodes the images where needed, and prints a summary."""
    folder = Path(config.data.source)
    has_url = config.data.url != Data().url
    if config.data.zip and has_url:
        raise UserError("give ZIP or URL, not both")
    if config.data.source in DEMOS and (config.data.zip or has_url):
        raise UserError(f"DATA={config.data.source} is a drawn data set: give DATA=<folder> to unpack an archive into")
    if config.data.zip:
        archive = Path(config.data.zip)
        if not archive.is_file():
            raise UserError(f"ZIP must be an archive that exists. Received: {str(archive)!r}.{suggest_path(archive)}")
        check_suffix(archive, "ZIP must be an archive ({})")
        if folder.is_file():
            raise UserError(f"DATA must be the folder to unpack into. Received: {str(folder)!r}, which is a file.")
        print(f"unpacked {unpack(archive, folder)} images into {folder}")
    elif has_url and folder.exists():
        print(f"{folder} exists, so nothing was downloaded: delete it first to use {name_url(config.data.url)} instead")
    elif not folder.exists() and (has_url or config.data.source == Data().source):
        archive = download(config.data.url, Path(config.data.directory))
        num_images = unpack(archive, folder)
        archive.unlink()
        print(f"unpacked {num_images} images into {folder} and removed the archive {archive}")
    _report(load_pack(config), config)


def _report(pack: Pack, config: Config) -> None:
    """Prints the origins and counts of the images, by class, then the formats, duplicates and skipped files."""
    found = pack.manifest
    duplicates = found.num_duplicates
    if not pack.is_new:
        print(f"images: {found.origins.describe(config.data.val_fraction, config.data.test_fraction)}")
    counts = {split: getattr(found.counts, split) for split in ("train", "validation", "test")}
    numbers = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
    numbers = " and ".join(numbers.rsplit(", ", 1))
    print(f"{found.name}: {numbers} images, by class:")
    columns = [numbers for split in counts if (numbers := getattr(found.per_class, split))]
    for class_name, *row in zip(found.classes, *columns, strict=True):
        print(f"  {class_name:20} {' '.join(f'{count:>8,}' for count in row)}")
    num_files = found.files.train + found.files.validation + found.files.test
    splits = "a test or validation image" if found.origins.validation else "a test image"
    reasons = _list(found.reasons | {f"is a duplicate of {splits}": found.num_leaked})
    lines = {
        "formats": _list(found.formats),
        "converted": _list(found.traits) or "none",
        "duplicates": (
            f"{duplicates.identical:,} identical, {duplicates.near:,} near ({duplicates.mirrored:,} mirrored, "
            f"{duplicates.of_another_class:,} across classes); duplicates stay on one side of the validation split"
        ),
        "skipped": f"{found.num_quarantined + found.num_leaked:,} of {num_files:,} files: {reasons or 'none'}",
    }
    if found.num_excluded:
        lines["excluded"] = f"{found.num_excluded:,} training images; the counts by class lack them"
    if "16-bit" in found.traits:
        lines["bit depth"] = f"{found.bit_depth}, so {2**found.bit_depth - 1:,} becomes white in 16-bit images"
    for name, text in lines.items():
        print(f"  {name:10} {text}")
    print(f"full list: {pack.directory / 'scan.json'}")


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items() if count)
