"""Removal of decoded pixels whose images have changed or are gone."""

from keras_inat.data.packs import remove_stale_packs
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Removes the stale packs and prints the size of every pack."""
    rows = remove_stale_packs(config)
    for name, size, removed in rows:
        print(f"{'removed' if removed else 'kept':8} {size / 2**20:>9,.1f} MiB  {name}")
    freed = sum(size for _, size, removed in rows if removed)
    print(f"{freed / 2**20:,.1f} MiB freed" if rows else "there are no packs")
