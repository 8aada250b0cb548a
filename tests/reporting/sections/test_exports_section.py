from export_records import build_row, write_records
from report_workshop import Workshop, format_text

from keras_inat.commands import report
from keras_inat.reporting.history import read_history
from keras_inat.reporting.sections.exports import describe_exports
from keras_inat.store.exports import ExportContract
from keras_inat.store.runs import RunFolder


def add_exports(run: RunFolder, marked: bool = False) -> None:
    """Adds files that stand for an ONNX model and an 8-bit LiteRT model."""
    run.model.write_bytes(b"k" * 2_000_000)
    run.export.mkdir()
    rows = []
    for name, file, size, gain in (
        ("onnx", "model.onnx", 1_500_000, 0.0),
        ("litert-int8", "model_int8.tflite", 4, -0.02),
    ):
        (run.export / file).write_bytes(b"x" * size)
        rows.append(
            build_row(
                name,
                file,
                bytes=size,
                max_difference=2e-6 if not gain else 0.03,
                agreement=1.0 if not gain else 0.96,
                accuracy=0.7 + gain,
                interval=(0.6, 0.8),
                gain=gain,
                gain_interval=(gain - 0.01, gain + 0.01),
                num_images=50,
                latency_ms={1: 1.25, 64: 60.0},
                marked=marked and gain < 0,
                runtime="onnxruntime 1.32.0" if not gain else "ai-edge-litert 2.3.0",
                calibration="200 training images, drawn with seed 0" if gain else "",
            )
        )
    accuracy = {"keras_accuracy": 0.7, "keras_interval": (0.6, 0.8), "num_images": 50}
    write_records(run, rows, accuracy | {"keras_latency_ms": {1: 9.0, 64: 120.0}})


def describe(workshop: Workshop) -> str:
    section = describe_exports(read_history(workshop.runs).runs, workshop.reports)
    return format_text(section).replace("\xa0", " ") if section else ""


def test_exports_stand_beside_keras(workshop: Workshop) -> None:
    run = workshop.add_run()
    assert describe(workshop) == ""
    add_exports(run)
    text = describe(workshop)
    title = run.path.name
    assert (
        f"{title} is exported as onnx. On 50 validation images, all predicted classes are those of Keras, and no "
        "probability differs by more than 2e-06." in text
    )
    assert (
        f"The 8-bit integers of {title} change the accuracy by −2.0 points (95 % interval −3.0 to −1.0, n = 50 "
        "images). Their ranges come from 200 training images, drawn with seed 0." in text
    )
    address = f"../runs/train-best/{title}"
    assert (
        f"{title} Keras [best.keras]({address}/best.keras) 2.0 MB – – 70.0 % 60.0 to 80.0 % – – 9.0 120.0 Keras, "
        "x86_64, 2 cores" in " ".join(text.split())
    )
    assert (
        f"{title} onnx [model.onnx]({address}/export/model.onnx) 1.5 MB 2e-06 100.0 % 70.0 % 60.0 to 80.0 % +0.0 "
        "−1.0 to +1.0 1.2 60.0 onnxruntime 1.32.0" in " ".join(text.split())
    )
    assert "marked" not in text


def test_the_app_is_linked_while_it_has_the_present_model(workshop: Workshop) -> None:
    run = workshop.add_run()
    add_exports(run)
    assert "index.html" not in describe(workshop)
    run.app.mkdir()
    run.app_page.write_bytes(b"x" * 2_500_000)
    run.app_contract.parent.mkdir()
    run.app_contract.write_bytes(run.export_contract.read_bytes())
    title = run.path.name
    address = f"../runs/train-best/{title}/app/index.html"
    row = f"{title} app [app/index.html]({address}) 2.5 MB – – – – – – – – onnx in a browser"
    assert row in " ".join(describe(workshop).split())
    contract = ExportContract.read(run.export_contract)
    contract.model_copy(update={"model_hash": "another"}).write(run.app_contract)
    assert "index.html" not in describe(workshop)


def test_integers_that_lose_more_than_a_point_are_marked(workshop: Workshop) -> None:
    add_exports(workshop.add_run(), marked=True)
    text = describe(workshop)
    assert "It loses more than 1 point." in text
    assert "litert-int8 (marked)" in text


def test_exports_of_another_model_are_not_shown(workshop: Workshop) -> None:
    run = workshop.add_run()
    add_exports(run)
    (run.export / "model.onnx").unlink()
    text = describe(workshop)
    assert "onnx" not in text
    assert "is exported with 8-bit integers only." in text
    run.model.write_bytes(b"another one")
    assert describe(workshop) == ""


def test_the_page_links_to_the_files(workshop: Workshop) -> None:
    run = workshop.add_run()
    add_exports(run)
    run.predictions.unlink()  # drawing them takes long
    report.run(workshop.config)
    page = workshop.read_page()
    href = f'<a href="../runs/train-best/{run.path.name}/export/model.onnx">model.onnx</a>'
    assert page.count(href) == 1
    assert ">Exports</h3>" in page
    target = (workshop.reports / f"../runs/train-best/{run.path.name}/export/model.onnx").resolve()
    assert target.is_file()
