"""The command line: `python -m keras_inat <command> [CONFIG=file] [VARIABLE=value ...] [section.key=value ...]`."""

import gc
import importlib
import signal
import sys
from pathlib import Path

from keras_inat.errors import FULL_DISK, TERMINATED, UserError, describe_choices, is_out_of_memory
from keras_inat.progress import hide_startup_messages
from keras_inat.settings.loading import VARIABLES, build_config, load_config, parse_overrides
from keras_inat.store.sweeps import find_best_config

CONFIGS = Path(__file__).parent.parent / "configs"
RESUME = "finished work is kept, run the command again to resume"


# The description of each command, and its configuration file unless CONFIG names another one.
COMMANDS: dict[str, tuple[str, str | None]] = {
    "demo": ("search, train, fine-tune and report on drawn images, offline", "demo.yaml"),
    "data": ("download or unpack the photographs, decode them and list what was found", "sweep.yaml"),
    "sweep": ("search hyperparameters; run it again to resume", "sweep.yaml"),
    "train-best": ("train a sweep's best configuration and evaluate it once on the test images", None),
    "finetune": ("fine-tune a pretrained backbone and evaluate it once on the test images", "finetune.yaml"),
    "backbones": ("list the pretrained networks for finetune", None),
    "report": ("render reports/index.html, README.md, results.csv and figures/ from runs/", None),
    "predict": ("class probabilities and an attribution map for an image or a folder of images", None),
    "cost": ("parameters, multiply-accumulates and memory of a configuration, by layer and in closed form", None),
    "dashboard": ("open TensorBoard on runs/", None),
    "bench": ("measure speed, as ratios of two things run together", "demo.yaml"),
    "replay": ("compare search methods on recorded trials", "replay.yaml"),
    "clean-packs": ("remove decoded pixels of images that were changed or deleted", None),
    "settings": ("list every setting with its default and description", None),
}


def main(arguments: list[str]) -> int:
    """Runs one command. A failure prints one line on stderr.

    Returns:
        The exit code: 0 for success, 1 for an external failure, 2 for a mistake of the user, 130 for an interruption.

    Raises:
        SystemExit: The process was terminated; the code is 143.
    """
    # W&B closes its files when Python ends, not when a signal kills the process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        name, *settings = arguments or [""]
        if {"-h", "--help"} & set(arguments):
            _print_help()
        elif name in COMMANDS:
            _run(name, settings)
        else:
            raise UserError(f"the command {describe_choices(name, COMMANDS)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, FloatingPointError) as error:
        # A full disk, a read-only folder or a diverged training: a traceback would not help.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {RESUME}", file=sys.stderr)
        return 130
    except SystemExit as ended:
        if ended.code == TERMINATED:
            print(f"terminated: {RESUME}", file=sys.stderr)
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:160]
        if is_out_of_memory(error):
            message = f"out of memory: use a smaller batch_size or image_size. {message}"
        elif FULL_DISK not in str(error):  # TensorFlow does not raise an OSError for a full disk
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # exit handlers of libraries do not expect SystemExit
    return 0


def _print_help() -> None:
    print(f"{__doc__}\n\ncommands:")
    for name, (text, _) in COMMANDS.items():
        print(f"  {name:13} {text}")
    print(f"\nVARIABLE is one of {', '.join(VARIABLES)}.")


def _run(name: str, words: list[str]) -> None:
    chosen = [word.removeprefix("CONFIG=") for word in words if word.startswith("CONFIG=")]
    settings = [word for word in words if not word.startswith("CONFIG=")]
    config = load_config(settings, _find_config(name, chosen, settings))
    with hide_startup_messages():
        command = importlib.import_module(f"keras_inat.commands.{name.replace('-', '_')}")
    command.run(config)


def _find_config(name: str, chosen: list[str], settings: list[str]) -> Path | None:
    """Returns the configuration file: the one that CONFIG names, the best of a sweep, or the default of the command."""
    if chosen:
        if any(setting.startswith(("SWEEP=", "train_best.sweep=")) for setting in settings):
            raise UserError("SWEEP and CONFIG both choose a configuration: give only one of them")
        return Path(chosen[-1])
    if name == "train-best":
        # The other settings may be valid only for the best configuration, so they are read after it is found.
        overrides = parse_overrides(settings)
        given = build_config({section: overrides.get(section, {}) for section in ("run", "train_best")})
        return find_best_config(given.run.directory, given.train_best.sweep)
    _, default = COMMANDS[name]
    return CONFIGS / default if default else None


if __name__ == "__main__":
    try:
        code: int | str | None = main(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code
    # An interrupted training leaves its batches in a reference cycle, and with them threads that call Python. Such a
    # thread makes Python hang or abort when it ends.
    gc.collect()
    sys.exit(code)
