import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_inat import __version__
from keras_inat.__main__ import main
from keras_inat.commands.catalog import COMMANDS
from keras_inat.errors import FileError
from keras_inat.settings.catalog import list_settings
from keras_inat.settings.loading import load_config
from keras_inat.settings.recipes import RECIPES
from keras_inat.settings.schema import Config


def run(*arguments, capsys):
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the command must be one of {"),
        (["swep"], "Did you mean 'sweep'?"),
        (["cost", "model.filter=3"], "Did you mean 'model.filters'?"),
        (["cost", "CONFIG=nowhere.yaml"], "'nowhere.yaml': No such file"),
        (
            ["sweep", "DATA=nowhere"],
            "DATA 'nowhere' does not exist: run `keras-inat data` to download it, or use DATA=demo",
        ),
        (["sweep"], "DATA 'data/inaturalist_12K' does not exist"),
        (["finetune", "STRATEGY=top-k"], "Did you mean 'topk'?"),
        (["finetune", "DATA=nowhere"], "does not exist: run `keras-inat data`"),
        (["train-best"], "there is no sweep with a finished trial"),
        (["train-best", "SWEEP=one", "CONFIG=configs/scratch.yaml"], "SWEEP and CONFIG both choose a configuration"),
        (["train"], "Did you mean 'train-best'?"),
        (["sweep", "--trials"], "No such option"),
        (["cost", "CONFIG=scrach"], "Did you mean 'scratch'?"),
        (["predict", "IMAGE="], "IMAGE is empty: give IMAGE=<value>, or leave it out"),
        (["finetune", "WEIGHTS="], "WEIGHTS is empty"),
        (["sweep", "DATA="], "DATA is empty"),
        (["sweep", "NAME="], "NAME is empty"),
        (["sweep", "TRIALS="], "TRIALS is empty"),
        (["cost", "CONFIG="], "CONFIG is empty"),
        (["report", "report.directory=''"], "`report.directory` must not be empty"),
        (["predict", "IMAGE=nowhere.jpg"], "IMAGE 'nowhere.jpg' does not exist"),
        (["finetune", "DATA=demo", "BACKBONE=MobilNet"], "Did you mean 'MobileNet'?"),
        (["finetune", "DATA=demo", "WEIGHTS=nowhere.h5"], "'nowhere.h5' does not exist"),
        (["train-best", "run.directory=5"], "run.directory"),
        (["train-best", "SWEEP=none"], "the sweep 'none' has no finished trial"),
        (["predict"], "IMAGE is missing"),
        (["dashboard"], "'runs' contains no runs"),
        (["data", "ZIP=nowhere.zip"], "ZIP must be an archive that exists. Received: 'nowhere.zip'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments, words, capsys):
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert out == ""


def test_help_lists_every_command(capsys):
    code, out, err = run("--help", capsys=capsys)
    assert (code, err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in out
        assert command.help[:40] in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_lists_its_words_with_their_defaults(name, capsys):
    code, out, _ = run(name, "--help", capsys=capsys)
    command = COMMANDS[name]
    assert code == 0
    assert command.help in " ".join(out.split())
    assert f"keras-inat {name} {command.example}".rstrip() in out
    listed = [line.split("=")[0].strip() for line in out.splitlines() if line.startswith("  ") and "=" in line]
    assert set(command.variables) <= set(listed)
    sections = {word.split(".")[0] for word in listed if "." in word and " " not in word}
    assert sections == {section for section in command.sections if section not in ("train_best",)}


def test_defaults_are_those_of_the_recipe(capsys):
    out = run("finetune", "--help", capsys=capsys)[1]
    assert "  BACKBONE=MobileNetV2 " in out
    assert "  data.image_size=160 " in out


def test_version(capsys):
    assert run("--version", capsys=capsys)[:2] == (0, f"keras-inat, version {__version__}\n")


def test_the_shell_completes_commands_and_words():
    environment = os.environ | {"_KERAS_INAT_COMPLETE": "bash_complete"}

    def complete(*words):
        line = environment | {"COMP_WORDS": " ".join(("keras-inat", *words)), "COMP_CWORD": str(len(words))}
        command = [sys.executable, "-c", "from keras_inat.__main__ import enter; enter()"]
        return subprocess.run(command, env=line, capture_output=True, text=True, check=True).stdout.split()

    assert complete("tra") == ["plain,train-best"]
    assert complete("sweep", "TR") == ["plain,TRIALS="]
    assert complete("sweep", "training.l") == ["plain,training.learning_rate=", "plain,training.label_smoothing="]


@pytest.mark.parametrize(
    "words",
    [["--help"], ["sweep", "--help"], ["train"], ["sweep", "model.filter=3"], ["sweep", "DATA=nowhere"], ["predict"]],
)
def test_help_and_mistakes_import_no_tensorflow(words):
    code = (
        f"import sys; from keras_inat.__main__ import main; main({words!r});"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'numpy'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_another_backend_of_keras_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code, _, err = run("sweep", "DATA=demo", capsys=capsys)
    assert (code, err) == (
        2,
        "error: keras-inat needs TensorFlow, and KERAS_BACKEND=jax is set: unset this variable\n",
    )


def test_a_missing_tensorflow_names_the_extras(monkeypatch, capsys):
    def fail(module):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr("keras_inat.progress.importlib.import_module", fail)
    code, _, err = run("sweep", "DATA=demo", capsys=capsys)
    assert code == 2
    assert err.startswith("error: TensorFlow is not installed: pip install 'keras-inat[cpu]'")


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


@pytest.mark.parametrize("error", [ResourceExhaustedError("OOM when allocating tensor\nof 64 images"), MemoryError()])
def test_out_of_memory_is_one_line(error, monkeypatch, capsys):
    def run(config):
        raise error

    monkeypatch.setattr("keras_inat.commands.settings.run", run)
    assert main(["settings"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"error: out of memory: use a smaller batch_size or image_size. {' '.join(str(error).split())}"]


def test_a_full_disk_met_by_tensorflow_is_one_line(monkeypatch, capsys):
    def run(config):
        raise ResourceExhaustedError("events.out.tfevents; No space left on device\n[Op:FlushSummaryWriter]")

    monkeypatch.setattr("keras_inat.commands.settings.run", run)
    assert main(["settings"]) == 1
    assert capsys.readouterr().err == "error: events.out.tfevents; No space left on device [Op:FlushSummaryWriter]\n"


def test_a_mistake_in_the_program_is_traced(monkeypatch):
    def run(config):
        raise KeyError("missing")

    monkeypatch.setattr("keras_inat.commands.settings.run", run)
    with pytest.raises(KeyError):
        main(["settings"])


def test_cost_in_numbers(capsys):
    code, out, _ = run("cost", "model.filters=8", "data.image_size=32", capsys=capsys)
    assert code == 0
    # 3x3x3x8 weights, one use each for 32x32 positions.
    assert out.splitlines()[3].split() == ["block1_conv", "32", "x", "32", "x", "8", "216", "221,184", "8,192"]
    # The same totals in the table and in closed form.
    total = next(line for line in out.splitlines() if line.startswith("total")).split()
    results = [line.removeprefix(f"{'':20} = ") for line in out.splitlines() if line.startswith(f"{'':20} = ")]
    assert [result for result in results if "·" not in result] == total[1:3]
    assert "parameters           = m k² (3 + 4 m) + 4·5 m + n (d + 1) + C (n + 1)\n" in out
    assert "             = 8·3²·3 + 4·8·3²·8 + " in out
    assert "Memory for training with batches of 64 images of 32 px, estimated: 14.4 MB" in out


def test_cost_of_a_backbone(capsys):
    _, out, _ = run("cost", "STRATEGY=head", "BACKBONE=MobileNetV2", "data.image_size=32", capsys=capsys)
    # MobileNetV2 without its top, and 1280 x 10 + 10 of the new head.
    assert f"{2257984 + 12810:,}" in out.splitlines()[-1]
    # The first normalization has as many outputs as the convolution before it.
    for name, numbers in (("Conv1", ["864", "221,184", "8,192"]), ("bn_Conv1", ["128", "0", "8,192"])):
        assert next(line.split()[-3:] for line in out.splitlines() if line.startswith(f"{name} ")) == numbers


def test_the_cost_of_a_narrow_backbone_is_that_of_its_weights(tmp_path, capsys):
    import keras

    narrow = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3))
    narrow.save_weights(tmp_path / "mobilenet_2_5_224_tf_no_top.weights.h5")
    weights = f"WEIGHTS={tmp_path / 'mobilenet_2_5_224_tf_no_top.weights.h5'}"
    _, out, _ = run("cost", "BACKBONE=MobileNet", weights, "data.image_size=32", capsys=capsys)
    assert out.startswith("MobileNet 0.25, 32 px")
    assert f"{narrow.count_params() + 256 * 10 + 10:,}" in out.splitlines()[-1]


def test_settings_list_their_choices(capsys):
    lines = run("settings", capsys=capsys)[1].splitlines()
    assert next(line for line in lines if "training.schedule " in line).endswith(": constant, linear, cosine")


def test_the_dashboard_becomes_tensorboard(monkeypatch, tmp_path):
    from tensorboard import program

    (tmp_path / "runs" / "sweep" / "x").mkdir(parents=True)
    called = []
    monkeypatch.setattr("os.execv", lambda *arguments: called.append(arguments))
    assert main(["dashboard"]) == 0
    ((executable, words),) = called
    assert words[:3] == [executable, "-m", "tensorboard.main"]
    tensorboard = program.TensorBoard()
    tensorboard.configure(["tensorboard", *words[3:]])
    assert tensorboard.flags.logdir == "runs"


def test_settings_are_checked_together_with_the_file(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("data: {image_size: 16}")
    code, out, _ = run("cost", "CONFIG=c.yaml", "model.num_blocks=2", capsys=capsys)
    assert code == 0
    assert out.startswith("2-block CNN, 16 px")


def test_settings_lists_every_setting(capsys):
    _, out, _ = run("settings", capsys=capsys)
    assert "SEEDS= or run.seeds" in out
    assert len(out.splitlines()) == len(list_settings())


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_file_loads(path):
    assert isinstance(load_config([], path), Config)


@pytest.mark.parametrize(
    ("stop", "code", "word"),
    [("raise KeyboardInterrupt", 130, "interrupted"), ("signal.raise_signal(signal.SIGTERM)", 143, "terminated")],
)
def test_an_interrupted_command_leaves_no_objects_when_python_ends(stop, code, word):
    program = f"""
import atexit, runpy, signal, sys, weakref
import keras_inat.commands.settings as command
class Batches: pass
def run(config):
    batches = Batches()
    batches.of = batches
    atexit.register(lambda left: print("left:", left()), weakref.ref(batches))
    {stop}
command.run = run
sys.argv = ["keras_inat", "settings"]
runpy.run_module("keras_inat", run_name="__main__")
"""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert (done.stdout, done.returncode) == ("left: None\n", code)
    assert done.stderr == f"{word}: finished work is kept, run the command again to resume\n"


def test_libraries_print_nothing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-m", "keras_inat", "train-best", f"run.directory={tmp_path}"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert done.stderr.startswith("error: there is no sweep with a finished trial")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(30, "Read-only file system", "runs/x"), "error: cannot use runs/x: Read-only file system: ask its"),
        (FileError(13, "cannot write runs/x: Permission denied", "runs/x"), "error: cannot write runs/x: Permission"),
    ],
)
def test_an_error_of_the_disk_is_one_line_with_a_remedy(error, line, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr("keras_inat.commands.dispatch.run_command", fail)
    code, _, err = run("backbones", capsys=capsys)
    assert code == 1
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert "Errno" not in err


def test_a_folder_of_runs_that_cannot_be_written_is_an_error_before_anything_is_decoded(
    photos, workplace, monkeypatch, capsys
):
    def fail(dir):
        assert dir == workplace
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("keras_inat.commands.preflight.tempfile.TemporaryFile", fail)
    code, _, err = run("sweep", f"DATA={photos}", "run.directory=deep/runs", capsys=capsys)
    assert code == 1
    assert err.startswith("error: cannot write the folder deep/runs: Permission denied: ask its owner for access, or")
    assert list(workplace.iterdir()) == [photos]


@pytest.mark.parametrize(
    ("arguments", "closest"),
    [
        (["predict", "IMAGE=phtos/red/0.jpg"], "photos/red/0.jpg"),
        (["predict", "IMAGE=photos\\red\\0.jpg"], "photos/red/0.jpg"),
        (["predict", "IMAGE=photos/red", "RUN=runs/train-best/2026-furst"], "runs/train-best/2026-first"),
        (["train-best", "SWEEP=frist"], "first"),
        (["train-best", "CONFIG=setings.yaml"], "settings.yaml"),
        (["finetune", "DATA=photos", "WEIGHTS=wieghts.h5"], "weights.h5"),
    ],
)
def test_a_misspelled_path_gets_the_closest_one(arguments, closest, workplace, capsys):
    for name in ("photos/red/0.jpg", "runs/sweep/first/best.yaml", "settings.yaml", "weights.h5"):
        (workplace / name).parent.mkdir(parents=True, exist_ok=True)
        (workplace / name).touch()
    (workplace / "runs/train-best/2026-first").mkdir(parents=True)
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert err.endswith(f"Did you mean {closest!r}?\n")
    assert err.count("\n") == 1


def test_the_home_folder_is_meant_by_a_tilde(workplace, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(workplace))
    (workplace / "c.yaml").write_text("model: {filters: 7}")
    code, out, _ = run("cost", "CONFIG=~/c.yaml", capsys=capsys)
    assert code == 0
    assert "7" in out
    _, _, err = run("predict", "IMAGE=~/none.jpg", capsys=capsys)
    assert f"IMAGE '{workplace}/none.jpg' does not exist" in err
