import errno
import os
import pickle

import pytest

from keras_inat.errors import NOT_REGULAR, FileError, UserError, describe_os_error, explain_errors, format_message


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        ("EACCES", "ask its owner for access, or choose another folder with `run.directory`"),
        ("EROFS", "choose another folder"),
        ("ENOSPC", "free some space, then run the command again: finished work is kept"),
        ("EDQUOT", "free some space"),
        ("EIO", "check the disk or the network share"),
        ("ENOENT", "it or its folder was moved or deleted"),
        ("ENOTDIR", "a file is where a folder is needed"),
        ("ENAMETOOLONG", "choose a shorter name"),
        ("EFBIG", "over a limit of its file system, of `ulimit -f`"),
        ("EMFILE", "ulimit -n"),
        ("EOPNOTSUPP", "choose a folder on another disk"),
    ],
)
def test_an_error_of_the_system_names_the_file_the_reason_and_the_remedy(number, remedy):
    code = getattr(errno, number)
    line = describe_os_error(OSError(code, os.strerror(code), "runs/x"))
    assert line.startswith(f"cannot use runs/x: {os.strerror(code)}: ")
    assert remedy in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("é 猫 a\nerror: b\t\x1b[31m", r"é 猫 a\nerror: b\t\x1b[31m"),
        ("photo\udcff\u202e.png", r"photo\udcff\u202e.png"),
        ("https://me:secret@host/x", "https://host/x"),
        ("a" * 3000 + "b" * 3000, "a" * 2000 + " … " + "b" * 2000),
    ],
)
def test_a_message_is_one_line_whatever_the_names_in_it(text, line):
    assert format_message(text) == line


def test_errors_without_a_number_or_a_file_are_kept():
    assert describe_os_error(OSError("no temporary folder")) == "no temporary folder"
    assert describe_os_error(OSError(errno.ECHILD, "x")) == os.strerror(errno.ECHILD)
    assert describe_os_error(OSError(errno.EINVAL, NOT_REGULAR, "a"), "read") == "cannot read a: Not a regular file"


def test_the_innermost_explanation_is_kept_and_crosses_processes():
    with (
        pytest.raises(FileError) as caught,
        explain_errors("train", "outer"),
        explain_errors("write", "inner"),
    ):
        raise OSError(errno.ENOSPC, "x", "inner")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == describe_os_error(error)
    assert str(error).startswith("cannot write inner: No space left on device: free some space")
    assert error.errno == errno.ENOSPC


def test_other_errors_pass():
    with pytest.raises(UserError, match="mistake"), explain_errors("write", "x"):
        raise UserError("mistake")
