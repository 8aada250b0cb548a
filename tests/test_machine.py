import os

import pytest

from keras_inat import machine

GIB = 1 << 30


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Returns a function that writes a file of a simulated control group. The machine has 16 GiB, 8 of them free."""
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 * GIB >> 10} kB\nMemAvailable: {8 * GIB >> 10} kB\n")
    monkeypatch.setattr(machine, "_count_physical", lambda: 16 * GIB)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "meminfo")

    def write(own, folder, **contents):
        (tmp_path / "own").write_text(own)
        directory = tmp_path / "cgroup" / folder
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (directory / name.replace("_", ".", 1)).write_text(f"{content}\n")

    return write


def test_without_a_control_group_the_machine_is_the_limit(cgroups):
    assert (machine.read_memory(), machine.read_available_memory()) == (16 * GIB, 8 * GIB)
    cgroups("0::/\n", "", memory_max="max", memory_current=GIB, memory_stat="inactive_file 0")
    assert (machine.read_memory(), machine.read_available_memory()) == (16 * GIB, 8 * GIB)


def test_cached_files_count_as_available(cgroups):
    cgroups("0::/\n", "", memory_max=4 * GIB, memory_current=3 * GIB, memory_stat=f"inactive_file {GIB}")
    assert (machine.read_memory(), machine.read_available_memory()) == (4 * GIB, 2 * GIB)


def test_every_group_above_the_own_one_limits_the_memory(cgroups):
    cgroups("0::/a/b\n", "a/b", memory_max="max", memory_current=0, memory_stat="")
    cgroups("0::/a/b\n", "a", memory_max=3 * GIB, memory_current=GIB, memory_stat="")
    assert (machine.read_memory(), machine.read_available_memory()) == (3 * GIB, 2 * GIB)


def test_groups_of_version_1_have_a_folder_for_memory(cgroups):
    files = {"memory_limit_in_bytes": 2 * GIB, "memory_usage_in_bytes": GIB}
    cgroups("1:cpu:/x\n5:memory:/x\n0::/\n", "memory/x", **files, memory_stat="total_inactive_file 0")
    assert (machine.read_memory(), machine.read_available_memory()) == (2 * GIB, GIB)


def test_this_machine_has_memory():
    assert 0 < machine.read_available_memory() <= machine.read_memory() <= os.sysconf("SC_PHYS_PAGES") * 2**16
