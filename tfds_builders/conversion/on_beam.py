"""Shards written under Apache Beam (extra `beam`): on Dataflow, Flink, Spark or locally.

Beam sends plans to its workers and returns nothing: the outcome of a shard is read from its
journal, in a folder that all machines can access. Beam 2.77's DirectRunner silently lost records
when it ran in parallel. Here such a loss is a shard without a journal, which is an error; running
the same command again continues with the absent shards.
"""

from collections.abc import Iterator, Sequence

from ecgjax.errors import InputError
from tfds_builders.conversion import journal, shards
from tfds_builders.conversion.plan import Plan, RecordingReader, Shard


def write_all(
    builder: RecordingReader, plans: Sequence[Plan], *, options: Sequence[str]
) -> Iterator[Shard]:
    """Yields the shards in the order of the plans; a Beam pipeline writes those that are absent.

    Args:
      builder: reads the recordings; it is sent to the workers without the secret key.
      plans: the shards.
      options: options of the pipeline, each as NAME=VALUE.

    Raises:
      InputError: Beam is not installed, the pipeline failed, or it succeeded but a shard is absent.
    """
    absent = [plan for plan in plans if not journal.load(plan)]
    if absent:
        _run(builder, [shards.without_patients(plan) for plan in absent], options)
    loaded = [journal.load(plan) for plan in plans]
    if lost := loaded.count(None):
        problem = f"{builder.name}: Beam ended without an error, but {lost} of {len(absent)} shards"
        raise InputError(f"{problem} are absent; run the same command again to write them")
    yield from filter(None, loaded)


def _run(builder: RecordingReader, plans: Sequence[Plan], options: Sequence[str]) -> None:
    try:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
            PipelineOptions,
        )
    except ImportError as error:
        raise InputError("--beam needs Apache Beam; pip install 'ecgjax[beam]'") from error

    def write(plan: Plan) -> None:
        shards.write(builder, plan)

    pipeline_options = PipelineOptions([f"--{option}" for option in options])
    try:
        with beam.Pipeline(options=pipeline_options) as pipeline:
            # Reshuffle: otherwise all plans would be fused into one bundle, for one worker.
            _ = pipeline | beam.Create(plans) | beam.Reshuffle() | beam.Map(write)
    except Exception as error:  # runners raise exceptions of any type
        message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        remedy = "correct the cause and run the same command again to continue"
        raise InputError(f"{builder.name}: Beam failed ({message}); {remedy}") from error
