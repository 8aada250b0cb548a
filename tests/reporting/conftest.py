"""Fixtures that the tests of the report share."""

from pathlib import Path

import pytest
from report_workshop import Workshop

from keras_inat import plotting


@pytest.fixture(autouse=True)
def _draw_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes pictures of few pixels, in a fraction of the time."""
    monkeypatch.setitem(plotting.STYLE, "savefig.dpi", 30)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
