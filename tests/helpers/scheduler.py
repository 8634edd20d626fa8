"""Fake sbatch, srun and scontrol: a script reads its options strictly and runs on this machine.

    sbatch [OPTIONS] SCRIPT [ARGUMENTS]     runs the script with SLURM's variables
    srun [OPTIONS] COMMAND                  starts a process for each task and waits
    scontrol requeue JOB                    writes its words to $SLURM_FAKE/requeued

Install them with `install`, which makes commands of this file. $SLURM_FAKE is their folder.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

COUNT = r"\d+"
TIME = r"(\d+-)?\d{1,2}:\d{2}:\d{2}"
SBATCH = {
    "job-name": r"[\w-]+",
    "nodes": COUNT,
    "ntasks": COUNT,
    "ntasks-per-node": COUNT,
    "gres": r"gpu:\d+",
    "cpus-per-task": COUNT,
    "mem": r"\d+[GM]",
    "mem-per-cpu": r"\d+[GM]",
    "time": TIME,
    "signal": r"(B:)?[A-Z]+@\d+",
    "requeue": None,
    "open-mode": "append|truncate",
    "array": r"\d+(-\d+)?",
}
"""Options of sbatch with a pattern of their values; None: no value (slurm.schedmd.com/sbatch)."""
SRUN = {"kill-on-bad-exit": "[01]", "cpus-per-task": COUNT}
JOB = "4711"


def install(folder: Path) -> None:
    """Writes the three commands to a folder, which goes to the front of PATH."""
    for name in ("sbatch", "srun", "scontrol"):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)


def parse(words: list[str], known: dict[str, str | None]) -> tuple[dict[str, str], list[str]]:
    """Returns the options at the beginning of `words`, and the rest; an unknown one ends all."""
    options = {}
    for place, word in enumerate(words):
        if not word.startswith("--"):
            return options, words[place:]
        name, given, value = word[2:].partition("=")
        if name not in known:
            sys.exit(f"unrecognized option '--{name}'")
        pattern = known[name]
        if bool(given) != (pattern is not None) or not re.fullmatch(pattern or "", value):
            sys.exit(f"invalid value '{value}' of --{name}")
        options[name] = value
    return options, []


def directives(script: Path) -> list[str]:
    """Returns the options in the #SBATCH lines of a script; SLURM reads none after a command."""
    words = []
    for line in script.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            words += line.removeprefix("#SBATCH ").split()
    if script.read_text().count("\n#SBATCH") != len(words):
        sys.exit("an #SBATCH line after the first command, or with several words")
    return words


def sbatch(words: list[str]) -> int:
    """Runs each job of a script, one after the other, as SLURM does: from a copy of the script."""
    given, rest = parse(words, SBATCH)
    own, unread = parse(directives(Path(rest[0])), SBATCH)
    options = own | given
    if unread:
        sys.exit(f"invalid directive {unread[0]}")
    spool = Path(os.environ["SLURM_FAKE"]) / "slurm_script"
    shutil.copyfile(rest[0], spool)
    nodes = int(options.get("nodes", 1))
    tasks = int(options.get("ntasks", nodes * int(options.get("ntasks-per-node", 1))))
    variables = {
        "SLURM_JOB_ID": JOB,
        "SLURM_NTASKS": str(tasks),
        "SLURM_CPUS_PER_TASK": options.get("cpus-per-task", "1"),
    }
    first, _, last = options.get("array", "").partition("-")
    numbers = range(int(first), int(last or first) + 1) if first else [None]
    status = 0
    for number in numbers:
        array = {}
        if number is not None:
            array["SLURM_ARRAY_TASK_ID"] = str(number)
            array["SLURM_ARRAY_TASK_COUNT"] = str(len(numbers))
        job = os.environ | variables | array
        status = max(status, subprocess.run(["bash", spool, *rest[1:]], env=job).returncode)
    return status


def srun(words: list[str]) -> int:
    """Starts the tasks of a job step and returns the largest exit status."""
    _, command = parse(words, SRUN)
    count = int(os.environ["SLURM_NTASKS"])
    step = os.environ | {"SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1"}
    tasks = []
    for number in range(count):
        task = step | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
        tasks.append(subprocess.Popen(command, env=task))
    return max(task.wait() for task in tasks)


def scontrol(words: list[str]) -> int:
    """Writes down what it was asked for."""
    (Path(os.environ["SLURM_FAKE"]) / "requeued").write_text(" ".join(words))
    return 0


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[sys.argv[1]](sys.argv[2:]))
