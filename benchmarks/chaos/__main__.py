"""Does faults to real processes: `python -m benchmarks.chaos --only sigkill sigterm --tries 3`."""

from benchmarks.chaos.program import main
from ecgjax.launch.command import run

if __name__ == "__main__":
    run(main)
