"""The command line: `keras-inat <command> [VARIABLE=value ...] [section.key=value ...]`."""

import shlex
import sys
from collections.abc import Iterator, Sequence

import click

from keras_inat import __version__
from keras_inat.commands.catalog import COMMANDS, Command
from keras_inat.errors import (
    FULL_DISK,
    UserError,
    describe_choices,
    describe_os_error,
    format_message,
    is_out_of_memory,
)
from keras_inat.signals import INTERRUPTED, TERMINATED, describe_end, received_code

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


def run(arguments: Sequence[str]) -> int:
    """Runs one command. A failure prints one line on stderr.

    Returns:
        The exit code: 0 for success, 1 for an external failure, 2 for a mistake of the user, 130 for an interruption.

    Raises:
        SystemExit: The process was terminated; the code is 143.
    """
    try:
        words = list(_split_words(arguments))
        parsed = build_cli().main(words, "keras-inat", standalone_mode=False, max_content_width=WIDTH)
        if isinstance(parsed, tuple):  # otherwise the help or the version was printed
            from keras_inat.commands.dispatch import run_command

            run_command(*parsed)
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except UserError as error:
        return _fail(str(error), 2)
    except OSError as error:  # a full disk or a read-only folder: a traceback would not help
        return _fail(describe_os_error(error), 1)
    except FloatingPointError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        print(describe_end(INTERRUPTED), file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ended:
        if ended.code == TERMINATED:
            print(describe_end(TERMINATED), file=sys.stderr)
        raise
    except Exception as error:
        if code := received_code():  # libraries turn an interruption into another error
            print(describe_end(code), file=sys.stderr)
            return code
        message = " ".join(str(error).split())[:160]
        if is_out_of_memory(error):
            message = f"out of memory: use a smaller batch_size or image_size. {message}"
        elif FULL_DISK not in str(error):  # TensorFlow does not raise an OSError for a full disk
            raise
        return _fail(message, 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {format_message(message)}", file=sys.stderr)
    return code


def _split_words(arguments: Sequence[str]) -> Iterator[str]:
    """Yields the words. `ARGS=` has several, with the quotes of a shell, and nothing in them is run or expanded."""
    for argument in arguments:
        if argument.startswith("ARGS="):
            try:
                yield from shlex.split(argument.removeprefix("ARGS="))
            except ValueError as error:
                raise UserError(f"ARGS cannot be divided into words: {error}. Received: {argument!r}.") from None
        else:
            yield argument
