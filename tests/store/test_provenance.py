import shutil
import subprocess
from pathlib import Path

import keras_inat
from keras_inat.store import provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def read_commit_of(monkeypatch, package):
    monkeypatch.setattr(provenance, "__file__", str(package / "store" / "provenance.py"))
    provenance.read_commit.cache_clear()
    try:
        return provenance.read_commit()
    finally:
        provenance.read_commit.cache_clear()


def test_the_commit_is_that_of_the_programs_own_checkout(tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(Path(keras_inat.__file__).parent / "store", home / "keras_inat" / "store")
    git(tmp_path, "init", "home")
    git(home, "add", ".")
    git(home, "commit", "-m", "first")
    commit = read_commit_of(monkeypatch, home / "keras_inat")
    assert len(commit) == 12
    (home / "keras_inat" / "store" / "ledger.py").write_text("changed")
    assert read_commit_of(monkeypatch, home / "keras_inat") == commit + "+"


def test_a_repository_around_an_installed_package_says_nothing(tmp_path, monkeypatch):
    git(tmp_path, "init", ".")
    git(tmp_path, "commit", "--allow-empty", "-m", "another program")
    package = tmp_path / "venv" / "site-packages" / "keras_inat"
    (package / "store").mkdir(parents=True)
    assert read_commit_of(monkeypatch, package) is None


def test_a_result_names_the_program_and_python():
    versions = provenance.read_package_versions()
    assert versions["keras-inat"] == keras_inat.__version__
    assert versions["python"].startswith("3.")
    assert {"keras", "numpy"} <= versions.keys()
