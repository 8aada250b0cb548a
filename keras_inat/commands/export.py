"""`export`: the model of a run for other programs."""

from keras_inat.export.exports import export_run
from keras_inat.settings.loading import override
from keras_inat.settings.schema import Config, Data
from keras_inat.store.exports import ExportReport
from keras_inat.store.runs import choose_run


def run(config: Config) -> ExportReport:
    """Exports the model of `run.path` in `export.formats`. Returns the comparison with Keras."""
    run_folder, result = choose_run(config)
    # A record has only the name of images outside the working folder.
    given = {name: getattr(config.data, name) for name in ("source", "directory")}
    places = {f"data.{name}": place for name, place in given.items() if place != getattr(Data(), name)}
    result = result.model_copy(update={"config": override(result.config, places)})
    print(f"model: {run_folder.path}", flush=True)
    _, report = export_run(run_folder, result, config.export.formats, config.export.license)
    print(f"input, classes and preparation of images: {run_folder.export_contract}")
    return report
