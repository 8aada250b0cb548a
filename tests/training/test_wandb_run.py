"""W&B as a user configures it, offline and against a server on this machine that fails in every way."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import wandb

from keras_inat.errors import UserError
from keras_inat.search.wandb_report import publish_report
from keras_inat.store.runs import create_run
from keras_inat.training import wandb_run
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.session import fit
from keras_inat.training.tracking import open_tracking
from keras_inat.training.wandb_run import choose_wandb_mode

KEY = "a" * 40
CLOSED = "http://127.0.0.1:9"  # nothing listens at this port


@pytest.fixture(autouse=True)
def wandb_of_a_new_process(monkeypatch, tmp_path):
    """W&B reads its variables once per process."""
    wandb.teardown()
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_ERROR_REPORTING", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    yield
    wandb.teardown()


@pytest.fixture
def serve():
    """Starts a server that answers HEAD and the other requests with the given codes; 0 means no answer.

    `data` holds the answers to GraphQL queries that contain its keys. Returns the address of the server and the list of
    the requests that it received.
    """
    ended = threading.Event()
    servers = []

    def start(head, other, data=None):
        received = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                received.append(f"{self.command} {self.path}")
                query = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                code = head if self.command == "HEAD" else other
                content = b"" if self.command == "HEAD" else b"{}"
                for key, value in (data or {}).items():
                    if key in query:
                        code = 200
                        content = json.dumps({"data": value}).encode()
                if not code:
                    ended.wait(20)
                    return
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_HEAD = answer  # noqa: N815
            do_POST = answer  # noqa: N815

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", received

    yield start
    ended.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def read_records(run):
    """Reads an offline run with W&B's own tool."""
    (folder,) = run.path.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def read_wandb(run):
    """Returns the beginning of an offline run, its epochs and its summary."""
    records = read_records(run)
    (begun,) = [record["run"] for record in records if record["type"] == "run"]
    epochs = [record["history"]["item"] for record in records if record["type"] == "history"]
    summary = {}
    for record in records:
        summary |= record["summary"]["update"] if record["type"] == "summary" else {}
    return begun, epochs, summary


def track(config, build_epoch, command="train-best"):
    """Tracks a run of one epoch without a training. Returns the run."""
    run = create_run(config, command)
    with open_tracking(config, run) as trackers:
        run.append_epoch(build_epoch(1, 0.5))
        for tracker in trackers:
            tracker.on_epoch_end(0)
    return run


