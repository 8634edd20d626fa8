"""Exports a model for other tools: `python -m ecgjax.launch.export`."""

from ecgjax.launch import command
from ecgjax.workflows.export.options import Export


def main() -> None:
    """Parses the options, exports and prints what was written."""
    options = command.parse(Export)
    # Imported late: --help need not wait for JAX.
    from ecgjax.workflows.export.export import export

    command.keep_compiled_programs()
    exported = export(options)
    program = exported.program
    print(f"{exported.files[0]}: {exported.bytes / 1e6:.1f} MB, {program.model!r}")
    print(f"largest difference from ecgjax on simulated ECGs: {exported.difference:.1e}")
    print(f"inputs and results: {exported.files[1]}; how to run it: {exported.files[2]}")


if __name__ == "__main__":
    command.run(main)
