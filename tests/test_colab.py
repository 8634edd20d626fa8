"""The notebook runs from its first cell to its last."""

from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).parent.parent / "examples" / "colab.ipynb"


def test_notebook_runs(workdir, prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("ECGJAX_CHECKPOINT", str(workdir))
    monkeypatch.setenv("ECGJAX_DATA", str(prepared))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("(1000, 12) -> (16,)" in output for output in outputs)
    assert sum("image/png" in output for output in outputs) == 2
