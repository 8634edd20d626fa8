"""The end of a command: by a signal, with a thread that hangs, when another process is gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ecgjax
from ecgjax.launch import command

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
