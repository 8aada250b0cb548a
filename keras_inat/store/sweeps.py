"""The folder of a sweep: its search space, its trials and its best configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_inat.errors import PROGRAM, UserError, describe_choices
from keras_inat.files import InFolder, list_folders, write_text
from keras_inat.log import warn
from keras_inat.settings import roles
from keras_inat.settings.catalog import select
from keras_inat.settings.loading import build_config
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import format_yaml, read_yaml
from keras_inat.store.checksums import WRONG, check_lines, hash_values, sign_lines
from keras_inat.store.records import DataSummary, Result, Stored, Trial, find_best
from keras_inat.store.runs import RunFolder


class SweepIdentity(Stored):
    """The facts that make the scores of two trials comparable, `space.yaml`."""

    space: dict[str, Any]  # `sweep.space`
    settings: dict[str, Any]  # the other settings, by dotted name
    data_hash: str  # hash of the images

    def compare(self, other: "SweepIdentity") -> list[str]:
        """Lists the differences, each as `name: value -> other value`."""
        old = self._flatten()
        new = other._flatten()
        names = dict.fromkeys([*old, *new])
        return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]

    @property
    def hash(self) -> str:
        """The hash that each trial of the sweep has."""
        return hash_values(self.model_dump(mode="json"))

    def _flatten(self) -> dict[str, Any]:
        space = {f"sweep.space.{name}": domain for name, domain in self.space.items()}
        return space | self.settings | {"data.hash": self.data_hash}


@dataclass(frozen=True)
class SweepFolder:
    """The folder `runs/sweep/<name>/` and the paths of its files."""

    path: Path

    identity = InFolder("space.yaml")
    table = InFolder("trials.csv")
    best = InFolder("best.yaml")
    lock = InFolder("lock")
    order = InFolder("order.txt")
    trials = InFolder("trials")

    @property
    def name(self) -> str:
        return self.path.name

    def read_order(self) -> int:
        """Returns the number that is larger the later the sweep was run; 0 if it is unknown."""
        try:
            return int(check_lines(self.order, subject=self.name))
        except FileNotFoundError:
            if self.identity.exists() or self.trials.exists():
                warn(f"{self.order} is missing, and its sweep counts as the oldest one")
        except (OSError, ValueError):
            warn(f"{self.order} {WRONG}, and its sweep counts as the oldest one")
        return 0

    def mark_newest(self) -> None:
        """Makes the sweep the newest one. Times would follow the clock, which may be set back."""
        others = [SweepFolder(path).read_order() for path in self.path.parent.glob("*/") if path != self.path]
        if (newest := max(others, default=0)) >= self.read_order():
            write_text(self.order, sign_lines(f"{newest + 1}\n", subject=self.name))

    def trial_run(self, trial_id: str) -> RunFolder:
        """Returns the run folder of a trial."""
        return RunFolder(self.trials / trial_id, "sweep")

    def trial_file(self, trial_id: str) -> Path:
        """Returns the path of a trial's record."""
        return self.trials / trial_id / "trial.json"

    def list_trial_ids(self) -> list[str]:
        """Returns the numbers of the recorded trials, in order of creation."""
        names = {file.parent.name for name in ("trial.json", "config.yaml") for file in self.trials.glob(f"*/{name}")}
        return sorted((name for name in names if name.isdecimal()), key=int)

    def read_trial(self, trial_id: str, identity: SweepIdentity | None) -> Trial | None:
        """Reads the record of a trial. Returns None with a warning if it is missing, damaged or of another trial.

        Without the identity of the sweep, a trial of another sweep is not noticed.
        """
        file = self.trial_file(trial_id)
        if not file.exists():
            warn(f"{file} is missing")
            return None
        trial = Trial.read_if_sound(file)
        if trial and trial.id != trial_id:
            warn(f"{file} is the record of trial {trial.id}, and is skipped")
            return None
        if trial and identity and trial.sweep != identity.hash:
            warn(f"{file} is the record of another sweep, and is skipped")
            return None
        return trial

    def read_trials(self, identity: SweepIdentity | None) -> list[Trial]:
        """Reads the trials with a sound record, in order of creation; see `read_trial`.

        A gap has a warning, too, and a trial whose result is lost or newer than its record.
        """
        trial_ids = self.list_trial_ids()
        if trial_ids and int(trial_ids[-1]) >= len(trial_ids):
            warn(f"a trial before {trial_ids[-1]} is missing from {self.trials}")
        trials = [trial for trial_id in trial_ids if (trial := self.read_trial(trial_id, identity))]
        for trial in trials:
            self._compare(trial, self.trial_run(trial.id).result)
        return trials

    def _compare(self, trial: Trial, result: Path) -> None:
        """Warns about a lost result of a trial, and about a record that was written before it."""
        is_older = trial.status == "running" and result.exists()
        if trial.status in ("completed", "pruned"):
            try:
                is_older = Result.read(result).pruned != (trial.status == "pruned")
            except FileNotFoundError:
                warn(f"{result} is missing")
            except (OSError, ValueError):  # a damaged result does not change the page
                pass
        if is_older:
            warn(f"{self.trial_file(trial.id)} is older than {result}: run the sweep again")

    def read_data(self, identity: SweepIdentity | None) -> DataSummary | None:
        """Returns the data of the first trial with a result on the images of the sweep; None if there is none."""
        for trial_id in self.list_trial_ids():
            run = self.trial_run(trial_id)
            result = run.read_result()
            if result and result.command == run.command and (not identity or result.data.hash == identity.data_hash):
                return result.data
            if result:
                warn(f"{run.result} is the result of another sweep or command, and is skipped")
        return None

    def write_identity(self, identity: SweepIdentity) -> None:
        """Writes `space.yaml`."""
        write_text(self.identity, sign_lines(format_yaml(identity.model_dump(mode="json"))))

    def read_identity(self) -> SweepIdentity:
        """Reads `space.yaml`. A missing or damaged file is a UserError."""
        try:
            check_lines(self.identity)
            return SweepIdentity.model_validate(read_yaml(self.identity))
        except (OSError, ValueError):
            raise UserError(
                f"{self.identity} is missing, {WRONG}: restore it, give another NAME, or delete {self.path} to start "
                "anew"
            ) from None

    def find_identity(self) -> SweepIdentity | None:
        """Reads `space.yaml`. Returns None with a warning if it is missing or damaged."""
        try:
            return self.read_identity()
        except UserError:
            warn(f"{self.identity} is missing, {WRONG}, and is skipped")
            return None

    def check_best(self) -> None:
        """Raises a ValueError unless `best.yaml` has the settings of the best trial, and an OSError if there is none.

        It may be that of another sweep, or an old one.
        """
        identity = self.read_identity()
        check_lines(self.best, subject=identity.hash)
        best = find_best(self.read_trials(identity))
        settings = select(build_config(read_yaml(self.best), str(self.best)), roles.SWEEP & roles.BEST)
        expected = identity.settings | (best.settings if best else {})
        if best is None or settings != {name: expected.get(name) for name in settings}:
            raise ValueError(f"{self.best} does not have the settings of the best trial")


