"""Published protocols of evaluation, one file each: `benchmark --protocol NAME`."""

from ecgjax.workflows.protocols.iclr2026 import ICLR2026
from ecgjax.workflows.protocols.merl import MERL
from ecgjax.workflows.protocols.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (ICLR2026, MERL)}
"""All protocols by name."""
