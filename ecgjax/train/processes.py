"""Several processes that train together: on a TPU pod, on cluster nodes, or two on one machine."""

import dataclasses

import jax

from ecgjax.errors import InputError, first_line


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
            jax.distributed.initialize(*addresses, initialization_timeout=120)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"--distributed: {first_line(error)}; outside SLURM, GKE and TPU VMs give "
                f"--coordinator host:port, --num-processes and --process-id"
            ) from error
