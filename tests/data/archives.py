"""Archives for tests of downloading and unpacking."""

import random
import signal
import subprocess
import sys
import time
import zipfile


def make_archive(path, num_files=4, num_bytes=10_000):
    """Writes an uncompressed archive of two classes, whose files are random bytes."""
    rng = random.Random(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "val"):
            for name in ("blue", "red"):
                for index in range(num_files // 4):
                    archive.writestr(f"photos/{split}/{name}/{index}.png", rng.randbytes(num_bytes))
    return path


def read_tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_until(call, reached):
    """Runs `call` in another Python process and kills it with SIGKILL as soon as `reached()`."""
    process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.DEVNULL)
    while not reached() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
