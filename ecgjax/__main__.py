"""The command `ecgjax`: `ecgjax COMMAND OPTIONS` is `python -m ecgjax.launch.COMMAND OPTIONS`."""

import importlib
import sys
from types import ModuleType

import ecgjax
from ecgjax.errors import InputError

COMMANDS = {
    "prepare": "convert raw ECG files to a prepared data set",
    "migrate": "verify a prepared data set, and bind an old one by hashes",
    "pretrain": "pre-train an encoder without labels",
    "finetune": "train and test a classifier with labels",
    "benchmark": "compare encoders from few labels to all",
    "identify": "find patients again by their embeddings, without labels",
    "compare": "test runs of finetune against each other",
    "embed": "write the embeddings of ECG files to a table",
    "predict": "write a classifier's predictions for ECG files to a table",
    "export": "write a model as a file for other tools",
    "import_weights": "make a model of published weights that you have downloaded",
    "doctor": "examine an installation, a data set or a checkpoint",
    "runs": "list runs with their settings and figures",
    "compile": "compile the training step for a TPU slice, without a TPU",
}


def main() -> None:
    """Runs one command, or lists all of them."""
    words = sys.argv[1:]
    command = words[0].replace("-", "_") if words else ""
    if words == ["--version"]:
        print(f"ecgjax {ecgjax.__version__}")
    elif not words or words[0] in ("-h", "--help"):
        print(usage())
    elif command not in COMMANDS:
        print(f"error: no command {words[0]}; give one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    else:
        _run(command, words[1:])


def usage() -> str:
    """Returns the list of commands, one line each."""
    lines = [f"  {name.replace('_', '-'):16}{summary}" for name, summary in COMMANDS.items()]
    head = "usage: ecgjax COMMAND OPTIONS"
    foot = "ecgjax COMMAND --help explains the options of a command."
    return "\n".join([head, "", *lines, "", foot])


def _run(name: str, options: list[str]) -> None:
    sys.argv = [f"ecgjax {name.replace('_', '-')}", *options]
    try:
        from ecgjax.launch.command import run
    except ImportError as error:
        print(f"error: {_missing(error)}", file=sys.stderr)
        sys.exit(2)
    run(lambda: _load(name).main())


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"ecgjax.launch.{name}")
    except ImportError as error:
        raise InputError(_missing(error)) from error


def _missing(error: ImportError) -> str:
    remedy = "run pip install . in the folder of ecgjax, in this environment"
    return f"a package that ecgjax needs is missing or broken ({error}); {remedy}"


if __name__ == "__main__":
    main()
