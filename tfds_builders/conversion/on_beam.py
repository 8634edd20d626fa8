"""Shards written under Apache Beam (extra `beam`): on Dataflow, Flink, Spark, or this machine for a trial.

Beam carries plans to its workers and nothing back: what became of a shard is read from its journal, in a folder that
all machines see. Beam 2.77's DirectRunner lost records without a word when it ran in parallel; what it loses here is a
shard that has no journal, and that is an error, after which the same command goes on with the shards that are missing.
"""

from collections.abc import Iterator, Sequence

from ecgjax.errors import InputError
from tfds_builders.conversion import journal, shards
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.conversion.plan import Plan, Shard


def write_all(
    builder: RecordingsBuilder, plans: Sequence[Plan], *, options: Sequence[str]
) -> Iterator[Shard]:
    """The shards in order of the plans; those that are not there are written by a Beam pipeline.

    Args:
      builder: reads the recordings; a copy travels, without the secret key.
      plans: the shards.
      options: of the pipeline, NAME=VALUE each.

    Raises:
      InputError: Beam is not installed, the pipeline failed, or a shard is not there although it ended well.
    """
    missing = [plan for plan in plans if not journal.load(plan)]
    if missing:
        _run(builder, [shards.without_patients(plan) for plan in missing], options)
    found = [journal.load(plan) for plan in plans]
    if lost := found.count(None):
        problem = f"{builder.name}: Beam ended without an error and without {lost} of {len(missing)} shards"
        raise InputError(f"{problem}; run again: it goes on with those")
    yield from filter(None, found)


def _run(builder: RecordingsBuilder, plans: Sequence[Plan], options: Sequence[str]) -> None:
    try:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--beam needs Apache Beam; pip install 'ecgjax[beam]'") from error

    def write(plan: Plan) -> None:
        shards.write(builder, plan)

    try:
        # Reshuffle: the plans would be fused into one bundle, for one worker.
        with beam.Pipeline(
            options=PipelineOptions([f"--{option}" for option in options])
        ) as pipeline:
            _ = pipeline | beam.Create(plans) | beam.Reshuffle() | beam.Map(write)
    except Exception as error:  # runners raise whatever they like
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(
            f"{builder.name}: Beam failed ({said}); mend that and run again: it goes on"
        ) from error
