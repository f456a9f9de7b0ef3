"""Convolutions whose weights are laid out for the processor once."""

from typing import Self

import torch
from torch import Tensor, nn

# What torch's own compiler packs weights by and calls for them. Without them convolutions are as they were.
_MKLDNN = getattr(torch.ops, "mkldnn", None)
_CONVOLVE = getattr(_MKLDNN, "_convolution_pointwise", None)
_REORDER = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)


class PackedConv2d(nn.Conv2d):
    """A convolution whose frozen weights are kept in the order in which oneDNN multiplies them, for the first size of
    input: otherwise they are brought into it at each call, which for small inputs takes longer than to multiply. The
    result is the same to the bit. With a gradient it is the plain convolution.
    """

    _packed: Tensor | None = None

    @classmethod
    def of(cls, plain: nn.Conv2d) -> Self:
        """Shares the weights of `plain`."""
        place = {"device": "meta", "dtype": plain.weight.dtype}
        sizes = plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, plain.padding
        packed = cls(*sizes, plain.dilation, plain.groups, plain.bias is not None, plain.padding_mode, **place)  # type: ignore[arg-type]
        packed.weight, packed.bias = plain.weight, plain.bias
        return packed

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(x)
        x = x.to(self.weight.dtype)  # as autocast would
        where = self.padding, self.stride, self.dilation, self.groups
        if self._packed is None:
            self._packed = _REORDER(self.weight.to_mkldnn(), *where, list(x.shape))  # type: ignore[misc]
        return _CONVOLVE(x, self._packed, self.bias, *where, "none", [], "")  # type: ignore[misc]


def packed(network: nn.Module) -> nn.Module:
    """The frozen network with its convolutions packed, in place: for bfloat16 on a CPU, where that pays."""
    for child, module in [*network.named_children()]:
        if isinstance(module, nn.Conv2d):
            if _can(module):
                setattr(network, child, PackedConv2d.of(module))
        else:
            packed(module)
    return network


def _can(convolution: nn.Conv2d) -> bool:
    known = _CONVOLVE is not None and _REORDER is not None and torch.backends.mkldnn.is_available()
    weight = convolution.weight
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return known and plain and weight.device.type == "cpu" and weight.dtype == torch.bfloat16
