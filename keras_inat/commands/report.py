"""One page with everything that was found, and the evidence for it."""

from keras_inat.errors import UserError
from keras_inat.report.page import write_report
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Renders the report and says what it found; with `report.strict` it fails where something is missing."""
    report = write_report(config)
    for finding in report.findings[:3]:
        print(finding)
    print(f"report: {report.path}")
    if config.report.strict and report.missing:
        raise UserError(
            f"{report.path} lacks {len(report.missing)} things that are asked for: {'; '.join(report.missing)}"
        )