@pytest.mark.parametrize(
    ("head", "other", "reason"),
    [
        (None, None, "no connection"),
        (0, 0, "no answer within 0.5 s"),
        (500, 500, "it answers 500"),
        (401, 401, "returned error 401"),
        (200, 0, "context deadline exceeded"),
        (200, 500, "context deadline exceeded"),
    ],
)
def test_a_server_that_fails_costs_seconds_and_no_record(
    head, other, reason, make_config, build_epoch, serve, monkeypatch, capsys
):
    monkeypatch.setattr(wandb_run, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(wandb_run, "INIT_SECONDS", 2)
    address = CLOSED if head is None else serve(head, other)[0]
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    run = track(make_config("tracking.wandb=auto"), build_epoch)
    assert time.monotonic() - began < 25  # a busy machine imports W&B in 10 s
    _, epochs, summary = read_wandb(run)
    assert [epoch["epoch/val_accuracy"] for epoch in epochs] == [0.5]
    assert summary["val_accuracy"] == 0.5
    (folder,) = run.path.glob("wandb/*run-*")  # no record of the attempt is left
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: W&B at {address} cannot be used (")
    assert reason in line
    assert line.endswith(f"this run is recorded offline. To send it later: wandb sync {folder.absolute()}")


@pytest.mark.parametrize(
    ("variable", "value", "has_record"),
    [
        ("WANDB_MODE", "disabled", False),
        ("WANDB_DISABLED", "true", False),
        ("WANDB_MODE", "offline", True),
        ("WANDB_MODE", "dryrun", True),
        ("WANDB_API_KEY", "", True),
    ],
)
def test_nothing_is_sent_unless_it_is_asked_for(
    variable, value, has_record, make_config, build_epoch, serve, monkeypatch, capsys
):
    address, received = serve(200, 200)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv(variable, value)
    config = make_config(
        "tracking.wandb=auto", "sweep.space={model.filters: {choices: [8, 16]}}", "run.name=s", "data.image_size=16"
    )
    run = track(config, build_epoch)
    publish_report(config, "accuracy")
    assert received == []
    assert bool(list(run.path.glob("wandb/offline-run-*"))) == has_record
    assert capsys.readouterr().err == ""


def test_a_server_that_dies_does_not_hold_up_the_end(make_config, build_epoch, serve, monkeypatch, capsys):
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 2)
    bucket = {"id": "1", "name": "n", "displayName": "n", "project": {"name": "p", "entity": {"name": "e"}}}
    answers = {"RunResumeStatus": {"model": None}, "upsertBucket": {"upsertBucket": {"bucket": bucket}}}
    address, received = serve(200, 0, answers)
    monkeypatch.setenv("WANDB_RUN_ID", "n")  # as the server names it
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    run = track(make_config("tracking.wandb=auto"), build_epoch)
    assert time.monotonic() - began < 25
    assert "POST /files/e/p/n/file_stream" in received
    (folder,) = run.path.glob("wandb/run-*")
    assert capsys.readouterr().err == (
        "warning: W&B may lack the end of this run: no answer within 2 s. To send it later: wandb sync "
        f"{folder.absolute()}\n"
    )


def test_the_server_is_asked_when_a_user_is_logged_in(make_config, build_epoch, serve, monkeypatch):
    address, received = serve(200, 401)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    track(make_config("tracking.wandb=auto"), build_epoch)
    assert received[:2] == ["HEAD /", "POST /graphql"]


def test_the_variables_stand_above_the_defaults(make_config, build_epoch, monkeypatch):
    variables = {
        "WANDB_MODE": "offline",
        "WANDB_PROJECT": "birds",
        "WANDB_ENTITY": "team",
        "WANDB_NAME": "my run",
        "WANDB_RUN_GROUP": "group",
        "WANDB_JOB_TYPE": "job",
        "WANDB_NOTES": "some notes",
        "WANDB_TAGS": "a,b",
        "WANDB_RUN_ID": "chosen1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    begun, _, _ = read_wandb(track(make_config("tracking.wandb=auto"), build_epoch))
    names = ("project", "entity", "display_name", "run_group", "job_type", "notes", "tags", "run_id")
    expected = ["birds", "team", "my run", "group", "job", "some notes", ["a", "b"], "chosen1"]
    assert [begun[name] for name in names] == expected


def test_the_records_lie_where_wandb_dir_says(make_config, build_epoch, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "records"))
    run = track(make_config("tracking.wandb=offline"), build_epoch)
    assert not run.wandb.exists()
    assert list(tmp_path.glob("records/wandb/offline-run-*"))


def test_an_explicit_setting_stands_above_a_variable(make_config, build_epoch, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    begun, _, _ = read_wandb(track(make_config("tracking.wandb=offline", "tracking.project=p"), build_epoch))
    assert begun["project"] == "p"


def test_several_runs_do_not_share_the_id_of_a_variable(make_config, build_epoch, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "chosen1")
    ids = [
        track(make_config("tracking.wandb=offline", *words), build_epoch, command).wandb_id.read_text()
        for command, words in (("sweep", []), ("train-best", ["SEEDS=2"]))
    ]
    assert "chosen1" not in ids


def test_an_empty_variable_is_no_variable(make_config, build_epoch, monkeypatch):
    for name in ("WANDB_PROJECT", "WANDB_BASE_URL", "WANDB_API_KEY", "WANDB_MODE", "WANDB_NAME", "WANDB_DIR"):
        monkeypatch.setenv(name, "")
    run = track(make_config("tracking.wandb=auto"), build_epoch)
    begun, _, _ = read_wandb(run)
    assert (begun["project"], begun["display_name"]) == ("keras-inat", run.path.name)


def test_variables_may_change_between_two_runs_of_a_notebook(make_config, build_epoch, monkeypatch):
    config = make_config("tracking.wandb=offline")
    track(config, build_epoch)
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    monkeypatch.setenv("WANDB_TAGS", "later")
    begun, _, _ = read_wandb(track(config, build_epoch))
    assert (begun["project"], begun["tags"]) == ("birds", ["later"])


@pytest.mark.parametrize(
    ("setting", "variables", "mode"),
    [
        ("auto", {}, "online"),
        ("auto", {"WANDB_MODE": "run"}, "online"),
        ("auto", {"WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_DISABLED": "True"}, "disabled"),
        ("auto", {"WANDB_DISABLED": "false"}, "online"),
        ("online", {"WANDB_MODE": "disabled"}, "online"),
        ("disabled", {"WANDB_MODE": "online"}, "disabled"),
    ],
)
def test_a_variable_decides_the_mode_unless_a_setting_does(setting, variables, mode, make_config, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert choose_wandb_mode(make_config(f"tracking.wandb={setting}")) == mode


def test_the_settings_file_of_wandb_decides_the_mode(make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\n")  # as `wandb offline` writes it
    assert choose_wandb_mode(make_config("tracking.wandb=auto")) == "offline"


def test_an_unknown_mode_is_refused(make_config, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match=r"WANDB_MODE must be one of .*Received: 'ofline'\. Did you mean 'offline'\?"):
        choose_wandb_mode(make_config("tracking.wandb=auto"))


@pytest.mark.parametrize("netrc", ["", "machine api.wandb.ai\n  login user\n  password " + KEY])
def test_a_login_is_found(netrc, make_config, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert choose_wandb_mode(make_config("tracking.wandb=auto")) == ("online" if netrc else "offline")


def test_a_home_that_cannot_be_written_gets_no_cache(make_config, build_epoch, monkeypatch, capfd):
    access = wandb_run.os.access
    monkeypatch.delenv("WANDB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")  # not even root can write there
    monkeypatch.setattr(wandb_run.os, "access", lambda path, mode: "/proc" not in str(path) and access(path, mode))
    run = track(make_config("tracking.wandb=offline"), build_epoch)
    assert read_wandb(run)[1]
    wandb.teardown()
    assert capfd.readouterr().err == ""
    monkeypatch.delenv("WANDB_CACHE_DIR")


def test_the_evaluation_is_tracked_with_predictions_and_model(make_config):
    config = make_config("tracking.wandb=offline")
    run = train_and_evaluate(config, "train-best", "")
    scores = run.read_result().test_scores
    _, _, summary = read_wandb(run)
    assert summary["test_accuracy"] == pytest.approx(scores.accuracy)
    assert (summary["test_accuracy_low"], summary["test_accuracy_high"]) == pytest.approx(scores.interval)
    table = json.loads(next(run.path.glob("wandb/offline-run-*/files/media/table/*.json")).read_text())
    assert table["columns"] == ["image", "file", "class", "predicted", "confidence", "correct"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 12
    assert sum(row["correct"] for row in rows) / 12 == pytest.approx(scores.accuracy)
    assert all(row["correct"] == (row["class"] == row["predicted"]) for row in rows)
    artifacts = [record["artifact"] for record in read_records(run) if record["type"] == "artifact"]
    (table,) = [artifact for artifact in artifacts if artifact["type"] == "run_table"]
    pictures = [entry for entry in table["manifest"]["contents"] if entry["path"].endswith(".png")]
    assert len(pictures) == 12  # all test images are among the 30 examples
    assert all(entry["local_path"].startswith(str(run.wandb.absolute())) for entry in pictures)
    (model,) = [artifact for artifact in artifacts if artifact["type"] == "model"]
    assert model["name"] == run.path.name
    assert [entry["path"] for entry in model["manifest"]["contents"]] == ["best.keras"]


def test_without_artifacts_only_numbers_are_tracked(make_config):
    run = train_and_evaluate(make_config("tracking.wandb=offline", "tracking.artifacts=false"), "train-best", "")
    assert "test_accuracy" in read_wandb(run)[2]
    assert "artifact" not in {record["type"] for record in read_records(run)}


def test_a_failed_run_is_marked_as_failed(make_config):
    config = make_config("tracking.wandb=offline")
    run = create_run(config, "sweep")
    with pytest.raises(ZeroDivisionError), open_tracking(config, run):
        _ = 1 / 0
    assert [record["exit"]["exit_code"] for record in read_records(run) if record["type"] == "exit"] == [1]


def test_wandb_records_offline_without_login_or_network(make_config):
    config = make_config("tracking.wandb=auto", "run.name=sweepy", "training.epochs=3", "training.learning_rate=0.01")
    run = create_run(config, "sweep")
    fit(config, run, title="7 filters=4")
    begun, epochs, summary = read_wandb(run)
    assert (begun["run_group"], begun["display_name"], begun["job_type"]) == ("sweepy", "7 filters=4", "sweep")
    assert begun["config"]["update"]["model_filters"] == 4
    accuracies = [epoch.val_accuracy for epoch in run.read_epochs()]
    assert [epoch["epoch/val_accuracy"] for epoch in epochs] == pytest.approx(accuracies, abs=1e-6)
    assert [epoch["epoch/epoch"] for epoch in epochs] == [0, 1, 2]
    assert summary["val_accuracy"] == pytest.approx(max(accuracies), abs=1e-6)


def test_the_offline_record_of_a_resumed_run_has_its_earlier_epochs(make_config, build_epoch):
    config = make_config("tracking.wandb=offline")
    run = create_run(config, "sweep")
    stale = run.path / "wandb" / "offline-run-0" / "0.wandb"  # left by a killed process
    stale.parent.mkdir(parents=True)
    stale.touch()
    for epoch, accuracy in enumerate((0.5, 0.25), 1):
        run.append_epoch(build_epoch(epoch, accuracy))
    with open_tracking(config, run):
        pass
    _, epochs, summary = read_wandb(run)
    assert [epoch["epoch/val_accuracy"] for epoch in epochs] == [0.5, 0.25]
    assert "epoch/seconds" not in epochs[0]
    assert summary["val_accuracy"] == 0.5


def test_a_broken_wandb_stops_nothing(make_config, monkeypatch, capsys):
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    with open_tracking(config, create_run(config, "sweep")) as callbacks:
        assert callbacks == []
    assert "warning: W&B does not track this run, because it failed: division by zero" in capsys.readouterr().err


def test_wandb_that_dies_in_the_middle_stops_nothing(make_config, monkeypatch, capsys):
    monkeypatch.setattr(wandb.Run, "log", lambda *_: 1 / 0)
    config = make_config("tracking.wandb=offline")
    assert fit(config, create_run(config, "sweep")).result.epochs == 2
    assert capsys.readouterr().err.count("W&B stops tracking this run") == 1
