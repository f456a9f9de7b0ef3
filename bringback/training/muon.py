"""Muon: an optimizer whose updates are orthogonalized momentum, for the kernels of convolutions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bringback.runtime.compute import has_bfloat16

MOMENTUM = 0.95
_STEPS = 5  # of the Newton-Schulz iteration
_COEFFICIENTS = 3.4445, -4.775, 2.0315  # of its quintic polynomial, from Jordan et al.
_LIKE_ADAM = 0.2  # root mean square of the updates per unit of learning rate, about that of AdamW
_FEWEST = 16  # outputs; those of smaller kernels (gates, heads) mean something each


def is_kernel(parameter: nn.Parameter) -> bool:
    """Whether a parameter is for Muon: the kernel of a hidden convolution. All others are for AdamW."""
    return parameter.ndim == 4 and len(parameter) >= _FEWEST and parameter[0, 0].numel() > 1


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") with Nesterov momentum.

    Kernels are matrices (outputs, the rest). Updates are scaled as in Liu et al. 2025 ("Muon is scalable for LLM
    training"), so learning rates and weight decay mean the same as for AdamW. torch's own Muon takes no kernels.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all kernels that have a gradient. Closures are not supported."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if not state:
                    state["momentum"] = torch.zeros_like(kernel)
                momentum = state["momentum"].lerp_(kernel.grad, 1 - MOMENTUM)
                matrix = torch.lerp(kernel.grad, momentum, MOMENTUM).contiguous().flatten(1)
                update = orthogonalized(matrix).view(kernel.shape)
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(update, alpha=-group["lr"] * _LIKE_ADAM * max(matrix.shape) ** 0.5)


def orthogonalized(matrix: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to (N, M), float32: its singular values are 0.7 to 1.2.

    By a quintic Newton-Schulz iteration, for which bfloat16 is accurate enough where the device computes in it.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    fast = torch.bfloat16 if has_bfloat16(matrix.device) else torch.float32
    x = (matrix.T if tall else matrix).to(fast).contiguous()
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.T if tall else x).float()
