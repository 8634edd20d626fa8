"""`python tests/tiny_command.py COMMAND OPTIONS`: ecgjax.launch.COMMAND, compact_resnet being the tests' tiny one.

For tests of what several processes do, each of which would else compile the real one for as long as it then trains.
test_end_to_end starts the real commands, in the same way.
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
