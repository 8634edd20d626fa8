"""Each notebook runs from its first cell to its last, with little data and a tiny encoder."""

from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


@pytest.fixture(scope="module")
def small(workdir):
    """Sets the notebooks' sizes, and the encoder that they load."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "ECGJAX_MODEL": str(workdir),
            "ECGJAX_LIMIT": "36",
            "ECGJAX_LABELS": "30",
            "ECGJAX_PATIENTS": "24",
            "PYTHONPATH": str(EXAMPLES.parent),
        }.items():
            patch.setenv(name, value)
        yield


def _run(name: str, folder: Path) -> str:
    """Returns the outputs of a notebook as one text."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    return "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))


def test_colab(small, tmp_path):
    printed = _run("colab.ipynb", tmp_path)
    assert "(5000, 12)" in printed and "-> (16,)" in printed
    assert printed.count("'image/png': 'iVBOR") == 2  # PNG files in base64
    assert "af: probability" in printed and "exported: " in printed
    assert (tmp_path / "predictions.csv").read_text().count("\n") >= 2


def test_own_labels(small, tmp_path):
    # The key decides the splits; with this one, all classes are tested.
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "secret").write_bytes(b"o" * 32)
    _run("own_labels.ipynb", tmp_path)
    rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert "predicted_class" in rows[0]
    assert len(rows) > 10


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_no_outputs_and_one_address(name):
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [text.count("github.com") for text in code] == [1] + [0] * (len(code) - 1)
