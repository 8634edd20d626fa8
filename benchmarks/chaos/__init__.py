"""Faults done to real processes, many times: `python -m benchmarks.chaos`."""

from benchmarks.chaos.program import main

__all__ = ["main"]
