"""A forkserver without TensorFlow, so that the processes of the tests start in no time."""

from multiprocessing import forkserver

import pytest

from keras_inat.executors import local


@pytest.fixture(scope="module")
def server():
    server = forkserver.ForkServer()
    server.set_forkserver_preload(["acts"])
    yield server
    server._stop()


@pytest.fixture
def quick_starts(monkeypatch, server):
    """Makes processes start from the forkserver of the tests, and restart without a pause."""
    monkeypatch.setattr(forkserver, "ensure_running", server.ensure_running)
    monkeypatch.setattr(forkserver, "connect_to_new_process", server.connect_to_new_process)
    monkeypatch.setattr(local, "PAUSE_SECONDS", 0.0)
