import itertools
import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import decoding_faults
import pytest
from decoding_faults import PLUG_IN, REASONS

from keras_inat.data import decoders
from keras_inat.data.decoders import Decoders
from keras_inat.data.packs import load_pack
from keras_inat.data.reading import decode_files
from keras_inat.store.records import Preparation


def decode(kinds, num_threads=1):
    return Decoders(num_threads).decode(decoding_faults.decode, kinds, decoding_faults.refuse)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(decoders, "GRACE_SECONDS", 0.2)


@pytest.fixture
def new_processes():
    """Stops the idle process before and after a test."""
    decoders.stop_idle()
    yield
    decoders.stop_idle()


@pytest.fixture
def planted(photos, tmp_path, monkeypatch, new_processes):
    """Writes a photograph for each fault into a class of `photos`. Returns the reasons by path."""
    (tmp_path / "plug-in").mkdir()
    (tmp_path / "plug-in" / "sitecustomize.py").write_text(PLUG_IN)
    for folder in (tmp_path / "plug-in", Path(__file__).parent):
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    first = min((photos / "train" / "red").iterdir())
    reasons = {}
    for number, (kind, reason) in enumerate(REASONS.items()):
        path = first.with_name(f"fault{number}{first.suffix}")
        shutil.copy(first, path)
        with open(path, "ab") as file:
            file.write(f"FAULT {kind}".encode())
        reasons[str(path.relative_to(photos))] = reason
    return reasons


@pytest.mark.parametrize("kind", REASONS)
def test_a_fault_costs_its_own_file(kind):
    outcomes = decode(["first", kind, "second", kind, "third"])
    assert outcomes[::2] == ["first, decoded", "second, decoded", "third, decoded"]
    assert all(re.fullmatch(REASONS[kind], outcome) for outcome in outcomes[1::2])


def test_faults_in_any_order_cost_their_own_files(list_seeds):
    for seed in list_seeds(2):
        kinds = random.Random(seed).choices([*REASONS, "sound", "noise", "large"], k=10)
        for kind, outcome in zip(kinds, decode(kinds), strict=True):
            assert re.fullmatch(REASONS.get(kind, f"{kind}, decoded"), outcome)


def test_what_a_decoder_prints_is_no_outcome(new_processes, capfd):
    assert decode(["noise", "sound"]) == ["noise, decoded", "sound, decoded"]
    assert capfd.readouterr().err == "noise\n"


def test_a_large_image_has_half_of_the_available_memory(monkeypatch):
    monkeypatch.setattr(decoders, "read_available_memory", lambda: 240 << 20)
    assert decode(["large", "sound"], num_threads=4) == ["large, decoded", "sound, decoded"]
    monkeypatch.setattr(decoders, "read_available_memory", lambda: 160 << 20)
    assert decode(["large", "sound"], num_threads=4) == ["needs 100 MiB", "sound, decoded"]


def test_an_error_that_no_file_is_to_blame_for_is_raised():
    with pytest.raises(OSError, match="No space left on device"):
        decode(["sound", "full disk", "sound"])
    assert decode(["sound"]) == ["sound, decoded"]


def test_without_another_process_images_are_decoded_in_this_one(new_processes, monkeypatch, capsys):
    monkeypatch.setattr(decoders.sys, "executable", "/does/not/exist")
    assert decode(["sound"]) == ["sound, decoded"]
    assert "images are decoded in this process, because another cannot be started" in capsys.readouterr().err


def test_closing_ends_running_calls():
    pool = Decoders(1)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.decode, decoding_faults.decode, ["forever"], decoding_faults.refuse)
        while not pool._running:
            time.sleep(0.01)
        pool.close()
        with pytest.raises(RuntimeError, match="the decoders are closed"):
            call.result(10)


def test_a_hostile_photograph_costs_itself_in_a_data_set(make_config, planted, photos):
    pack = load_pack(make_config("data.image_size=16"))
    skipped = {file.path: file.reason for file in pack.manifest.quarantined}
    assert skipped.keys() == planted.keys()
    assert all(re.fullmatch(planted[path], reason) for path, reason in skipped.items())


def test_a_hostile_photograph_costs_itself_in_a_prediction(planted, photos, capsys):
    paths = sorted((photos / "train" / "red").iterdir())
    files = ((str(path.relative_to(photos)), path) for path in paths)
    decoded = [name for name, _ in decode_files(files, 16, Preparation())]
    assert decoded == [str(path.relative_to(photos)) for path in paths if "fault" not in path.name]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(planted)
    for line, (name, reason) in itertools.product(lines, planted.items()):
        assert name not in line or re.fullmatch(f"warning: skipped {name}: it {reason}", line)
