"""Muon for networks of convolutions: every kernel takes steps of equal size in all directions."""

from typing import Any

import keras
from keras import ops


class Muon(keras.optimizers.Muon):
    """Orthogonalised momentum for hidden kernels (Jordan et al. 2024, "Muon"), AdamW for everything else.

    Keras's own takes matrices only. Here the kernel of a convolution, `(height, width, inputs, filters)`, is the matrix
    `(height * width * inputs, filters)`. Left to AdamW are vectors, the kernels of depthwise convolutions, which are
    vectors side by side, and those of the layers named in `exclude_layers`, as a rule the last one.

    Steps are scaled so that a learning rate and a weight decay mean what they mean for AdamW (Liu et al. 2025, arXiv
    2502.16982).
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        matrix = len(variable.shape) > 1 and variable.shape[-1] > 1
        return not matrix or any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        matrix = ops.reshape(ops.add(gradient, self.momentum * m), (-1, variable.shape[-1]))
        step = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(step, variable.shape))

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """The nearest matrix with orthonormal rows or columns, as the parent class finds it but for rounding.

        The iteration multiplies `x` by polynomials of its Gram matrix, which commute: they are gathered among small
        square matrices, and the large one is touched twice instead of twice a step. Of a 2304 x 512 kernel that takes
        4 instead of 7 billion multiply-accumulates.
        """
        wide = x.shape[0] < x.shape[1]
        if wide:
            x = ops.transpose(x)
        x = x / (ops.norm(x) + 1e-7)
        gram, identity = ops.matmul(ops.transpose(x), x), ops.eye(x.shape[1], dtype=x.dtype)
        total = identity
        for _ in range(steps):
            factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * ops.matmul(gram, gram)
            total = ops.matmul(total, factor)
            gram = ops.matmul(factor, ops.matmul(gram, factor))
        x = ops.matmul(x, total)
        return ops.transpose(x) if wide else x
