"""The notebook runs from top to bottom: a kernel of its own, images that cannot be written, no `make`."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "iNaturalist-12K.ipynb"
SMALL = """
DATA = "{photos}"
TRIALS = 2
WEIGHTS = None
SETTINGS = {{
    "data.image_size": 16, "model.num_blocks": 2, "model.filters": 4, "model.dense_units": 8, "training.epochs": 2,
    "training.batch_size": 8, "sweep.workers": 0, "sweep.epochs": 1, "sweep.space": {{"model.filters": [4, 6]}},
    "tracking.wandb": "disabled",
}}
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory, write_photos):
    """The cells of the executed notebook, by the first line of their source, and the folder that they ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    photos = write_photos(folder / "input" / "photos")
    for path in (photos, *photos.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source += SMALL.format(photos=photos)
    place = folder / "working"
    place.mkdir()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(place)}}).execute()
    cells = {cell.source.splitlines()[0]: cell for cell in notebook.cells if cell.cell_type == "code"}
    yield cells, place
    for path in (photos, *photos.rglob("*")):
        path.chmod(0o755)


def read_html(cell):
    return "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)


def test_the_committed_notebook_has_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_results_are_tables_and_pictures(executed):
    cells, _ = executed
    shown = {first.split(" =")[0].split("(")[0]: read_html(cell) for first, cell in cells.items()}
    assert "data:image/png" in shown["sweep"]
    assert "95 % interval" in shown["scratch"]
    assert "topk" in shown["tuned"]
    assert shown["model"].count("<img") == 3
    assert shown["model.explain"].count("<img") == 2
    assert shown["keras_inat.results"].count("<tr>") == 3


def test_the_report_is_inside_and_in_one_file(executed):
    cells, place = executed
    page = read_html(next(cell for first, cell in cells.items() if first.startswith("page =")))
    assert "<iframe srcdoc=" in page
    assert "Fine-tuned: example predictions" in page
    assert "figures/" not in (place / "reports" / "index.html").read_text()


def test_nothing_is_written_beside_the_images(executed):
    _, place = executed
    assert {path.name for path in (place.parent / "input").iterdir()} == {"photos"}
    assert {path.name for path in (place.parent / "input" / "photos").iterdir()} == {"train", "val"}
