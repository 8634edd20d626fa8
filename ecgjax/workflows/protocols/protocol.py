"""Published protocols of evaluation: what they test, and how `benchmark` is set for them."""

import dataclasses
from collections.abc import Collection

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.pretrained import Encoder
from ecgjax.workflows.low_label_methods import Benchmark

DATA_SET = "ptb_xl"
"""Name of the data set that the protocols are defined on."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A protocol whose published results stand beside those of an encoder."""

    name: str
    title: str
    """The comparison, in a line."""
    tasks: tuple[str, ...]
    """Names of the tasks, in the order of the table."""
    settings: Benchmark
    """Settings of the benchmark; each can be changed on the command line."""
    readouts: tuple[tuple[str, str, str], ...]
    """Method of the benchmark, method of the published rows beside it, and description."""
    shares: tuple[str, ...]
    """Shares of the training recordings that published rows are given for."""
    window_s: float | None = None
    """Length in seconds of the windows whose embeddings are averaged; None: the encoder's."""

    def prepare(self, encoder: Encoder, records: Records) -> Encoder:
        """Returns the encoder with the windows of the protocol.

        Raises:
          InputError: the data set is another one than that of the protocol.
        """
        if records.name.partition("/")[0] != DATA_SET:
            problem = f"--protocol {self.name}: {records.path} is {records.name}, not PTB-XL"
            raise InputError(f"{problem}; give PTB-XL, or leave --protocol out")
        if self.window_s is None:
            return encoder
        preprocessing = dataclasses.replace(encoder.preprocessing, window_s=self.window_s)
        return dataclasses.replace(encoder, preprocessing=preprocessing)

    def left_out(self, methods: Collection[str]) -> list[str]:
        """Returns the descriptions of read-outs that have no result among these methods."""
        return [words for method, _, words in self.readouts if method not in methods]
