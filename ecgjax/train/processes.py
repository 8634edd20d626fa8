"""Several processes that train together: on a TPU pod, on cluster nodes, or two on one machine."""

import contextlib
import ctypes
import dataclasses
import functools
import os
import re
import signal
from collections.abc import Iterator

import jax
from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

from ecgjax.errors import InputError, first_line

SILENCE_S = 30
"""Seconds without a sign of life after which a process counts as gone."""
_GONE = b"""error: another process of this job has ended or does not answer, so this one ends too; \
the same command, started in all processes, goes on from the last checkpoint
"""
_LOST = re.compile(
    "Gloo|NCCL|Connection (reset|closed)|heartbeat|[Cc]oordination|UNAVAILABLE|DEADLINE"
)
"""Words of errors that a lost process causes in the others."""
_KEPT = []
"""Functions that C calls; Python would free them."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """Options of a job with several processes. All start the same command on the same folders."""

    distributed: bool = False
    """Join the other processes of this job. SLURM, GKE and TPU VMs need no further option."""
    coordinator: str | None = None
    """Address host:port of process 0, outside SLURM, GKE and TPU VMs."""
    num_processes: int | None = None
    """Number of processes, outside SLURM, GKE and TPU VMs."""
    process_id: int | None = None
    """Number of this process, from 0, outside SLURM, GKE and TPU VMs."""

    def join(self) -> None:
        """Connects to the other processes if `distributed` is set. Call it before using any device.

        Raises:
          InputError: the processes cannot be reached, or the options are incomplete.
        """
        addresses = (self.coordinator, self.num_processes, self.process_id)
        if not self.distributed:
            if any(part is not None for part in addresses):
                raise InputError(
                    "--coordinator, --num-processes and --process-id need --distributed"
                )
            return
        if 0 < sum(part is None for part in addresses) < len(addresses):
            raise InputError(
                "give --coordinator, --num-processes and --process-id together, or none of them"
            )
        try:
            with _ends_with_the_others():
                jax.distributed.initialize(
                    *addresses, initialization_timeout=120, heartbeat_timeout_seconds=SILENCE_S
                )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"--distributed: {first_line(error)}; outside SLURM, GKE and TPU VMs give "
                f"--coordinator host:port, --num-processes and --process-id"
            ) from error


@contextlib.contextmanager
def _ends_with_the_others() -> Iterator[None]:
    """Makes this process end with one line and status 1 when another one is gone.

    XLA calls a function then, by default one that aborts with a C++ stack. JAX offers no way to
    give another, and jaxlib 0.10 and 0.11 cannot call one written in Python: they end in
    std::terminate, which is therefore replaced too, or in SIGABRT where that has another name.
    """

    make = _jax.get_distributed_runtime_client
    with_end = functools.partial(make, missed_heartbeat_callback=_end)
    called_by_c = ctypes.CFUNCTYPE(None)(_end)
    _KEPT.append(called_by_c)
    ctypes.CDLL(None).signal(signal.SIGABRT, called_by_c)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(called_by_c)
    _jax.get_distributed_runtime_client = with_end
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = make


@contextlib.contextmanager
def one_line_if_others_end() -> Iterator[None]:
    """Ends this process with one line if an operation fails because another process is gone.

    Leaving in the usual way would wait for the others.
    """
    try:
        yield
    except Exception as error:  # JAX raises ValueError, RuntimeError and its own types
        if jax.process_count() > 1 and _LOST.search(str(error)):
            _end()
        raise


def _end(*_) -> None:
    os.write(2, _GONE)
    os._exit(1)
