"""The report of a sweep on W&B's server, with the panels that W&B users expect."""

from typing import Any

from keras_tuner.engine.hyperparameters import Fixed

from keras_inat.files import read_text, write_text
from keras_inat.log import warn
from keras_inat.search.space import build_hyperparameters
from keras_inat.settings.schema import Config
from keras_inat.store.balance import NAMES, Objective, select
from keras_inat.store.sweeps import locate_sweep
from keras_inat.training.wandb_run import (
    BEST_SCORES,
    check_server,
    choose_wandb_mode,
    is_installed,
    name_group,
    name_project,
    name_setting,
    read_wandb_settings,
)


def publish_report(config: Config, objective: Objective) -> None:
    """Writes the report of a sweep that selects by `objective`, or updates it, and prints its address.

    Nothing happens unless runs go to W&B's server. A failure is a warning, because the records are on disk.
    """
    if not is_installed("wandb_workspaces") or choose_wandb_mode(config) != "online":
        return
    address = locate_sweep(config).path / "wandb-report"
    try:
        import wandb
        import wandb_workspaces.reports.v2 as reports

        check_server(read_wandb_settings())
        if address.exists():
            report = reports.Report.from_url(read_text(address))
        else:
            entity = read_wandb_settings().entity or str(wandb.Api().default_entity)
            report = reports.Report(project=name_project(config), entity=entity, title=f"Sweep {config.run.name}")
        report.blocks = build_blocks(config, report.entity, objective)
        report.save()
        write_text(address, report.url)
        print(f"W&B's report: {report.url}", flush=True)
    except Exception as error:  # such as no network, a deleted project or another version of the service
        warn(f"W&B's report is skipped: {error}")


def build_blocks(config: Config, entity: str, objective: Objective) -> list[Any]:
    """Builds the blocks of the report: the best score so far, learning curves, parallel coordinates and importance."""
    import wandb_workspaces.reports.v2 as reports

    searched = [hp.name for hp in build_hyperparameters(config).space if not isinstance(hp, Fixed)]
    name = select(objective, *BEST_SCORES)
    score = reports.SummaryMetric(name)
    columns = []
    for setting in searched:
        domain = config.sweep.space[setting]
        logarithmic = isinstance(domain, dict) and bool(domain.get("log"))
        metric = reports.Config(name_setting(setting))
        columns.append(reports.ParallelCoordinatesPlotColumn(metric=metric, display_name=setting, log=logarithmic))
    columns.append(reports.ParallelCoordinatesPlotColumn(metric=score))
    panels: list[Any] = [
        reports.ScatterPlot(title="Best so far", x=reports.Metric("CreatedTimestamp"), y=score, running_ymax=True),
        reports.LinePlot(title=NAMES[objective].capitalize(), x="epoch/epoch", y=[f"epoch/{name}"]),
        reports.ParallelCoordinatesPlot(columns=columns),
        reports.ParameterImportancePlot(with_respect_to=name),
    ]
    for row, panel in enumerate(panels):
        panel.layout = reports.Layout(x=0, y=10 * row, w=24, h=10)  # the full width of W&B's grid
    name = name_group(config)
    runs = reports.Runset(entity=entity, project=name_project(config), name=name, filters=f"Group = '{name}'")
    return [
        reports.P(f"{config.sweep.trials} trials of {config.sweep.epochs} epochs over {', '.join(searched)}."),
        reports.PanelGrid(runsets=[runs], panels=panels),
    ]
