"""Several processes as one: on a TPU pod, on the nodes of a cluster, or two on one machine for a test."""

import dataclasses

import jax

from ecgjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Processes:
    """Whether this process is one of several that train together. All start the same command on the same folders."""

    distributed: bool = False
    """Join the other processes of this job. Under SLURM, on GKE and on TPU VMs they find each other."""
    coordinator: str | None = None
    """host:port of process 0, where they do not find each other."""
    num_processes: int | None = None
    """How many there are, where they do not find each other."""
    process_id: int | None = None
    """Which of them this is, from 0, where they do not find each other."""

    def join(self) -> None:
        """Connects to the other processes, if there are to be any. Before anything asks JAX for a device.

        Raises:
          InputError: they cannot be found or reached, or what says where they are is incomplete.
        """
        told = (self.coordinator, self.num_processes, self.process_id)
        if not self.distributed:
            if any(part is not None for part in told):
                raise InputError(
                    "--coordinator, --num-processes and --process-id need --distributed"
                )
            return
        if 0 < sum(part is None for part in told) < len(told):
            raise InputError(
                "give --coordinator, --num-processes and --process-id together, or none of them"
            )
        try:
            jax.distributed.initialize(*told, initialization_timeout=120)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"--distributed: {reason}; outside SLURM, GKE and TPU VMs give --coordinator host:port, "
                f"--num-processes and --process-id"
            ) from error
