"""One page with everything that was found, and the evidence for it."""

from keras_inat.report.page import write_report
from keras_inat.sections import Config


def run(config: Config) -> None:
    """Renders the report, and says where it is and what it found."""
    report = write_report(config)
    for finding in report.findings[:3]:
        print(finding)
    print(f"report: {report.path}")
