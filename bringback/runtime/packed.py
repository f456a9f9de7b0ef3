"""Convolutions whose weights are laid out for the processor once."""

from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn


class PackedConv2d(nn.Conv2d):
    """A convolution whose frozen weights are kept in the order in which oneDNN multiplies them, for the first size of
    input: otherwise they are brought into it at each call, which for small inputs takes longer than to multiply. The
    result is the same to the bit. With a gradient, and once it is not bfloat16 on a CPU, it is the plain convolution.
    """

    # Packed weights, and of which state of the weights. Both at once, as threads may share the network.
    _packed: tuple[object, Tensor] | None = None

    @classmethod
    def of(cls, plain: nn.Conv2d) -> Self:
        """Shares the weights of `plain`."""
        place = {"device": "meta", "dtype": plain.weight.dtype}
        sizes = plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, plain.padding
        packed = cls(*sizes, plain.dilation, plain.groups, plain.bias is not None, plain.padding_mode, **place)  # type: ignore[arg-type]
        packed.weight, packed.bias = plain.weight, plain.bias
        return packed.train(plain.training)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)  # as autocast would
        if torch.is_grad_enabled() or x.dim() != 4 or not _can(self):
            return super().forward(x)
        where = self.padding, self.stride, self.dilation, self.groups
        packed, state = self._packed, (self.weight.data_ptr(), self.weight._version)
        if packed is None or packed[0] != state:
            self._packed = packed = state, _pack(self.weight, *where, list(x.shape))
        return _convolve(x, packed[1], self.bias, *where)

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weights: torch can neither copy nor pickle them."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def packed(network: nn.Module) -> nn.Module:
    """The frozen network with its convolutions packed, in place: for bfloat16 on a CPU, where that pays.

    Nothing changes where this torch cannot pack.
    """
    for child, module in [*network.named_children()]:
        if type(module) is nn.Conv2d and _can(module) and _works():  # not of a kind that computes otherwise
            setattr(network, child, PackedConv2d.of(module))
        else:
            packed(module)
    return network


def _can(convolution: nn.Conv2d) -> bool:
    weight = convolution.weight
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    # torch counts no changes of inference tensors
    return plain and weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and not weight.is_inference()


# What torch's own compiler packs weights by and calls for them: private, so `_works` tries both.


def _pack(weight: Tensor, *where: Any) -> Tensor:
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *where)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *where: Any) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *where, "none", [], "")


@cache
def _works() -> bool:
    """Whether this torch packs on this processor, and convolves as it does without."""
    try:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
            plain = nn.utils.skip_init(nn.Conv2d, 3, 16, 3, padding=1, dtype=torch.bfloat16)  # draws no random numbers
            for part in plain.parameters():
                part.copy_(torch.linspace(-1, 1, part.numel()).view_as(part))
            own, x = PackedConv2d.of(plain), torch.linspace(0, 1, 3 * 12 * 12).view(1, 3, 12, 12).bfloat16()
            sizes = x, x[..., :8, :9].contiguous(memory_format=torch.channels_last)
            return all(torch.equal(own(one), plain(one)) for one in sizes)
    except Exception:  # what a torch raises that lacks them, or has others by their names
        return False
