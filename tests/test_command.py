"""Parts of all commands: repeated options, output folders, signals, and the command `ecgjax`."""

import os
import subprocess
import sys

import pytest

import ecgjax.__main__
from ecgjax.errors import InputError, Interrupted
from ecgjax.launch import command, finetune, pretrain
from ecgjax.objectives import OBJECTIVES


def _parse(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pretrain", *words])
    return command.parse(pretrain.Arguments, default=pretrain.Arguments(**pretrain._defaults()))


@pytest.mark.parametrize("form", [("--objective", "byol"), ("--objective=byol",)])
def test_the_last_objective_is_trained(monkeypatch, tmp_path, prepared, form):
    words = ["--data", prepared, "--workdir", tmp_path, "--objective", "simclr", *form]
    monkeypatch.setattr(sys, "argv", ["pretrain", *map(str, words)])
    trained = []

    def stop(settings, *_, **__):
        trained.append(type(settings.objective))
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "pretrain", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain.main()
    assert trained == [OBJECTIVES["byol"]]


def test_the_last_preset_counts_and_is_reported(monkeypatch):
    words = ["--data", "d", "--preset", "mehari_simclr", "--preset", "mehari_byol"]
    arguments = _parse(monkeypatch, *words)
    assert arguments.preset == "mehari_byol" and arguments.objective == "byol"
    assert type(arguments.settings.objective) is OBJECTIVES["byol"]


def test_the_last_method_is_the_one_that_is_trained(monkeypatch):
    words = ["finetune", "--method", "linear_probe", "--method", "consistency"]
    monkeypatch.setattr(sys, "argv", words)
    assert command.last_choice("--method", finetune.METHODS, "finetune") == "consistency"


def test_settings_of_another_objective_are_refused():
    settings = OBJECTIVES["simclr"]()
    with pytest.raises(InputError, match="--objective byol.*Simclr; give --objective once"):
        command.check_choice("--objective", "byol", OBJECTIVES, settings)


AS_NOBODY = """
import os, sys
from pathlib import Path
from ecgjax.errors import InputError
from ecgjax.launch.command import writable_folder
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write anywhere
try:
    writable_folder(Path(sys.argv[1]), "--workdir")
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_folder_without_permission_is_refused(tmp_path, below):
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(0o555 if folder == tmp_path else 0o755)
    words = [sys.executable, "-c", AS_NOBODY, str(tmp_path / below)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    tmp_path.chmod(0o755)
    line = f"{tmp_path / below}: no files can be written to it (Permission denied)"
    assert done.stdout == f"{line}; give another folder as --workdir\n"


COMMANDS = {
    "pretrain": ["--workdir"],
    "finetune": ["--data", "{data}", "--task", "af", "--workdir"],
    "benchmark": ["--checkpoint", "{run}", "--data", "{data}", "--out"],
    "prepare": ["--dataset", "synthetic", "--out"],
    "compile": ["--topology", "v5e:2x4", "--out"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_a_folder_that_is_a_file(
    name, monkeypatch, tmp_path, capsys, prepared, workdir
):
    file = tmp_path / "file"
    file.write_text("")
    options = [word.format(data=prepared, run=workdir) for word in COMMANDS[name]]
    folder = file / "below"
    output = folder / "report.json" if name == "compile" else folder
    monkeypatch.setattr(sys, "argv", ["ecgjax", name, *options, str(output)])
    with pytest.raises(SystemExit) as end:
        ecgjax.__main__.main()
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1
    assert f"{folder}: no files can be written to it" in error and options[-1] in error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("x: wrong"), 2, "error: x: wrong\n"),
        (Interrupted(15, "stopped at step 3"), 143, "stopped at step 3\n"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; the same command goes on from what is finished\n",
        ),
    ],
)
def test_errors_and_signals_end_with_one_line(error, status, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        command.run(main)
    assert end.value.code == status
    assert capsys.readouterr().err == line


PROGRESS = """
from ecgjax.launch.command import CountedProgress
with CountedProgress("recordings") as progress:
    for number in range(1, 4):
        progress(number, 3)
"""


def test_progress_in_a_notebook_is_plain_lines():
    """Jupyter sets FORCE_COLOR, which rich takes for a terminal."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRESS],
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "" and "\x1b" not in done.stderr and "\r" not in done.stderr
    assert [line.rpartition(",")[0] for line in done.stderr.splitlines()] == [
        f"{number} of 3 recordings" for number in (1, 2, 3)
    ]


def _ecgjax(*words):
    return subprocess.run(
        [sys.executable, "-m", "ecgjax", *words], capture_output=True, text=True, check=False
    )


def test_ecgjax_lists_its_commands():
    done = _ecgjax()
    assert done.returncode == 0
    for name, summary in ecgjax.__main__.COMMANDS.items():
        assert any(
            line.split() == [name.replace("_", "-"), *summary.split()]
            for line in done.stdout.splitlines()
        )


def test_ecgjax_refuses_an_unknown_command():
    done = _ecgjax("train")
    assert done.returncode == 2 and done.stderr.startswith("error: no command train; give one of")


def test_ecgjax_runs_a_command(tmp_path):
    done = _ecgjax("compare", str(tmp_path), "--against", str(tmp_path))
    assert done.returncode == 2 and "predictions.npz: no such file" in done.stderr
    assert _ecgjax("--version").stdout == f"ecgjax {ecgjax.__version__}\n"
    assert "usage: ecgjax compare" in _ecgjax("compare", "--help").stdout
