"""Examples of the shards: TFDS's serialized form of a recording."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

_EXAMPLE: Any = tf_example_pb2.Example  # type: ignore[attr-defined]  # made at import


class Serializer:
    """Serializes examples byte for byte as TFDS does, twice as fast for record_id and signal."""

    def __init__(self, features: tfds.features.FeaturesDict):
        others = {name: features[name] for name in features if name not in ("record_id", "signal")}
        self._others = tfds.features.FeaturesDict(others)
        specs: Any = self._others.get_serialized_info()
        self._serializer = example_serializer.ExampleSerializer(specs)

    def serialize(self, record_id: str, signal: np.ndarray, extra: dict[str, Any]) -> bytes:
        """Returns a tf.train.Example.

        Args:
          record_id: the id of the recording.
          signal: int16 [time, 12].
          extra: a value for each extra feature.
        """
        example = _EXAMPLE()
        if self._others:
            example = self._serializer.get_tf_example(self._others.encode_example(extra))
        feature = example.features.feature
        feature["record_id"].bytes_list.value.append(record_id.encode())
        feature["signal"].bytes_list.value.append(signal.tobytes())
        # deterministic: otherwise the order of a map in the proto differs between processes.
        return example.SerializeToString(deterministic=True)
