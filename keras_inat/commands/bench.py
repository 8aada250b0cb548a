"""How fast it is, beside what others do with the same files. Imports little: the peers' workers import it, too."""

from keras_inat.progress import hide_startup_messages
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a row a comparison: images a second of both sides, and the median of the ratios with their range."""
    with hide_startup_messages():
        from keras_inat.bench import table
    table.print_table(config)
