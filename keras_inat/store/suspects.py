"""Label suspects: images whose labels are probably wrong, as a record and as a table."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_inat.errors import UserError
from keras_inat.files import hash_file, hold_lock, list_folders, remove, write_text
from keras_inat.log import warn
from keras_inat.settings.schema import Config
from keras_inat.spreadsheets import format_csv
from keras_inat.store.checksums import WRONG
from keras_inat.store.predictions import SuspectPictures
from keras_inat.store.records import DataSummary, Stored
from keras_inat.store.runs import RunFolder, create_run

COMMAND = "suspects"


class Suspect(Stored):
    """An image whose label is probably wrong, a line of `suspects.csv`."""

    file: str  # the path relative to the source
    label: str  # its class in the data set
    suggested: str  # the most probable class
    probability_of_label: float  # predicted by a model that was not trained on the image
    probability_of_suggested: float  # by the same model
    rank: int  # 1 for the largest difference of the two probabilities


class Suspects(Stored):
    """The outcome of the command `suspects`, `suspects.json`."""

    created: str  # UTC, ISO 8601
    network: str  # the model that predicted the images, in words
    num_folds: int  # number of models, each trained on the other folds
    num_images: int  # number of training and validation images
    accuracy: float  # fraction of them whose label is the most probable class
    data: DataSummary  # the images
    suspects: tuple[Suspect, ...]  # the most suspicious first
    pictures_hash: str = ""  # SHA-256 of `suspects.npz`
    folder: str = ""  # the name of the folder of the run


@dataclass(frozen=True, repr=False)
class SuspectRun:
    """A finished run of the command `suspects`."""

    folder: RunFolder  # its folder
    outcome: Suspects  # its content

    @property
    def table(self) -> Path:
        """The path of `suspects.csv`."""
        return self.folder.suspect_table

    @property
    def data(self) -> DataSummary:
        """The images."""
        return self.outcome.data

    def __repr__(self) -> str:
        return f"<{len(self.outcome.suspects):,} label suspects of {self.outcome.num_images:,} images: {self.table}>"

    def read_pictures(self) -> np.ndarray | None:
        """Reads the pixels of the first suspects, `(suspects, size, size, 3)` uint8; None if the file is damaged."""
        file = self.folder.suspect_pictures
        with contextlib.suppress(OSError):
            if hash_file(file) == self.outcome.pictures_hash and (pictures := SuspectPictures.read(file)):
                return pictures.pixels
        warn(f"{file} is missing, {WRONG}, and is skipped")
        return None


def write_suspects(run: RunFolder, suspects: Suspects) -> Suspects:
    """Writes `suspects.csv`, which `data.exclude` accepts, and then `suspects.json`, which marks the run as done.

    Returns the record with the name of the folder and the checksum of the pictures, which are on disk already.
    """
    rows = [suspect.model_dump() for suspect in suspects.suspects]
    write_text(run.suspect_table, format_csv(list(Suspect.model_fields), rows))
    own = {"pictures_hash": hash_file(run.suspect_pictures), "folder": run.path.absolute().name}
    suspects = suspects.model_copy(update=own)
    suspects.write(run.suspects)
    return suspects


def list_suspects(directory: str | Path) -> list[SuspectRun]:
    """Returns the finished runs of `suspects`, the oldest first. Damaged ones are skipped with a warning."""
    found = []
    for path in list_folders(Path(directory, COMMAND)):
        run = RunFolder(path, COMMAND)
        if outcome := Suspects.read_if_sound(run.suspects):
            if outcome.folder != path.name:
                warn(f"{run.suspects} was written in the folder {outcome.folder}, which was renamed or copied")
            if not run.suspect_table.exists():
                warn(f"{run.suspect_table} is missing")
            found.append(SuspectRun(run, outcome))
        elif _has_lost_record(run):
            warn(f"{run.suspects} is missing, and its run is skipped")
        elif _is_foreign(run):
            warn(f"{path} is the run of another command, and is skipped")
    return found


def _has_lost_record(run: RunFolder) -> bool:
    """Returns True if a run has ended, as its lock is gone, and has a file of its outcome but not the record."""
    has_outcome = run.suspect_table.exists() or run.suspect_pictures.exists()
    return has_outcome and not run.suspects.exists() and not run.lock.exists()


def _is_foreign(run: RunFolder) -> bool:
    """Returns True if a folder has files of a training, and was moved from the folder of another command."""
    return any(file.exists() for file in (run.result, run.metrics, run.checkpoint))


@contextlib.contextmanager
def claim_folder(config: Config, name: str) -> Iterator[RunFolder]:
    """Yields the folder of a new run, locked against other processes.

    The folders of killed runs are removed, because such a run cannot resume.
    """
    directory = Path(config.run.directory)
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with hold_lock(directory / f".{COMMAND}.lock"):
            for path in Path(directory, COMMAND).glob("[!.]*/"):
                run = RunFolder(path, COMMAND)
                is_finished = run.suspects.exists() or _has_lost_record(run)
                if run.config.exists() and not is_finished and not _is_foreign(run):
                    with contextlib.suppress(OSError, UserError), hold_lock(run.lock, "it is running"):
                        remove(path)
            folder = create_run(config, COMMAND, name)
            stack.enter_context(hold_lock(folder.lock))
        yield folder
        folder.lock.unlink()
