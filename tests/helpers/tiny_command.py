"""Runs a command with a tiny encoder: `python tests/helpers/tiny_command.py COMMAND OPTIONS`.

Used where a test starts several processes, each of which would compile the real encoder for longer
than it trains. test_end_to_end starts the real commands.
"""

import importlib
import sys

from ecgjax import encoders
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.launch.command import run

if __name__ == "__main__":
    encoders.ENCODERS["compact_resnet"] = CompactResnet(widths=(8,))
    command = importlib.import_module(f"ecgjax.launch.{sys.argv.pop(1)}")
    run(command.main)
