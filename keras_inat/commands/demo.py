"""The command `demo`: search, train, fine-tune, export and report on drawn organisms, offline, on a CPU, in minutes."""

import time

from keras_inat.commands import app, report, sweep
from keras_inat.data.packs import load_pack
from keras_inat.errors import PROGRAM, UserError
from keras_inat.export.exports import export_run
from keras_inat.export.packages import list_missing
from keras_inat.settings.loading import build_config, merge, override
from keras_inat.settings.schema import Config
from keras_inat.settings.yaml_files import read_yaml
from keras_inat.store.exports import find_app, find_export
from keras_inat.store.records import Result
from keras_inat.store.runs import RunFolder, find_finished, finish_run
from keras_inat.store.sweeps import find_best_config
from keras_inat.training.checkpoint import claim_run
from keras_inat.training.evaluation import train_and_evaluate
from keras_inat.training.session import fit

# The backbone is pretrained on drawings of other things, in place of ImageNet.
PRETRAINING = {"data.source": "demo-things", "run.name": "demo-things", "training.epochs": 10}
# A small backbone, pretrained on images this different, needs larger changes than one pretrained on ImageNet.
FINETUNING = {
    "finetune.backbone_rate": 1.0,
    "finetune.batch_norm": "trained",
    "finetune.unfreeze": 3,
    "training.epochs": 5,
}


def run(config: Config) -> None:
    """Runs all steps. Finished steps are skipped, so that an interrupted demo resumes."""
    began = time.perf_counter()
    print("\n=== 1/5  search the hyperparameters of the 5-block CNN", flush=True)
    sweep.run(config)

    print("\n=== 2/5  train the best configuration fully, evaluate it once on the test images", flush=True)
    best_values = read_yaml(find_best_config(config.run.directory, config.run.name))
    best = build_config(merge(config.model_dump(), best_values))
    scratch = train_and_evaluate(best, "train-best", "scratch")

    print("\n=== 3/5  pretrain a backbone on other drawings, then fine-tune it by several strategies", flush=True)
    backbone = _pretrain(override(best, PRETRAINING))
    for strategy in ("head", "topk", "full"):
        changes = FINETUNING | {
            "run.name": f"demo-{strategy}",
            "finetune.strategy": strategy,
            "finetune.weights": str(backbone.model),
        }
        train_and_evaluate(override(best, changes), "finetune", strategy)

    print("\n=== 4/5  export the best model from scratch for other programs, and make its app", flush=True)
    _export(scratch)
    _make_app(scratch, config)

    print("\n=== 5/5  one page with the evidence", flush=True)
    report.run(config)
    print(f"The demo took {time.perf_counter() - began:.0f} s.")


def _export(run: RunFolder) -> None:
    """Makes the ONNX model of a run, if the packages for it are installed."""
    if missing := list_missing(["onnx"]):
        print(f"no export: pip install 'keras-inat[export]' installs {', '.join(missing)}, then `{PROGRAM} export`")
    elif exported := find_export(run, "onnx"):
        print(f"export: already done, {exported[0]}")
    else:
        export_run(run, Result.read(run.result), ["onnx"])


def _make_app(run: RunFolder, config: Config) -> None:
    """Makes the app of a run, if it is exported and the browser's runtime can be fetched."""
    if page := find_app(run):
        print(f"app: already done, {page}")
    elif find_export(run, "onnx"):
        try:
            app.write_app(run, Result.read(run.result), config)
        except UserError as error:
            print(f"no app: {error}")


def _pretrain(config: Config) -> RunFolder:
    """Trains the backbone. It is not evaluated on test images."""
    data_hash = load_pack(config).manifest.hash
    if finished := find_finished(config, "pretrain", data_hash):
        print(f"pretraining: already done, {finished.path}")
        return finished
    with claim_run(config, "pretrain", data_hash) as run:
        finish_run(run, fit(config, run, "pretraining").result)
    return run
