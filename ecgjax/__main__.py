"""The command `ecgjax`: `ecgjax COMMAND OPTIONS` is `python -m ecgjax.launch.COMMAND OPTIONS`."""

import importlib
import sys

import ecgjax

COMMANDS = {
    "prepare": "convert raw ECG files to a prepared data set",
    "migrate": "verify a prepared data set, and bind an old one by hashes",
    "pretrain": "pre-train an encoder without labels",
    "finetune": "train and test a classifier with labels",
    "benchmark": "compare encoders from few labels to all",
    "compare": "test runs of finetune against each other",
    "compile": "compile the training step for a TPU slice, without a TPU",
}


def main() -> None:
    """Runs one command, or lists all of them."""
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"ecgjax {ecgjax.__version__}")
    elif not words or words[0] in ("-h", "--help"):
        print(usage())
    elif words[0] not in COMMANDS:
        print(f"error: no command {words[0]}; give one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    else:
        _run(words[0], words[1:])


def usage() -> str:
    """Returns the list of commands, one line each."""
    lines = [f"  {name:12}{summary}" for name, summary in COMMANDS.items()]
    head = "usage: ecgjax COMMAND OPTIONS"
    foot = "ecgjax COMMAND --help explains the options of a command."
    return "\n".join([head, "", *lines, "", foot])


def _run(name: str, options: list[str]) -> None:
    from ecgjax.launch.command import run

    sys.argv = [f"ecgjax {name}", *options]
    run(lambda: importlib.import_module(f"ecgjax.launch.{name}").main())


if __name__ == "__main__":
    main()
