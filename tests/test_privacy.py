"""What a run leaves can be shared: it names no folder outside the working folder, no user, no host and no key."""

import getpass
import io
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from keras_inat.__main__ import main
from keras_inat.settings.catalog import name_places
from keras_inat.settings.loading import load_config
from keras_inat.settings.places import name_path, name_url
from keras_inat.store.runs import create_run, find_unfinished

KEY = "4f1" * 13 + "a"
HOME = "home-of-ann"
# `best.yaml` is no record: it repeats the places of this machine for `train-best`.
PRIVATE = ("best.yaml",)
SMALL = (
    *("data.image_size=16", "model.num_blocks=2", "model.filters=4", "model.dense_units=8", "training.epochs=1"),
    *(
        "sweep.epochs=1",
        "sweep.space={training.batch_size: [8]}",
        "tracking.wandb=offline",
        "tracking.tensorboard=true",
    ),
)
PLAIN = ("model.kernel_size=3", "model.convolutions=1", "model.residual=false", "training.image_scales=[]")


@pytest.fixture
def place(workplace, write_photos, monkeypatch):
    """Changes to a working folder beside the home folder, which has the images and what else is private."""
    home = workplace / HOME
    write_photos(home / "my-photos")
    (workplace / "work").mkdir()
    monkeypatch.chdir(workplace / "work")
    for name, value in {"HOME": str(home), "USER": "ann-smith", "LOGNAME": "ann-smith", "WANDB_API_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["keras-inat", f"DATA={home}/my-photos"])
    return home


def read_all(path):
    """Yields every file below a folder with its name and content, and the members of archives."""
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name not in PRIVATE:
            content = file.read_bytes()
            yield str(file), content
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    for name in archive.namelist():
                        yield f"{file}/{name}", archive.read(name)


@pytest.mark.parametrize(("umask", "others"), [(0o077, 0), (0o002, stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH)])
def test_the_umask_decides_who_reads_a_run(umask, others, place):
    before = os.umask(umask)
    try:
        assert main(["sweep", f"DATA={place}/my-photos", "TRIALS=1", "sweep.workers=0", *SMALL]) == 0
        assert main(["report"]) == 0
    finally:
        os.umask(before)
    files = [file for file in Path().rglob("*") if file.is_file()]
    modes = {str(file): stat.S_IMODE(file.stat().st_mode) for file in files if "wandb" not in file.parts}
    assert {"runs/sweep/default/trials.csv", "reports/index.html", "runs/sweep/default/lock"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077 != others} == {}


def test_records_name_nothing_private(place):
    photos = place / "my-photos"
    assert main(["train-best", f"DATA={photos}", "CONFIG=scratch", "training.budget=null", *SMALL, *PLAIN]) == 0
    (run,) = Path("runs/train-best").iterdir()
    weights = place / "20260101-000000-mine" / "best.keras"
    weights.parent.mkdir()
    weights.write_bytes((run / "best.keras").read_bytes())
    (place / "private.txt").write_text("train/red/0.png")
    tuned = ["finetune", f"DATA={photos}", f"WEIGHTS={weights}", f"data.exclude={place}/private.txt"]
    assert main([*tuned, "tracking.wandb=offline", "training.epochs=1", "data.image_size=16"]) == 0
    shutil.copytree("runs", place / "elsewhere")
    assert main(["report", f"run.directory={place}/elsewhere"]) == 0
    assert main(["app", f"RUN={run}"]) == 0
    secrets = [HOME, "ann-smith", KEY, str(Path.home()), platform.node(), getpass.getuser(), sys.executable]
    secrets = [text for text in secrets if len(text) > 4]  # a host that is called "vm" is in any binary file
    files = [(name, name.encode() + content) for name, content in read_all(Path())]
    found = {name for name, content in files for secret in secrets if secret.encode() in content}
    # W&B's file has its own folders, for `wandb sync`, which does not send them.
    assert {name for name in found if not name.startswith("data/.packs/") and not name.endswith(".wandb")} == set()
    sent = json.dumps([record for folder in Path("runs").rglob("offline-run-*") for record in _read_sent(folder)])
    assert not [secret for secret in secrets if secret in sent]
    assert "my-photos" in (run / "config.yaml").read_text()


def _read_sent(folder):
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for record in map(json.loads, lines):
        for entry in record.get("artifact", {}).get("manifest", {}).get("contents", []):
            del entry["local_path"]
        yield record


def test_paths_and_addresses_in_records(workplace):
    (workplace / "work").mkdir()
    assert name_path(str(workplace / "photos" / "birds")) == "photos/birds"
    assert name_path("/home/ann/birds.zip") == name_path("../ann/birds.zip") == "birds.zip"
    assert name_path("/home/ann/20260101-120000-first/best.keras") == "20260101-120000-first/best.keras"
    assert name_path("imagenet") == name_path(name_path("/ann/imagenet")) == "imagenet"
    assert name_url("https://ann:a@b?c@x.org:80/y.zip?token=1#2") == "https://x.org:80/y.zip"
    words = ["URL=https://ann:pw@x.org/y.zip?token=1", "CLUSTER=ray://ann-pc:10001", "RUNS=/home/ann/a /home/ann/b"]
    named = name_places(load_config(words))
    assert (named.data.url, named.run.cluster, named.report.compare) == ("https://x.org/y.zip", None, "a b")
    assert name_places(load_config(["CLUSTER=auto"])).run.cluster == "auto"


def test_an_interrupted_run_is_found_again_from_another_form_of_a_path(workplace):
    (workplace / "mine.h5").touch()
    config = load_config([f"WEIGHTS={workplace}/mine.h5", "DATA=/home/ann/photos"], None)
    run = create_run(config, "finetune")
    assert [found.path for found in find_unfinished(load_config(["WEIGHTS=mine.h5"]), "finetune")] == [run.path]
    assert not list(find_unfinished(load_config(["WEIGHTS=other.h5"]), "finetune"))
