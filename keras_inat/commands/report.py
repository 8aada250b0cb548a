"""`report`: writes one page with all results and their evidence."""

from pathlib import Path

from keras_inat.errors import UserError
from keras_inat.reporting.page import write_report
from keras_inat.settings.schema import Config

NUM_FINDINGS = 3


def run(config: Config) -> tuple[Path, list[str]]:
    """Writes the report and prints its first findings. Returns the path of the page, and all findings.

    Raises:
        UserError: `report.strict` is set, and a required section is missing.
    """
    page = write_report(config)
    for finding in page.findings[:NUM_FINDINGS]:
        print(finding)
    path = Path(config.report.directory) / "index.html"
    print(f"report: {path}")
    if config.report.strict and page.missing:
        raise UserError(
            f"{path} lacks {len(page.missing)} required sections: {'; '.join(page.missing)}. Its checklist names the "
            "command for each"
        )
    return path, page.findings
