"""The whole story on drawn organisms: search, train, fine-tune, report; offline, on a CPU, in minutes."""

import time

from keras_inat.commands import report, sweep
from keras_inat.data.packs import load_pack
from keras_inat.settings.loading import build_config, merge, override, read_yaml
from keras_inat.settings.schema import Config
from keras_inat.store.runs import RunFolder, find_finished, finish_run
from keras_inat.store.sweeps import find_best_config
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.session import fit

# The backbone learns drawn things first: boats, keys, lamps. It is to the organisms what ImageNet is to photographs.
PRETRAINING = {"data.source": "demo-things", "run.name": "demo-things", "training.epochs": 10}
# So small a backbone, from so different a world, has to change more than one trained on ImageNet.
FINETUNING = {"backbone_rate": 1.0, "batch_norm": "trained", "unfreeze": 3}
STRATEGIES = ("head", "topk", "full")


def run(config: Config) -> None:
    """Runs every step that is not already done, so that an interrupted demo goes on where it stopped."""
    began = time.perf_counter()
    _title("1/4  search the hyperparameters of the 5-block CNN")
    sweep.run(config)

    _title("2/4  train the best configuration fully, judge it once on the test images")
    values = read_yaml(find_best_config(config.run.directory, config.run.name))
    best = build_config(merge(config.model_dump(), values))
    train_and_evaluate(best, "train-best", "scratch")

    _title("3/4  pretrain a backbone on other drawings, then adapt it by several strategies")
    backbone = _pretrain(override(best, PRETRAINING))
    for strategy in STRATEGIES:
        changes = {f"finetune.{key}": value for key, value in FINETUNING.items()}
        changes |= {"finetune.strategy": strategy, "finetune.weights": str(backbone.model)}
        changes |= {"run.name": f"demo-{strategy}", "training.epochs": 5}
        train_and_evaluate(override(best, changes), "finetune", strategy)

    _title("4/4  one page with the evidence")
    report.run(config)
    print(f"The demo took {time.perf_counter() - began:.0f} s.")


def _title(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def _pretrain(config: Config) -> RunFolder:
    """Trains the backbone; its test images are of no interest and stay unseen."""
    data_hash = load_pack(config).hash
    if done := find_finished(config, "pretrain", data_hash):
        print(f"pretraining: already done, {done.path}")
        return done
    with claim_run(config, "pretrain", data_hash) as run:
        finish_run(run, fit(config, run, "pretraining").result)
    return run
