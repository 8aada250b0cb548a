"""The page of a model, in a browser: it predicts what Keras predicts, and nothing leaves it."""

import base64
import io
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_inat.data.decode import decode_image
from keras_inat.export.app.page import write_page
from keras_inat.export.app.server import build_server
from keras_inat.export.contract import list_steps
from keras_inat.export.graph import MAPS, build_export_model
from keras_inat.export.onnx_graph import write_onnx
from keras_inat.models.cnn import build_cnn
from keras_inat.settings.schema import Model
from keras_inat.store.exports import ExportAccuracy, ExportContract, ExportInput
from keras_inat.store.records import Preparation

pytest.importorskip("tf2onnx", reason="the extra `export` is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")

SIZE = 32
TEMPERATURE = 1.4
NAMES = ("fox", "owl", "<script>alert(1)</script>", "line\nbreak \u2028 and \" quotes '", "🦋" * 250)
FITS = ("crop", "pad", "squash")


def build_network(pooling="average", num_classes=5):
    """Returns a network with random weights, whose probabilities are neither equal nor saturated."""
    keras.utils.set_random_seed(3)
    settings = Model(num_blocks=2, filters=8, pooling=pooling, dense_units=0, activation="gelu")
    network = build_cnn(settings, SIZE, num_classes)
    head = network.layers[-1]
    head.kernel.assign(head.kernel * 4)
    return network


def build_contract(fit="crop", names=NAMES, outputs=("probabilities", MAPS), **values):
    preparation = Preparation(fit=fit)
    given = {
        "name": "<img src=x onerror=alert(2)>",
        "classes": names,
        "input": ExportInput(size=SIZE),
        "outputs": outputs,
        "preparation": preparation,
        "steps": list_steps(SIZE, preparation),
        "temperature": TEMPERATURE,
        "card": "A network with random weights.",
        "accuracy": ExportAccuracy(value=0.5, interval=(0.4, 0.6), num_images=100, images="test"),
        "keras": keras.__version__,
        "keras_inat": "0.1.0",
        "model_hash": "none",
    }
    return ExportContract(**given | values)


def write_model(network, contract, folder):
    with warnings.catch_warnings(action="ignore"):  # Keras's exporter uses deprecated names of NumPy
        write_onnx(build_export_model(network), folder / "model.onnx", contract)
    return (folder / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def network(browser, runtime):
    return build_network()  # after the fixtures that skip


@pytest.fixture(scope="module")
def folders(network, runtime, tmp_path_factory) -> Path:
    """A folder for each way of making a square."""
    folder = tmp_path_factory.mktemp("app")
    model = write_model(network, build_contract(), folder)
    for fit in FITS:
        write_page(folder / fit, model, build_contract(fit), runtime)
    return folder


@pytest.fixture
def open_page(browser):
    """Opens pages, and fails if one reports an error or asks for anything from elsewhere."""
    from playwright.sync_api import expect

    problems = []
    pages = []

    def open_(address, **options):
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: is_own(request.url) or problems.append(request.url))
        own = address.rpartition("/")[0]

        def is_own(url):
            return url.startswith((own, "blob:"))

        page.goto(address)
        expect(page.locator("#status")).to_have_text("The model is ready.", timeout=30_000)
        return page

    yield open_
    for page in pages:
        page.close()
    assert problems == []


def choose(page, path):
    from playwright.sync_api import expect

    page.set_input_files("#file", path)
    expect(page.locator("#status")).to_contain_text(path.name, timeout=30_000)
    expect(page.locator("#status")).not_to_contain_text("Classifying", timeout=30_000)
    return page.inner_text("#status")


def read_input(page):
    """Returns the image that the network sees."""
    return np.array(page.evaluate("[...current.image]"), np.uint8).reshape(SIZE, SIZE, 3)


def read_status(page, text):
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_contain_text(text, timeout=30_000)
    return page.inner_text("#status")


def draw(mode="RGB", size=(150, 101)):
    """Returns a picture of smooth colors, edges and some noise."""
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    bands = [128 + 90 * np.sin(8 * (x + k * y) + k) * (np.hypot(x - 0.4, y - 0.6) < 0.5 + k / 9) for k in range(4)]
    pixels = (np.stack(bands, -1) + rng.normal(0, 5, (*x.shape, 4))).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels) if mode == "RGBA" else Image.fromarray(pixels[..., :3]).convert(mode)


