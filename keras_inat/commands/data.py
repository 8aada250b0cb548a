"""Getting the photographs: an archive from the network or the disk, unpacked where `data.source` says."""

from pathlib import Path

from keras_inat.data.download import download, unpack
from keras_inat.data.pack import Pack
from keras_inat.data.packs import load_pack
from keras_inat.data.source import DEMOS
from keras_inat.errors import UserError
from keras_inat.settings.schema import Config, Data


def run(config: Config) -> None:
    """Makes the data set ready: downloaded where that was not done, unpacked, decoded; and says what is in it."""
    folder, given = Path(config.data.source), config.data.url != Data().url
    if config.data.zip and given:
        raise UserError("give ZIP or URL, not both")
    if config.data.source in DEMOS and (config.data.zip or given):
        raise UserError(f"DATA={config.data.source} is drawn: give DATA=<folder> for what is in the archive")
    if config.data.zip:
        archive = Path(config.data.zip)
        if not archive.is_file() or archive.suffix.lower() != ".zip":
            raise UserError(f"ZIP must be a .zip file that exists. Received: {str(archive)!r}.")
        if folder.is_file():
            raise UserError(f"DATA must be the folder to unpack into. Received: {str(folder)!r}, which is a file.")
        print(f"unpacked {unpack(archive, folder)} images into {folder}")
    elif folder.exists() and given:
        print(f"{folder} is there, so that nothing was downloaded: delete it first to take {config.data.url} instead")
    elif _is_to_come(config):
        archive = download(config.data.url, Path(config.data.directory))
        num_images = unpack(archive, folder)
        archive.unlink()
        print(f"unpacked {num_images} images into {folder}; removed the archive, {archive}")
    _report(load_pack(config))


def _is_to_come(config: Config) -> bool:
    """Whether to download: the standard data set, or from an address that was given; a mistyped DATA is neither."""
    standard = Data()
    named = config.data.source == standard.source or config.data.url != standard.url
    return named and not (Path(config.data.source).exists() or config.data.source in DEMOS)


def _report(pack: Pack) -> None:
    """Says what was found, the counts first and then what deserves a look."""
    found, files = pack.manifest, sum(pack.manifest["files"].values())
    counts, duplicates = found["counts"], found["num_duplicates"]
    print(f"{found['name']}: {counts['train']:,} train and {counts['test']:,} test images, by class:")
    for class_name, train, test in zip(found["classes"], *found["per_class"].values(), strict=True):
        print(f"  {class_name:20} {train:>8,} {test:>8,}")
    lines = {
        "formats": _list(found["formats"]),
        "converted": _list(found["traits"]) or "nothing out of the ordinary",
        "duplicates": f"{duplicates['identical']:,} identical, {duplicates['near']:,} near ({duplicates['mirrored']:,} mirrored, "
        f"{duplicates['of_another_class']:,} across classes); the copies of an image stay on one side of the split",
        "left out": f"{found['num_quarantined'] + found['num_leaked']:,} of {files:,} files: "
        + (_list(found["reasons"] | {"shows a test image": found["num_leaked"]}) or "none"),
    }
    for name, text in lines.items():
        print(f"  {name:9} {text}")
    print(f"All of it: {pack.directory / 'scan.json'}")


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items() if count)
