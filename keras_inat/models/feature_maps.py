"""The last feature maps of a trained network, which end its backbone."""

from typing import Any

import keras

# Layers and operations that reduce maps to one value for each channel.
POOLINGS = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Mean", "Max", "Sum")


def find_last_maps(model: keras.Model) -> list[Any]:
    """Returns the last feature maps of a flat network, `(batch, height, width, channels)`: the end of each branch.

    Feature maps are computed from the image by at least one layer with a kernel, and by no global pooling except as a
    factor, as in squeeze-and-excitation blocks. They are the last ones if no further maps are computed from them.

    Raises:
        ValueError: There are none, or layers after them compute sequences of features, as in a vision transformer.
    """
    maps = set[int]()  # the ids of tensors
    learned = set[int]()  # the same, of those that depend on a kernel
    last = dict[int, Any]()
    for operation in model.operations:
        [node] = operation._inbound_nodes
        inputs = set(map(id, node.input_tensors))
        is_spatial = node.is_input or (bool(inputs & maps) and type(operation).__name__ not in POOLINGS)
        for output in node.outputs:
            if has_kernel(operation) or inputs & learned:
                learned.add(id(output))
            if is_spatial and len(output.shape) == 4:
                maps.add(id(output))
                for each in inputs:
                    last.pop(each, None)
                if id(output) in learned:
                    last[id(output)] = output
            elif has_kernel(operation) and len(output.shape) == 3:
                raise ValueError(f"its layer {operation.name!r} computes sequences of features, not feature maps")
    if not last:
        raise ValueError(
            "it computes no feature maps, (height, width, channels), by layers with kernels: give a convolutional "
            "network"
        )
    return list(last.values())


def has_kernel(operation: Any) -> bool:
    """Returns True if a layer has a kernel."""
    return any("kernel" in weight.name and len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))
