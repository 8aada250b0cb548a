"""The stored explanations of a model."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from keras_inat.store.explanations import (
    Attributions,
    DeletionInsertion,
    Explanations,
    FilterExplanation,
    NeuronExplanation,
    StageMaps,
    StageResponses,
)

PICTURES = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)


@pytest.fixture
def explanations() -> Explanations:
    rows = np.arange(2)
    curve = DeletionInsertion(np.ones((2, 13), np.float32), np.linspace([0, 0], [1, 1], 13).T)
    return Explanations(
        first_layer=PICTURES.astype(np.float32),
        feature_maps=[StageMaps("block1", 8, 1, rows, PICTURES[0].astype(np.float16))],
        responses=[StageResponses("block1", np.full((2, 3), np.nan, np.float32), np.ones((2, 8)), rows)],
        filters=[FilterExplanation("block1", 3, PICTURES[0].astype(np.uint8), 1.5, PICTURES, rows)],
        neurons=[NeuronExplanation("block1", 3, 0, 1, (1, 0), rows, PICTURES, 1, 0.5)],
        attributions=Attributions(
            rows, rows, rows / 2, {"guided": PICTURES}, {"Grad-CAM": PICTURES}, rows, {"Grad-CAM": curve}
        ),
        failures={"predictions": "the network has no activations"},
    )


def test_explanations_are_read_as_written(tmp_path: Path, explanations: Explanations) -> None:
    path = tmp_path / "explanations.npz"
    explanations.write(path, "key")
    found = Explanations.read(path, "key")
    assert found is not None
    np.testing.assert_equal(asdict(found), asdict(explanations))
    assert found.first_layer is not None
    assert found.first_layer.dtype == np.float32
    assert found.neurons is not None
    assert found.neurons[0].images == (1, 0)
    assert found.attributions is not None
    np.testing.assert_allclose(found.attributions.curves["Grad-CAM"].scores, 0.5 - 1)
    first = path.read_bytes()
    explanations.write(path, "key")
    assert path.read_bytes() == first


def test_other_keys_and_damaged_files_are_not_read(tmp_path: Path, explanations: Explanations) -> None:
    path = tmp_path / "explanations.npz"
    assert Explanations.read(path, "key") is None
    explanations.write(path, "key")
    assert Explanations.read(path, "another") is None
    content = path.read_bytes()
    for damaged in (b"", b"damaged", content[: len(content) // 2], content[:-200] + bytes(200)):
        path.write_bytes(damaged)
        assert Explanations.read(path, "key") is None
    np.savez_compressed(path, other=np.ones(3))
    assert Explanations.read(path, "key") is None
