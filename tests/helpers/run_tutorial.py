"""Runs the commands of tutorials in a small form: `run_tutorial.py FILE ...`.

All blocks marked `bash` or `python` run one after the other in a folder named like the tutorial.
Comments, which a reader of the page does not see, make them small:

    <!-- in CI first: COMMANDS -->   run before the first block, such as making data
    <!-- in CI: OLD -> NEW -->       words of the blocks that are replaced, such as numbers of steps
"""

import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.M | re.S)
FIRST = re.compile(r"^<!-- in CI first: (.*?) -->", re.M | re.S)
CHANGE = re.compile(r"^<!-- in CI: (.*?) -> (.*?) -->", re.M | re.S)


def script(text: str) -> str:
    """Returns the commands of a tutorial in their small form, for bash.

    Raises:
      ValueError: there are none, or a replacement finds no place.
    """
    commands = []
    for language, code in BLOCK.findall(text):
        if language == "python":
            commands.append(f"python - <<'END'\n{code}END\n")
        else:
            commands.append(re.sub(r"\s*\\\n\s*", " ", code))
    if not commands:
        raise ValueError("no block marked bash or python")
    joined = "".join(commands)
    for old, new in CHANGE.findall(text):
        if old not in joined:
            raise ValueError(f"no {old!r} in the blocks")
        joined = joined.replace(old, new)
    return "\n".join(["set -euxo pipefail", *FIRST.findall(text), joined])


def main() -> None:
    """Runs each tutorial named on the command line; the first that fails ends the process."""
    for name in sys.argv[1:]:
        tutorial = Path(name)
        folder = Path(tutorial.stem)
        folder.mkdir()
        commands = script(tutorial.read_text(encoding="utf-8"))
        if status := subprocess.run(["bash", "-c", commands], cwd=folder, check=False).returncode:
            sys.exit(f"{tutorial}: ended with status {status}")


if __name__ == "__main__":
    main()
