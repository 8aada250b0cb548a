"""The command `app`: a page that classifies images in the browser, and a Space for Hugging Face."""

from pathlib import Path

from keras_inat.export.app.page import write_page
from keras_inat.export.app.runtime import read_runtime
from keras_inat.export.app.server import build_server
from keras_inat.export.app.space import write_space
from keras_inat.models.predictors import ONNX_FILE
from keras_inat.reporting.history import FinishedRun
from keras_inat.reporting.model_cards import render_card
from keras_inat.settings.schema import Config
from keras_inat.store.exports import ExportContract, find_export
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder, choose_run


def run(config: Config) -> Path:
    """Writes the app of a run, and serves it with `app.serve`. Returns the page.

    Raises:
        UserError: There is no run, its model cannot be exported, or the browser's runtime cannot be fetched.
    """
    page = write_app(*choose_run(config), config)
    if config.app.serve:
        _serve(page.parent, config.app.port)
    return page


def write_app(folder: RunFolder, result: Result, config: Config) -> Path:
    """Writes the app of a run. The model is exported to ONNX first unless it is already. Returns the page."""
    runtime = read_runtime(config.app.runtime)  # first, because it may fail and exporting takes a while
    model, contract = _find_model(folder, result, config)
    card = _write_card(folder, result, config.report.author)
    app = Path(config.app.directory) if config.app.directory else folder.app
    write_page(app, model.read_bytes(), contract, runtime)
    write_space(app / "space", model, contract, result.data.name, card or contract.card)
    print(f"app: {app / 'index.html'}")
    print(f"Hugging Face Space: {app / 'space'}", flush=True)
    return app / "index.html"


def _find_model(folder: RunFolder, result: Result, config: Config) -> tuple[Path, ExportContract]:
    """Returns the ONNX model of a run and its contract. It is exported unless it agrees with `best.keras` already."""
    if found := find_export(folder, "onnx"):
        return found
    from keras_inat.export.exports import export_run  # imports TensorFlow, which an exported model does without

    contract, _ = export_run(folder, result, ["onnx"], config.export.license)
    return folder.export / ONNX_FILE, contract


def _write_card(folder: RunFolder, result: Result, author: str) -> str | None:
    """Returns the model card of the report, without the place of the run on this machine."""
    if result.test is None:
        return None
    return render_card(FinishedRun(folder, result, result.test), Path(folder.path.name), author)


def _serve(app: Path, port: int) -> None:
    with build_server(app, port) as server:
        host, port = server.server_address[:2]
        print(f"serving http://{host!s}:{port}/ to this machine; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
