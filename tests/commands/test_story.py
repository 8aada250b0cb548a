"""The whole loop, as a user would run it, on tiny data."""

import csv
import functools
import http.server
import json
import shutil
import threading
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest

from keras_inat.__main__ import main
from keras_inat.runs import list_runs, read_jsonl

SMALL = [
    *("data.image_size=16", "model.num_blocks=2", "model.filters=4", "model.dense_units=8"),
    *("training.epochs=2", "training.batch_size=8", "tracking.wandb=disabled", "tracking.tensorboard=false"),
]


def run(*arguments):
    assert main(list(arguments)) == 0


def test_sweep_train_finetune_report_predict(photos, capsys):
    space = "{model.filters: [4, 8], model.dropout: [0.0, 0.2]}"
    (photos.parent / "tiny.yaml").write_text(f"sweep: {{space: {space}}}")
    data = f"DATA={photos}"
    run("sweep", data, "CONFIG=tiny.yaml", "NAME=first", "TRIALS=2", "sweep.epochs=1", *SMALL)
    run("train-best", "SEEDS=2", "tracking.wandb=disabled", "tracking.tensorboard=false")
    scratch = list_runs("runs")
    assert [result.read_result()["seed"] for result in scratch] == [0, 1]
    with open("runs/sweep/first/trials.csv") as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["score"]))
    config = scratch[0].read_result()["config"]
    assert config["model"]["filters"] == int(best["model.filters"])
    assert config["training"]["epochs"] == 2

    run("finetune", data, "STRATEGY=topk", "UNFREEZE=1", f"WEIGHTS={scratch[0].model}", *SMALL)
    tuned = list_runs("runs")[-1]
    assert tuned.command == "finetune"
    assert tuned.path.name.endswith(f"-topk-{scratch[0].path.name}-seed0")
    looks = [line["run"] for line in read_jsonl(Path("runs/test_ledger.jsonl"))]
    assert sorted(looks) == sorted(str(done.path) for done in [*scratch, tuned])

    run("report")
    with open("reports/results.csv") as file:
        assert len(list(csv.DictReader(file))) == 3
    page = Path("reports/index.html").read_text()
    assert all(name in page for name in ("first", "blue", "topk"))

    capsys.readouterr()
    run("predict", f"IMAGE={photos / 'val' / 'red' / '0.png'}")
    assert "red" in capsys.readouterr().out


def test_data_unpacks_an_archive_and_says_what_is_in_it(photos, capsys):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for file in sorted(photos.rglob("*")):
            archive.write(file, f"deep/photos/{file.relative_to(photos)}")
        archive.writestr("deep/photos/train/.DS_Store", "stray")
    run("data", "ZIP=photos.zip", "DATA=data/mine")
    assert "mine: 30 train and 12 test images" in capsys.readouterr().out
    assert sorted(path.name for path in Path("data/mine/train").iterdir()) == ["blue", "green", "red"]
    original = photos / "train" / "red" / "3.png"
    assert Path("data/mine/train/red/3.png").read_bytes() == original.read_bytes()
    assert main(["data", "ZIP=photos.zip", "DATA=data/mine"]) == 2
    assert "exists already" in capsys.readouterr().err


class RangeServer(http.server.SimpleHTTPRequestHandler):
    """Files with byte ranges, on the loopback; notes the ranges asked for."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self):
        wanted = self.headers["Range"]
        self.ranges.append(wanted)
        content = Path(self.directory, self.path.split("?")[0].lstrip("/")).read_bytes()
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if first >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(tmp_path):
    """Serves the working folder; gives its address."""
    RangeServer.ranges.clear()
    handler = functools.partial(RangeServer, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("left", "ranges"), [(1000, ["bytes=1000-"]), (None, []), (9_000_000, ["bytes=9000000-", None])]
)
def test_an_interrupted_download_goes_on(photos, serve, left, ranges):
    shutil.make_archive("photos", "zip", photos)
    whole = Path("photos.zip").read_bytes()
    url = f"{serve}/photos.zip?dl=1"
    run("data", f"URL={url}", "DATA=data/first")
    (archive,) = Path("data").glob("photos-*.zip")
    assert archive.read_bytes() == whole
    # What a killed download may leave: a part; all of it under its temporary name; more than there is.
    part = archive.with_suffix(".zip.part")
    archive.unlink()
    part.write_bytes(whole[:left] if left is None or left < len(whole) else bytes(left))
    RangeServer.ranges.clear()
    run("data", f"URL={url}", "DATA=data/second")
    assert RangeServer.ranges == ranges
    assert archive.read_bytes() == whole
    assert not part.exists()


def test_archives_of_one_name_at_two_addresses_are_two(photos, serve, tmp_path, write_photos):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    shutil.make_archive("a/photos", "zip", photos)
    shutil.make_archive("b/photos", "zip", write_photos(tmp_path / "more", num_train=12))
    for name, count in (("a", 30), ("b", 36)):
        run("data", f"URL={serve}/{name}/photos.zip", f"DATA=data/{name}")
        assert len(list(Path("data", name).glob("train/*/*.png"))) == count


def test_a_download_of_a_damaged_archive_is_refused_and_removed(photos, serve, capsys):
    shutil.make_archive("photos", "zip", photos)
    content = bytearray(Path("photos.zip").read_bytes())
    content[len(content) // 2] ^= 255
    Path("photos.zip").write_bytes(content)
    assert main(["data", f"URL={serve}/photos.zip", "DATA=data/mine"]) == 2
    assert "no sound zip archive" in capsys.readouterr().err
    assert not list(Path("data").glob("photos*"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/photos.zip", "nowhere", "http://x y/z.zip"])
def test_no_way_to_the_data_is_one_line(address, capsys):
    assert main(["data", f"URL={address}", "DATA=data/mine"]) == 2
    error = capsys.readouterr().err
    assert "could not be downloaded" in error
    assert "ZIP=<file>" in error
    assert error.count("\n") == 1


def test_what_is_downloaded_must_be_an_archive(tmp_path, capsys):
    Path("page.zip").write_text("<html>not found</html>")
    assert main(["data", f"URL=file://{tmp_path}/page.zip", "DATA=data/mine"]) == 2
    assert "no sound zip archive" in capsys.readouterr().err


def test_a_training_that_explodes_is_one_line(photos, capsys):
    explode = ["training.learning_rate=1e30", "training.optimizer=sgd", "data.image_size=16", "model.num_blocks=2"]
    assert main(["train-best", f"DATA={photos}", "CONFIG=c.yaml", *explode, "tracking.wandb=disabled"]) == 2
    Path("c.yaml").write_text("model: {filters: 4}")
    assert main(["train-best", f"DATA={photos}", "CONFIG=c.yaml", *explode, "tracking.wandb=disabled"]) == 1
    assert "the loss is not finite in epoch" in capsys.readouterr().err


def test_a_full_or_read_only_disk_is_one_line(photos, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr("keras_inat.runs.write_whole", full)
    assert main(["sweep", f"DATA={photos}", "sweep.space={model.filters: [4, 8]}", *SMALL]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert error.count("\n") == 1


def test_results_are_plain_json(make_config):
    from keras_inat.training.evaluation import train_and_judge

    train_and_judge(make_config("training.epochs=1"), "train-best", "x")
    result = json.loads(list_runs("runs")[0].result.read_text())
    said = {"command", "config", "seed", "val_accuracy", "test_accuracy", "test_interval", "epochs", "seconds"}
    assert said | {"images_per_second", "parameters", "macs", "data", "packages", "commit"} <= set(result)
