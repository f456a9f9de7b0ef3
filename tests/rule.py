"""Weights made by a rule instead of training: the same numbers anywhere, for networks of any size.

Each tensor is drawn from its own name in the original's files, so a layer taken for another one gives another picture.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bringback.models.base import Network
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE
from bringback.weights.wan2020.key_maps import ORIGINALS, Original

_WIDTHS = (8, 12, 16, 16, 16)
_TINY: dict[str, Callable[[], Network]] = {
    "VAE": lambda: PaperVAE(8),
    "mapping_quality": lambda: PaperMapping(_WIDTHS),
    "mapping_scratch": lambda: PaperMapping(_WIDTHS, attention="nonlocal"),
    "mapping_Patch_Attention": lambda: PaperMapping(_WIDTHS, attention="patches"),
    "detection": lambda: PaperUNet((4, 6, 8, 8, 8)),
    "Setting_9_epoch_100": lambda: PaperFaceGenerator((12, 12, 10, 8, 6, 4), hidden=6),
    "FaceSR_512": lambda: PaperFaceGenerator((12, 12, 10, 8, 6, 4), hidden=6),
}


def tiny(name: str) -> Original:
    """One of the original's files at small widths."""
    return replace(ORIGINALS[name], network=_TINY["VAE" if name.startswith("VAE") else name])


def original_shapes(original: Original) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors in one of the original's files, with its spectral norms."""
    shapes: dict[str, tuple[int, ...]] = {}
    network = original.network()
    for key, value in network.state_dict().items():
        module, _, leaf = key.rpartition(".")
        theirs = f"{original.modules[module]}.{'filt' if leaf == 'blur' else leaf}"
        if isinstance(network, PaperFaceGenerator) and leaf == "weight" and ".conv_" in theirs:
            parts = {"orig": value.shape, "u": value.shape[:1], "v": value[0].flatten().shape}
            shapes |= {f"{theirs}_{part}": tuple(shape) for part, shape in parts.items()}
        else:
            shapes[theirs] = tuple(value.shape)
    return shapes


def weights_by_rule(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A tensor for each name and shape; names end as in the original's files."""
    made = {key: _drawn(key, tuple(shape)) for key, shape in shapes.items()}
    for key in made:
        if key.endswith("weight_u"):
            weight = made[key[:-1] + "orig"]
            image = weight.reshape(len(weight), -1) @ made[key[:-1] + "v"]
            made[key] = image / np.linalg.norm(image)
    return {key: torch.from_numpy(np.asarray(value)) for key, value in made.items()}


def _drawn(key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    normal = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape, dtype=np.float32)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(normal)
    if key.endswith("running_mean"):
        return 0.1 * normal
    if key.endswith("bias"):
        return 0.05 * normal
    if key.endswith(("weight_u", "weight_v")):
        return normal / np.linalg.norm(normal)
    if len(shape) == 1:
        return 1 + 0.1 * normal
    gain = 0.02 if key.startswith("conv_img") else 1.4
    return normal * np.float32(gain / np.sqrt(np.prod(shape[1:])))
