from pathlib import Path

from report_workshop import Workshop

from keras_inat.report.page import write_report


def test_each_kept_model_has_a_card(workshop: Workshop) -> None:
    kept, other = workshop.add_run(correct=60, val=0.52), workshop.add_run(name="other", seed=3)
    kept.model.write_bytes(b"a model")
    folder = Path(workshop.config.report.directory) / "models"
    folder.mkdir(parents=True)
    (folder / "stale.md").write_text("# Model card: of a run that is gone")
    (folder / "mine.md").write_text("# Notes")
    write_report(workshop.config)
    assert {path.name for path in folder.iterdir()} == {f"{kept.path.name}.md", "mine.md"}
    card = (folder / f"{kept.path.name}.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert card.startswith(f"# Model card: {kept.path.name}")
    assert "Telling apart Amphibia, Aves, Fungi, Plantae" in card
    assert "it cannot say that it is none of them" in card
    assert "toy (hash `toy-hash`): 192 images to train on, 48 to choose by, 100 to be judged on once" in card
    assert "Validation accuracy, by which its weights were chosen: 52.0 %." in card
    assert "Test accuracy: 60.0 % (50.2 to 69.1 %, n = 100 images)." in card
    assert "| Amphibia | 25 |" in card
    assert other.path.name not in card


def test_a_card_says_what_is_not_there(workshop: Workshop) -> None:
    run = workshop.add_run()
    run.model.write_bytes(b"a model")
    run.predictions.unlink()
    write_report(workshop.config)
    card = (Path(workshop.config.report.directory) / "models" / f"{run.path.name}.md").read_text(encoding="utf-8")
    assert "Its predictions on the test images are not on disk." in card


def test_a_class_is_text_in_a_card(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, ["<script>alert(1)</script>", "b|c"])
    workshop.add_run().model.write_bytes(b"a model")
    write_report(workshop.config)
    [card] = (Path(workshop.config.report.directory) / "models").iterdir()
    text = card.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "\\<script\\>alert(1)" in text
    assert "b\\|c" in text
