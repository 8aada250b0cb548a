"""`python -m keras_inat <command> [VARIABLE=value ...] [section.key=value ...]`: argv -> config -> one command."""

import argparse
import gc
import importlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from keras_inat.errors import FULL_DISK, TERMINATED, UserError, is_out_of_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.settings.loading import VARIABLES, build_config, load_config, parse_overrides

CONFIGS = Path(__file__).parent.parent / "configs"
KEPT = "what was finished is kept, run the command again to go on"


@dataclass(frozen=True)
class Command:
    """What a command does, and the configuration file that it starts from when CONFIG names none."""

    help: str
    config: str | None = None


COMMANDS = {
    "demo": Command("the whole story on a generated data set, offline", "demo.yaml"),
    "data": Command("download or unpack the photographs, decode and report them", "sweep.yaml"),
    "sweep": Command("search hyperparameters; run again, it goes on where it stopped", "sweep.yaml"),
    "sweep-chief": Command("propose the trials of a sweep to workers on this and other machines", "sweep.yaml"),
    "sweep-worker": Command("train what the chief of a sweep proposes", "sweep.yaml"),
    "train-best": Command("train a sweep's best configuration fully, and judge it once on the test images"),
    "finetune": Command("adapt a pretrained backbone, and judge it once on the test images", "finetune.yaml"),
    "backbones": Command("the pretrained networks that finetune can adapt"),
    "report": Command("render reports/index.html, README.md, results.csv and figures/ from runs/"),
    "predict": Command("class probabilities and an explanation picture for an image or a folder"),
    "cost": Command("parameters, computations and memory of a configuration, layer by layer and in closed form"),
    "dashboard": Command("TensorBoard over runs/"),
    "bench": Command("how fast it is, as ratios of two things run side by side", "demo.yaml"),
    "replay": Command("how many epochs a search needs, replayed from recorded trials", "replay.yaml"),
    "clean-packs": Command("remove decoded pixels of images that have changed or are gone"),
    "settings": Command("every setting with its default and meaning"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def main(arguments: list[str]) -> int:
    """Runs one command.

    Returns:
        The exit code: 0, or 2 after one line on stderr about what the user can mend, 130 when interrupted.

    Raises:
        SystemExit: With 143, when terminated.
    """
    # A terminated process should close its files, as W&B's.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        parser = Parser(prog="python -m keras_inat", description="How well can a folder of photographs be classified?")
        commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
        for name, command in COMMANDS.items():
            subparser = commands.add_parser(
                name, help=command.help, description=command.help, epilog=f"VARIABLE is one of {', '.join(VARIABLES)}."
            )
            subparser.add_argument("settings", nargs="*", metavar="NAME=value", help="CONFIG, VARIABLE or section.key")
        options = parser.parse_args(arguments)
        _run(options.command, options.settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk, a read-only folder: nothing is half-written, and there is nothing to trace.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {KEPT}", file=sys.stderr)
        return 130
    except SystemExit as ended:
        if ended.code == TERMINATED:
            print(f"terminated: {KEPT}", file=sys.stderr)
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        if is_out_of_memory(error):
            said = f"out of memory, a smaller batch_size or image_size takes less. {said}"
        elif FULL_DISK not in str(error):  # of TensorFlow, which has no OSError
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what is left to do at exit does not catch SystemExit
    return 0


def _run(name: str, settings: list[str]) -> None:
    chosen = [setting.removeprefix("CONFIG=") for setting in settings if setting.startswith("CONFIG=")]
    settings = [setting for setting in settings if not setting.startswith("CONFIG=")]
    default = COMMANDS[name].config
    path = Path(chosen[-1]) if chosen else CONFIGS / default if default else None
    if chosen and any(setting.startswith(("SWEEP=", "train_best.sweep=")) for setting in settings):
        raise UserError("SWEEP and CONFIG both say what to train: give one of them")
    if name == "train-best" and not chosen:
        with hide_startup_messages():  # KerasTuner imports TensorFlow
            from keras_inat.sweep.records import find_best_config

        # Settings may fit the best configuration and not the defaults: only these two are read before it is found.
        overrides = parse_overrides(settings)
        given = build_config({section: overrides.get(section, {}) for section in ("run", "train_best")})
        path = find_best_config(given.run.directory, given.train_best.sweep)
    config = load_config(settings, path)
    with hide_startup_messages():
        command = importlib.import_module(f"keras_inat.commands.{name.replace('-', '_')}")
    command.run(config)


if __name__ == "__main__":
    try:
        code: int | str | None = main(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code
    # A training that was interrupted leaves its batches in a cycle of references, and with them threads that call
    # Python. Python lets them no longer do so as it ends: it would wait for them for ever, or abort.
    gc.collect()
    sys.exit(code)
