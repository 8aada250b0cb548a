"""The command line: `keras-inat <command> [VARIABLE=value ...] [section.key=value ...]`."""

import gc
import signal
import sys
from collections.abc import Sequence

import click

from keras_inat import __version__
from keras_inat.commands.catalog import COMMANDS, Command
from keras_inat.errors import (
    FULL_DISK,
    TERMINATED,
    UserError,
    describe_choices,
    describe_os_error,
    is_out_of_memory,
)

RESUME = "finished work is kept, run the command again to resume"
WIDTH = 110  # columns of the help


class CommandGroup(click.Group):
    """The commands of the table. A misspelled one gets the closest match."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return OneCommand(cmd_name, COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        command = args[0] if args else ""
        if command not in COMMANDS and not (command.startswith("-") or ctx.resilient_parsing):
            raise UserError(f"the command {describe_choices(command, COMMANDS)}")
        return super().parse_args(ctx, args)


class OneCommand(click.Command):
    """A command with its words, `NAME=value`, and a help that lists them. It returns its name and the words."""

    def __init__(self, name: str, row: Command) -> None:
        words = click.Argument(["words"], nargs=-1, metavar="[NAME=value]...", shell_complete=self._complete)
        flags: list[click.Parameter] = [
            click.Option(
                [f"--{setting.rpartition('.')[2]}", "flags"],
                flag_value=f"{setting}=true",
                multiple=True,
                help=f"the same as {setting}=true",
            )
            for setting in row.flags
        ]
        callback = self._list_words
        super().__init__(name, callback=callback, params=[words, *flags], help=row.help, short_help=row.help)
        self.row = row

    def _list_words(self, words: tuple[str, ...], flags: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
        return str(self.name), (*words, *flags)

    def _complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from keras_inat.commands.help import list_words

        return [f"{word}=" for word in list_words(self.row) if word.startswith(incomplete)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from keras_inat.commands.help import describe_words

        formatter.write(describe_words(str(self.name), self.row))


def build_cli() -> click.Group:
    """Builds the command line."""
    cli = CommandGroup(
        "keras-inat",
        help="Measures how well a folder of photographs can be classified.",
        epilog="`keras-inat <command> --help` lists the variables and settings of a command, with their defaults.",
        no_args_is_help=False,
    )
    return click.version_option(__version__, prog_name="keras-inat")(cli)


def main(arguments: Sequence[str]) -> int:
    """Runs one command. A failure prints one line on stderr.

    Returns:
        The exit code: 0 for success, 1 for an external failure, 2 for a mistake of the user, 130 for an interruption.

    Raises:
        SystemExit: The process was terminated; the code is 143.
    """
    # W&B closes its files when Python ends, not when a signal kills the process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        parsed = build_cli().main(list(arguments), "keras-inat", standalone_mode=False, max_content_width=WIDTH)
        if isinstance(parsed, tuple):  # otherwise the help or the version was printed
            from keras_inat.commands.dispatch import run_command

            run_command(*parsed)
    except click.ClickException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk or a read-only folder: a traceback would not help
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 1
    except FloatingPointError as error:
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


def enter() -> None:
    """Runs the command of this process, then ends it."""
    from keras_inat.temporary import use_temporary_folder

    code: int | str | None
    with use_temporary_folder():
        try:
            code = main(sys.argv[1:])
        except SystemExit as ended:
            code = ended.code
    # An interrupted training leaves its batches in a reference cycle, and with them threads that call Python. Such a
    # thread makes Python hang or abort when it ends.
    gc.collect()
    sys.exit(code)


if __name__ == "__main__":
    enter()