def write_files(folder):
    """Writes pictures in the formats that differ. Returns their paths."""
    turned = Image.Exif()
    turned[0x0112] = 6
    draw().save(folder / "plain.png")
    draw(size=(SIZE, SIZE)).save(folder / "exact.png")
    draw("RGBA").save(folder / "alpha.png")
    draw("L").save(folder / "gray.png")
    draw("P").save(folder / "palette.png")
    draw().save(folder / "turned.png", exif=turned)
    draw().save(folder / "small.jpg", quality=95)
    draw(size=(1200, 904)).save(folder / "large.jpg", quality=90)
    draw(size=(1200, 904)).save(folder / "turned.jpg", exif=turned, quality=90)
    draw("CMYK").save(folder / "cmyk.jpg", quality=95)
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))


def predict(network, pixels):
    """Returns the calibrated probabilities of Keras."""
    probabilities = np.asarray(network(pixels[None].astype(np.float32)))[0].astype(np.float64)
    powers = probabilities ** (1 / TEMPERATURE)
    return powers / powers.sum()


@pytest.mark.parametrize("fit", FITS)
def test_the_page_predicts_what_keras_predicts(folders, network, open_page, workplace, fit):
    page = open_page((folders / fit / "index.html").as_uri())
    files = write_files(workplace)
    assert len(files) == 10
    for path in files:
        status = choose(page, path)
        probabilities = page.evaluate("current.probabilities")
        ours = decode_image(path.read_bytes(), SIZE, Preparation(fit=fit))
        expected = predict(network, ours)
        assert 0.3 < expected.max() < 0.95
        np.testing.assert_allclose(probabilities, expected, atol=1e-3, err_msg=path.name)
        difference = np.abs(read_input(page) - ours.astype(int))
        # Decoders of JPEG, and the rounding of alpha, differ by a level or two.
        assert difference.max() <= (2 if path.suffix == ".jpg" or path.stem == "alpha" else 1), path.name
        best = " ".join(NAMES[expected.argmax()].split())
        assert " ".join(status.split()).startswith(f"{path.name}: {best} {100 * max(probabilities):.1f} %, then ")
        rows = page.locator(".class").all_inner_texts()
        assert len(rows) == 5
        assert f"{100 * np.sort(probabilities)[-2]:.1f}" in rows[1]


