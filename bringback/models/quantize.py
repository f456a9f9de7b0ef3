"""Kernels in eight bits: a whole number and a scale for each output channel. For storage; nothing computes so."""

from torch import Tensor, int8

_SCALE = ":scale"  # appended to the name of what is scaled: no module's own name has a colon
_TOP = 127


def compacted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every floating tensor of two or more axes as int8, rounded to nearest, and its scales."""
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
    """The state dict again, float32 where it was compacted; any other comes back as it is."""
    return {
        name: value.float() * state[name + _SCALE].view(-1, *[1] * (value.ndim - 1))
        if name + _SCALE in state
        else value
        for name, value in state.items()
        if not name.endswith(_SCALE)
    }
