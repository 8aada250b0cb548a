"""Paths as arguments of the functions: text or objects, with a tilde, misspelled."""

from pathlib import Path

import pytest

import keras_inat
from keras_inat.api import verbs
from keras_inat.api.images import open_images
from keras_inat.errors import UserError


class Place:
    """A path that is no `Path`, such as those of `py.path` or `upath`."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.fixture
def words(monkeypatch):
    """Returns the words of the commands that are run."""
    given = []
    monkeypatch.setattr(verbs, "run_command", lambda command, words: given.extend(words) or [])
    return given


@pytest.mark.parametrize("kind", [str, Path, Place])
def test_paths_may_be_text_or_objects(words, kind):
    keras_inat.finetune(kind("photos"), weights=kind("w.h5"), settings={"run.directory": kind("my runs")})
    assert set(words) == {'run.directory="my runs"', "DATA=photos", "WEIGHTS=w.h5"}


def test_images_may_be_any_path(workplace):
    (workplace / "a.png").write_bytes(b"content")
    assert [file.read_bytes() for _, file in open_images([Place("a.png"), Path("a.png")])] == [b"content"] * 2


def test_a_misspelled_run_or_image_gets_the_closest_one(workplace):
    (workplace / "runs/train-best/2026-first").mkdir(parents=True)
    (workplace / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"Did you mean 'runs/train-best/2026-first'\?$"):
        keras_inat.load("runs/train-best/2026-frist")
    with pytest.raises(UserError, match=r"'photo.jgp' does not exist.* Did you mean 'photo.jpg'\?$"):
        list(open_images("photo.jgp"))


def test_the_folder_of_runs_may_begin_with_a_tilde(workplace, monkeypatch):
    monkeypatch.setenv("HOME", str(workplace))
    (workplace / "runs").mkdir()
    assert len(keras_inat.results("~/runs")) == 0
    with pytest.raises(UserError, match="there is no finished run with a model"):
        keras_inat.load(directory="~/runs")
