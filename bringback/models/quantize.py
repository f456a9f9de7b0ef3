"""Int8 quantization of kernels with a scale for each output channel; for storage only."""

from torch import Tensor, int8

_SCALE = ":scale"  # suffix of the scale's key; module names contain no colon
_TOP = 127


def compacted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Quantize the floating-point tensors of two or more dimensions in a state dict to int8, and add their scales."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.ndim < 2 or not value.is_floating_point():
            result[name] = value
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(1) / _TOP).clamp_min(1e-12)
        result[name] = (rows / scale[:, None]).round().to(int8).view_as(value).contiguous()
        result[name + _SCALE] = scale
    return result


def expanded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Dequantize a state dict to float32; tensors without a scale are unchanged."""
    return {
        name: value.float() * state[name + _SCALE].view(-1, *[1] * (value.ndim - 1))
        if name + _SCALE in state
        else value
        for name, value in state.items()
        if not name.endswith(_SCALE)
    }