DROP = """(content) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_an_image_is_dropped(folders, open_page):
    page = open_page((folders / "crop" / "index.html").as_uri())
    content = io.BytesIO()
    draw().save(content, "png")
    page.evaluate(DROP, base64.b64encode(content.getvalue()).decode())
    assert "%" in read_status(page, "dropped.png: ")
    assert page.inner_text("#caption") == "dropped.png, 150 x 101 pixels. The network sees this centered square only."


def test_maps_are_those_of_the_model_and_are_chosen_by_keyboard(folders, network, open_page, workplace):
    page = open_page((folders / "crop" / "index.html").as_uri())
    draw().save(workplace / "a.png")
    choose(page, workplace / "a.png")
    pixels = read_input(page)
    expected = np.asarray(build_export_model(network)(pixels[None])[MAPS])[0]
    values = page.evaluate("[...current.maps.class_activation_maps.values]")
    np.testing.assert_allclose(np.reshape(values, expected.shape), expected, atol=1e-4)
    order = np.argsort(-predict(network, pixels))
    assert " ".join(page.inner_text("#shown").split()).startswith(
        f"Class-activation map of {' '.join(NAMES[order[0]].split())}: strongest at the "
    )
    picture = page.evaluate("document.querySelector('#map').toDataURL()")
    page.locator("input[name=class]").first.focus()
    page.keyboard.press("ArrowDown")
    assert " ".join(NAMES[order[1]].split())[:40] in " ".join(page.inner_text("#shown").split())
    assert page.evaluate("document.querySelector('#map').toDataURL()") != picture
    page.select_option("#kind", label="none")
    assert not page.is_visible("#map")
    assert page.inner_text("#shown") == ""


def test_an_occlusion_map_is_the_fall_of_the_probabilities(runtime, browser, tmp_path, open_page):
    names = tuple(f"class {number}" for number in range(1000))
    network = build_network("flatten", len(names))
    contract = build_contract(names=names, outputs=("probabilities",))
    write_page(tmp_path / "app", write_model(network, contract, tmp_path), contract, runtime)
    page = open_page((tmp_path / "app" / "index.html").as_uri())
    draw().save(tmp_path / "a.png")
    choose(page, tmp_path / "a.png")
    assert page.inner_text("#legend") == "The 5 most probable of 1000 classes"
    assert not page.is_visible("#map")
    page.select_option("#kind", "occlusion")
    page.locator("#map").wait_for(timeout=30_000)
    assert page.inner_text("#shown").startswith("Occlusion map of class ")
    pixels = read_input(page)
    covered = pixels.copy()
    covered[10:18, 18:26] = 128  # row 3 and column 5 of 8, a fourth of the side
    whole, part = np.asarray(network(np.stack([pixels, covered]).astype(np.float32)))
    found = page.evaluate("[...current.maps.occlusion.values]")
    np.testing.assert_allclose(np.reshape(found, (8, 8, -1))[3, 5], whole - part, atol=1e-6)


def test_a_file_that_cannot_be_used_gets_one_line(folders, open_page, workplace):
    page = open_page((folders / "crop" / "index.html").as_uri())
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Path("text.txt").write_text("text")
    Image.new("RGB", (1, 1)).save("dot.png")
    Image.new("RGB", (400, 20)).save("wide.png")
    draw().save("<img src=x onerror=alert(3)>.png")
    reasons = {
        "broken.png": "cannot be decoded: this browser reads JPEG, PNG, WebP, GIF and BMP, and newer ones AVIF.",
        "text.txt": "cannot be decoded: this browser reads JPEG, PNG, WebP, GIF and BMP, and newer ones AVIF.",
        "dot.png": "is too small (1 x 1 pixels): a side needs 8 pixels.",
        "wide.png": "is too long and thin (400 x 20 pixels).",
    }
    for name, reason in reasons.items():
        assert choose(page, workplace / name) == f"{name} {reason}"
        assert not page.is_visible("#result")
    assert "%" in choose(page, workplace / "<img src=x onerror=alert(3)>.png")
    assert page.is_visible("#result")


def test_a_model_of_another_size_gets_one_line(network, runtime, tmp_path, open_page):
    contract = build_contract()
    steps = list_steps(2 * SIZE, Preparation())
    other = contract.model_copy(update={"input": ExportInput(size=2 * SIZE), "steps": steps})
    write_page(tmp_path / "app", write_model(network, contract, tmp_path), other, runtime)
    page = open_page((tmp_path / "app" / "index.html").as_uri())
    draw().save(tmp_path / "a.png")
    assert choose(page, tmp_path / "a.png").startswith(
        "a.png cannot be classified: the model does not fit its contract ("
    )


@pytest.fixture
def server(folders):
    with build_server(folders / "crop", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_page_works_without_a_network_after_the_first_visit(server, open_page, workplace):
    from playwright.sync_api import expect

    page = open_page(f"http://127.0.0.1:{server.server_port}/")
    expect(page.locator("#offline")).to_have_text("This page now works without a network, too.", timeout=30_000)
    server.shutdown()
    server.server_close()
    page.reload()
    read_status(page, "The model is ready.")
    draw().save(workplace / "a.png")
    assert "%" in choose(page, workplace / "a.png")


def test_the_page_cannot_connect_to_anything(server, browser):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.evaluate("globalThis.blocked = []")
    page.evaluate("addEventListener('securitypolicyviolation', (event) => blocked.push(event.blockedURI))")
    assert page.evaluate("fetch(location.href).then(() => 'sent', () => 'refused')") == "refused"
    picture = "Object.assign(new Image(), { onerror: done, src: 'http://127.0.0.1:9/a' })"
    page.evaluate(f"new Promise((done) => {picture})")
    assert page.evaluate("blocked") == [page.url, "http://127.0.0.1:9/a"]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_accessible_and_nothing_overflows(folders, open_page, workplace, scheme, width):
    from axe_core_python.sync_playwright import Axe

    is_phone = width == 390
    page = open_page(
        (folders / "pad" / "index.html").as_uri(),
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        is_mobile=is_phone,
        has_touch=is_phone,
    )
    assert page.is_visible(".camera") == is_phone
    assert Axe().run(page)["violations"] == []
    draw().save(workplace / "a.png")
    choose(page, workplace / "a.png")
    page.locator("#list").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found] == []
    assert "<script>alert(1)</script>" in page.inner_text("#names")
    assert "<img src=x onerror=alert(2)>, 5 classes" in page.inner_text("#summary")
