"""The end of a command: by a signal, a full disk, a thread that hangs, another process gone."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ecgjax
from ecgjax.launch import command
from ecgjax.whole_files import replaced

ROOT = Path(ecgjax.__file__).parents[1]
HANGING = """
import threading, time
from ecgjax.errors import InputError
from ecgjax.launch import command

command.ENDING_S = 0.2

def main():
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise InputError("the disk is full")

command.run(main)
"""
ABORTED = """
import os
from ecgjax.train.processes import _ends_with_the_others

with _ends_with_the_others():
    pass
os.abort()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_any_command(number, capsys):
    before = signal.getsignal(number)
    unwound = []

    def main():
        try:
            os.kill(os.getpid(), number)
            raise AssertionError("goes on after the signal")
        finally:
            unwound.append(True)

    with pytest.raises(SystemExit) as end:
        command.run(main)
    assert end.value.code == 128 + number and unwound
    line = "interrupted; the same command goes on from what is finished\n"
    assert capsys.readouterr().err == line
    assert signal.getsignal(number) == before


class _Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def _in_a_finalizer():
    _Finalized()
    time.sleep(20)


def _in_code_that_catches_everything():
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("main", [_in_a_finalizer, _in_code_that_catches_everything])
def test_a_signal_that_python_drops_ends_a_command_as_well(main, capsys):
    start = time.monotonic()
    with pytest.raises(SystemExit) as end:
        command.run(main)
    assert end.value.code == 128 + signal.SIGTERM and time.monotonic() - start < 10
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_a_full_disk_ends_any_command_in_one_line(tmp_path, capsys):
    file = tmp_path / "metrics.json"
    file.write_text("old")

    def write():
        raise OSError(errno.ENOSPC, "No space left on device")

    def main():
        with replaced(file):
            write()

    with pytest.raises(SystemExit) as end:
        command.run(main)
    message = capsys.readouterr().err
    assert end.value.code == 2 and message.count("\n") == 1
    assert message.startswith(f"error: {file}: No space left on device; ")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert file.read_text() == "old"


def test_a_signal_while_a_command_is_imported_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "jax.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, "-m", "ecgjax.launch.finetune", "--help"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")


def _run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_thread_that_hangs_does_not_keep_a_failed_command():
    done = _run(HANGING)
    assert (done.returncode, done.stderr) == (2, "error: the disk is full\n")


def test_the_abort_of_xla_becomes_one_line():
    """XLA aborts when another process of the job is gone."""
    done = _run(ABORTED)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: another process of this job has ended or does not answer")
