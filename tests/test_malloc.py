"""Memory that a step frees stays with the process where JAX computes on the CPU."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
from ecgjax.launch.malloc import keep_freed_memory
keep_freed_memory()
SIZE = int(1e8)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * SIZE
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
@pytest.mark.parametrize("platforms, most, least", [("cpu", 100, 0), ("cuda,cpu", 10**9, 20_000)])
def test_freed_memory_is_taken_again_without_page_faults(platforms, most, least):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={**os.environ, "JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        check=True,
    )
    assert least <= int(done.stdout) <= most
