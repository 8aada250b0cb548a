"""Epochs of a made-up run."""

from keras_inat.store.records import Epoch


def make_epoch(number: int, **fields) -> Epoch:
    defaults = {
        "stage": "scratch", "accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_balanced_accuracy": 0.5,
        "val_loss": 1.0, "seconds": 2.0, "learning_rate": 1e-3, "images_per_second": 500.0,
    }  # fmt: skip
    return Epoch(epoch=number, **defaults | fields)
