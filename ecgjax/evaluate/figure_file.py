"""Saving of figures as whole files."""

from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure

from ecgjax.whole_files import replaced


def save_figure(figure: Figure, file: str | Path | BinaryIO, *, dpi: float) -> None:
    """Saves a figure; a file of that name is replaced only when the new one is whole.

    Raises:
      OSError: it cannot be written.
    """
    if isinstance(file, str | Path):
        with replaced(Path(file)) as unfinished:
            figure.savefig(unfinished, dpi=dpi)
    else:
        figure.savefig(file, dpi=dpi)
