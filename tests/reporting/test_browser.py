"""The page in a browser. Without Chromium these tests are skipped, unless REQUIRE_BROWSER is set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_workshop import Workshop

from keras_inat import plotting
from keras_inat.reporting.page import write_report
from keras_inat.reporting.sections import hyperparameter_effects
from keras_inat.settings.loading import override

HOSTILE = ["<script>alert(1)</script>", "quoted \" and ' name", "line\nbreak", "🦋" * 250]


@pytest.fixture(scope="module")
def path(browser, tmp_path_factory) -> Path:
    """The page of a sweep and of two runs that are compared, with hostile class names."""
    workshop = Workshop(tmp_path_factory.mktemp("page"), HOSTILE)
    rng = np.random.default_rng(0)
    settings = [
        {
            "model.filters": int(rng.choice([16, 32, 64])),
            "model.batch_norm": bool(number % 2),
            "training.rate": rng.random(),
        }
        for number in range(40)
    ]
    workshop.add_sweep(
        "s", settings, [0.4 + 0.05 * chosen["model.batch_norm"] + rng.normal(0, 0.01) for chosen in settings]
    )
    workshop.add_run(name="small", correct=60)
    workshop.add_suspects(7)
    workshop.add_run(name="large", correct=70, val=0.6, settings={"model.filters": [8, 16, 32]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(plotting.STYLE, "savefig.dpi", 60)
        patch.setattr(hyperparameter_effects, "measure_importance", lambda sweep: [])  # it takes the most time
        write_report(override(workshop.config, {"report.compare": "small large"}))
    return (workshop.reports / "index.html").resolve()


@pytest.fixture
def page(browser, path: Path):
    page = browser.new_page(viewport={"width": 1024, "height": 800})
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("dialog", lambda dialog: page.problems.append(dialog.message))
    page.on(
        "request",
        lambda request: page.problems.append(request.url) if not request.url.startswith(("file:", "data:")) else None,
    )
    page.goto(path.as_uri())
    yield page
    assert page.problems == []
    page.close()


def test_every_picture_loads_and_has_an_alternative_text(page) -> None:
    for picture in page.query_selector_all("img"):
        picture.evaluate("it => it.decode()")
        assert picture.evaluate("it => it.naturalWidth") > 100
        assert len(picture.get_attribute("alt")) > 10


@pytest.mark.parametrize("width", [390, 1024, 1920])
def test_nothing_overflows(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def count_selected(page) -> int:
    return len(page.query_selector_all(".parallel path:not(.off)"))


def test_lines_are_selected_by_dragging(page) -> None:
    grip = page.query_selector(".parallel .grip")
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    assert count_selected(page) == 40
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] * 0.2, steps=4)
    page.mouse.up()
    selected = count_selected(page)
    assert 0 < selected < 40
    assert page.inner_text(".parallel output").startswith(f"{selected} of 40 trials. Best: trial ")
    page.mouse.click(middle, box["y"] + box["height"] * 0.6)
    assert count_selected(page) == 40


def read_axes(page) -> list[str]:
    places = page.evaluate(
        "[...document.querySelectorAll('.parallel .name')].map(n => [n.getBoundingClientRect().x, n.textContent])"
    )
    return [name for _, name in sorted(places)]


def test_axes_are_moved_by_mouse_and_keyboard(page) -> None:
    before = read_axes(page)
    name = page.query_selector(".parallel .name")
    name.scroll_into_view_if_needed()
    first, other = (element.bounding_box() for element in page.query_selector_all(".parallel .name")[:2])
    path = page.query_selector(".parallel path").get_attribute("d")
    page.mouse.move(first["x"] + first["width"] / 2, first["y"] + first["height"] / 2)
    page.mouse.down()
    page.mouse.move(other["x"] + other["width"] / 2, other["y"] + 4, steps=4)
    page.mouse.up()
    assert read_axes(page) == [before[1], before[0], *before[2:]]
    assert page.query_selector(".parallel path").get_attribute("d") != path
    name.focus()
    page.keyboard.press("ArrowLeft")
    assert read_axes(page) == before
    page.keyboard.press("ArrowUp")
    assert 0 < (upper := count_selected(page)) < 40
    page.keyboard.press("ArrowDown")
    assert 0 < (lower := count_selected(page)) < 40
    page.keyboard.press("Escape")
    assert count_selected(page) == 40
    # A key that presses a button selects the upper half, then the lower half, then all.
    counts = []
    for key in ("Enter", "Space", "Enter"):
        page.keyboard.press(key)
        counts.append(count_selected(page))
    assert counts == [upper, lower, 40]


def test_pointing_at_a_line_describes_its_trial(page) -> None:
    line = page.query_selector_all(".parallel path")[-1]
    line.scroll_into_view_if_needed()
    line.dispatch_event("pointerenter")
    assert page.inner_text(".parallel output").startswith("trial ")


def test_names_are_text(page) -> None:
    text = page.inner_text("main")
    assert "<script>alert(1)</script>" in text
    assert "quoted \" and ' name" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_inaccessible(page, scheme: str) -> None:
    from axe_core_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    # The contrast of text on the shadow of what scrolls cannot be computed.
    page.add_style_tag(content=".scroll { background: none !important }")
    outcome = Axe().run(page)
    found = [(rule["id"], rule["impact"], rule["nodes"][0]["html"][:200]) for rule in outcome["violations"]]
    assert found == []
    assert [rule["id"] for rule in outcome["incomplete"] if not rule["nodes"]] == []  # a check that failed


def test_printed_figures_are_whole(page, tmp_path: Path) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # the width of A4 without margins
    boxes = page.evaluate(
        "[...document.querySelectorAll('figure:not(.table) img')].filter(i => i.offsetParent)"
        ".map(i => i.getBoundingClientRect())"
        ".map(box => [box.height, box.right])"
    )
    assert [box for box in boxes if not (0 < box[0] < 960 and box[1] <= 688)] == []
    assert page.evaluate("getComputedStyle(document.querySelector('.picture')).breakInside") == "avoid"
    assert page.evaluate("getComputedStyle(document.querySelector('.parallel .plot')).display") == "none"
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 50_000


def test_one_button_opens_and_folds_all_details(page) -> None:
    def count_open() -> int:
        return page.evaluate("document.querySelectorAll('details.fold[open]').length")

    total = page.evaluate("document.querySelectorAll('details.fold').length")
    assert total > 3
    assert count_open() == 0
    button = page.query_selector(".unfold")
    button.click()
    assert (count_open(), button.inner_text()) == (total, "Fold all details")
    button.click()
    assert (count_open(), button.inner_text()) == (0, "Open all details")


@pytest.mark.parametrize(("width", "is_open"), [(390, False), (1280, True)])
def test_on_a_narrow_screen_the_page_begins_with_the_answer(browser, path: Path, width: int, is_open: bool) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.querySelector('nav details').open") is is_open
    assert page.query_selector(".cards strong").bounding_box()["y"] < 500
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_follow_the_color_scheme(browser, path: Path, scheme: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page.goto(path.as_uri())
    picture = page.query_selector("img[src*='learning-curves']")
    picture.scroll_into_view_if_needed()
    picture.screenshot(path=tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        median = int(np.median(np.asarray(image.convert("L"))))
    assert (median > 230) if scheme == "light" else (median < 60)
    page.close()
