"""Who a face is: dlib's descriptor of an aligned crop, and how far two of them lie apart."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.models.faces.descriptor import FaceDescriptor
from bringback.stages.faces.alignment import CROP
from bringback.weights.dlib_files import model_file

CHIP = (20, 40, 236, 256)  # where, on the mean face of the template, the descriptor's own 150x150 picture lies


def descriptors(crops: Tensor) -> Tensor:
    """dlib's face descriptors (B, 128) of aligned crops (B, 3, S, S) in [0, 1], S 256 or 512; they have a gradient.

    Raises ModuleNotFoundError, one line, when dlib's models are not installed.
    """
    left, top, right, bottom = (side * crops.shape[-1] // CROP for side in CHIP)
    chips = crops.float()[..., top:bottom, left:right].clamp(0, 1)
    side = FaceDescriptor.SIDE
    chips = F.interpolate(chips, (side, side), mode="bilinear", align_corners=False, antialias=True)
    with torch.autocast(crops.device.type, enabled=False):
        return descriptor_network(crops.device)(chips)


def identity_distances(a: Tensor, b: Tensor) -> list[float]:
    """The distance between the people in two batches of aligned crops (B, 3, S, S), pair by pair.

    0 = the same picture; 0.6 is where dlib's authors draw the line between one person and another.
    """
    with torch.no_grad():
        return (descriptors(a) - descriptors(b)).norm(dim=1).tolist()


@torch.no_grad()
def guard(
    crops: Tensor, change: Tensor, strengths: Sequence[float], most: float, *, device: torch.device, batch: int
) -> tuple[list[float | None], list[float]]:
    """How strongly each of the aligned crops (B, 3, S, S) may be changed (same shape) and stay the same person.

    The strengths are tried in turn until a descriptor moves by no more than `most`; 0 where all of them are too much.
    Returns how far each descriptor moved at the last try, None if there was none, and the strengths.
    """
    distances: list[float | None] = [None] * len(crops)
    allowed = [0.0] * len(crops)
    own = in_batches(descriptors, batch, device, crops)
    failing = [*range(len(crops))]
    for strength in strengths:
        if not failing:
            break
        mixed = (crops[failing] + strength * change[failing]).clamp(0, 1)
        moved = (in_batches(descriptors, batch, device, mixed) - own[failing]).norm(dim=1).tolist()
        for index, distance in zip(failing, moved, strict=True):
            distances[index] = distance
            allowed[index] = strength if distance <= most else 0.0
        failing = [index for index in failing if allowed[index] == 0]
    return distances, allowed


def in_batches(function: Callable[..., Tensor], batch: int, device: torch.device | str, *tensors: Tensor) -> Tensor:
    """What a function of pictures gives for all of `tensors` (N, ...), asked in batches of one size, on `device`.

    The last batch is filled up: computed in another shape a picture could differ in its last bits, so that they would
    hang on how many others there are.
    """
    made = []
    for parts in zip(*(tensor.split(batch) for tensor in tensors), strict=True):
        missing = (0, 0, 0, 0, 0, 0, 0, batch - len(parts[0]))
        full = (F.pad(part.float(), missing).to(device) for part in parts)
        made.append(function(*full)[: len(parts[0])])
    return torch.cat(made)


@cache
def descriptor_network(device: torch.device) -> FaceDescriptor:
    """The frozen network with dlib's weights, one for each device."""
    with torch.inference_mode(False):  # who asks first may be a restoration, who asks next a training
        network = FaceDescriptor().eval().requires_grad_(False)
        read_descriptor(network, model_file("dlib_face_recognition_resnet_model_v1.dat").read_bytes())
        return network.to(device)


def read_descriptor(network: FaceDescriptor, data: bytes) -> None:
    """Fill the network from dlib's own file; raises ValueError when that holds another network.

    The file is a stream without an index, but its tensors come in the order of the layers, from picture to descriptor,
    and before each stand a version and four sizes: that is looked for where the last one ended.
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
        # a convolution and its bias, or a scale and its shift, are one tensor there
        torch.nn.utils.vector_to_parameters(values.flatten(), parameters)


def _packed(size: int) -> bytes:
    """An integer as dlib writes it: how many bytes it takes, then these, the lowest first."""
    length = (size.bit_length() + 7) // 8
    return bytes([length]) + size.to_bytes(length, "little")
