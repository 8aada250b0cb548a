"""`report`: writes one page with all results and their evidence."""

from keras_inat.errors import UserError
from keras_inat.report.page import write_report
from keras_inat.settings.schema import Config

NUM_FINDINGS = 3


def run(config: Config) -> None:
    """Writes the report and prints its first findings.

    Raises:
        UserError: `report.strict` is set, and a required section is missing.
    """
    report = write_report(config)
    for finding in report.findings[:NUM_FINDINGS]:
        print(finding)
    print(f"report: {report.path}")
    if config.report.strict and report.missing:
        raise UserError(
            f"{report.path} lacks {len(report.missing)} required sections: {'; '.join(report.missing)}. Its checklist "
            "names the command for each"
        )
