"""The cards of the kept models."""

from pathlib import Path

from report_workshop import Workshop

from keras_inat.reporting.history import read_history
from keras_inat.reporting.model_cards import write_cards


def read_card(workshop: Workshop, name: str) -> str:
    write_cards(read_history(workshop.runs).runs, workshop.reports)
    return (workshop.reports / "models" / f"{name}.md").read_text(encoding="utf-8").replace("\u00a0", " ")


def test_each_kept_model_has_a_card(workshop: Workshop) -> None:
    kept = workshop.add_run(correct=60, val=0.52)
    other = workshop.add_run(name="other", seed=3)
    kept.model.write_bytes(b"a model")
    folder = workshop.reports / "models"
    folder.mkdir(parents=True)
    (folder / "outdated.md").write_text("# Model card: of a deleted run")
    (folder / "mine.md").write_text("# Notes")
    card = read_card(workshop, kept.path.name)
    assert {path.name for path in folder.iterdir()} == {f"{kept.path.name}.md", "mine.md"}
    assert card.startswith(f"# Model card: {kept.path.name}")
    assert "as one of Amphibia, Aves, Fungi, Plantae." in card
    assert "It cannot reject an image" in card
    assert "toy (hash `toy-hash`) has 192 training images, 48 validation images" in card
    assert "| preprocessing | the centered square of the upright image, resized;" in card
    assert "100 test images for one evaluation at the end. 0 files were skipped." in card
    assert "Validation accuracy, by which the weights were selected: 52.0 %." in card
    assert "Test accuracy: 60.0 % (50.2 to 69.1 %, n = 100 images)." in card
    assert "| Amphibia | 25 |" in card
    assert other.path.name not in card


def test_a_card_states_missing_predictions(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.model.write_bytes(b"a model")
    run.predictions.unlink()
    assert "The predictions on the test images are not on disk." in read_card(workshop, run.path.name)


def test_a_class_is_text_in_a_card(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, ["<script>alert(1)</script>", "b|c"])
    run = workshop.add_run()
    run.model.write_bytes(b"a model")
    card = read_card(workshop, run.path.name)
    assert "<script>" not in card
    assert "\\<script\\>alert(1)" in card
    assert "b\\|c" in card


def test_the_author_is_named(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.model.touch()
    for author in ("Ada Lovelace", ""):
        write_cards(read_history(workshop.runs).runs, workshop.reports, author)
        [card] = (workshop.reports / "models").glob("*.md")
        text = card.read_text(encoding="utf-8")
        assert ("| author | Ada Lovelace |" in text) is bool(author)
        assert "| device | CPU, 2 cores |" in text