def locate_sweep(config: Config) -> SweepFolder:
    """Returns the folder of the sweep that `run.name` names."""
    return SweepFolder(Path(config.run.directory) / "sweep" / config.run.name)


def list_sweeps(runs: str | Path) -> list[SweepFolder]:
    """Returns the folders of all sweeps with a recorded trial, by name."""
    sweeps = []
    for folder in map(SweepFolder, list_folders(Path(runs, "sweep"))):
        if folder.list_trial_ids():
            sweeps.append(folder)
        elif folder.best.exists() or folder.table.exists():
            warn(f"{folder.trials} has no trials, and its sweep is skipped")
    return sweeps


def find_best_config(runs: str | Path, sweep: str | None) -> Path:
    """Returns the `best.yaml` of a sweep, by default of the one that was run last, or raises a UserError."""
    folders = sorted(map(SweepFolder, list_folders(Path(runs, "sweep"))), key=SweepFolder.read_order)
    found = [folder for folder in folders if folder.best.exists()]
    chosen = [folder for folder in found if sweep in (None, folder.name)]
    if not sweep:
        for folder in folders[folders.index(found[-1]) + 1 if found else 0 :]:
            warn(f"{folder.best} is missing, and its sweep, the newest one, is skipped")
    if not chosen:
        named = SweepFolder(Path(runs, "sweep", sweep or ""))
        if sweep and named.identity.exists():
            again = f"run `{PROGRAM} sweep NAME={sweep}` again, which writes it once a trial is finished"
            raise UserError(f"{named.best} is missing: {again}")
        names = [folder.name for folder in found]
        if sweep and names:
            raise UserError(
                f"SWEEP, a sweep with a finished trial in {Path(runs, 'sweep')}, {describe_choices(sweep, names)}"
            )
        wanted = f"the sweep {sweep!r} has no finished trial" if sweep else "there is no sweep with a finished trial"
        raise UserError(f"{wanted}, which writes best.yaml, in {Path(runs, 'sweep')}: run `{PROGRAM} sweep` first")
    try:
        chosen[-1].check_best()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{error}: run `{PROGRAM} sweep` again, which writes it anew, or give it as CONFIG if the change is meant"
        ) from None
    return chosen[-1].best
