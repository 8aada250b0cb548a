"""The names of backbones."""

import pytest

from keras_inat.models.backbones import name_backbone
from keras_inat.settings.networks import Finetune


@pytest.mark.parametrize(
    ("backbone", "weights", "name"),
    [
        ("MobileNet", "imagenet", "MobileNet"),
        ("MobileNet", "weights/mobilenet_2_5_224_tf_no_top.h5", "MobileNet 0.25"),
        ("MobileNet", "weights/mobilenet_1_0_224_tf_no_top.h5", "MobileNet"),
        ("MobileNetV2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5", "MobileNetV2 0.35"),
        ("MobileNetV3Small", "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5", "MobileNetV3Small 0.75"),
        ("ResNet50", "mine_0.5_.weights.h5", "ResNet50"),
        ("MobileNet", "runs/pretrain/20261201-172108-things-seed0/best.keras", "things-seed0"),
        ("MobileNet", "/home/ada/plankton.keras", "plankton"),
    ],
)
def test_the_name_of_a_backbone_has_its_width(backbone: str, weights: str, name: str) -> None:
    assert name_backbone(Finetune(backbone=backbone, weights=weights)) == name
