"""Reproduction: the command, seed, data and package versions of every run."""

from collections import Counter

from keras_inat.report.blocks import Block, Prose, Section, Table
from keras_inat.report.formatting import MISSING, plural
from keras_inat.report.model_cards import FOLDER
from keras_inat.report.seed_groups import FinishedRun

TITLE = "Reproduction"


def describe_reproduction(runs: list[FinishedRun]) -> Section:
    """Returns the section with a command for each run."""
    if not runs:
        return Section(TITLE, [Prose("`make sweep` resumes an interrupted sweep.")])
    rows = []
    versions = Counter[str]()
    for run in runs:
        # The configuration has the seed. It also has the number of seeds, which would repeat the other runs as well.
        command = f"make {run.folder.command} NAME=again SEEDS=1 CONFIG={run.folder.config}"
        rows.append([run.title, command, str(run.result.seed), run.data.hash, run.result.commit or MISSING])
        versions[", ".join(f"{name} {version}" for name, version in sorted(run.result.packages.items()))] += 1
    packages = [Prose(f"Made with {names} ({plural(number, 'run')}).") for names, number in versions.items()]
    blocks: list[Block] = [
        Prose(
            "The folder of a run has its configuration. Passed as CONFIG, together with another NAME, it trains the "
            "run again."
        ),
        Prose(
            f"The model cards in `{FOLDER}/` beside this page describe each kept model, its accuracy and its intended "
            "use."
        ),
        Table("Commands that repeat each run.", "llrll", ["run", "command", "seed", "data hash", "commit"], rows),
        *packages,
    ]
    return Section(TITLE, blocks)
