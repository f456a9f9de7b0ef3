"""Load the pretrained backbones of perceptual distances: torchvision's by name, others from a file."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from bringback.errors import first_line
from bringback.models.perceptual import (
    CAFFE,
    IMAGENET,
    Convention,
    Features,
    PerceptualDistance,
    SqueezeNetFeatures,
    VGG19Features,
)

NAMES = {"vgg19": "VGG19_Weights.IMAGENET1K_V1", "squeezenet1_1": "SqueezeNet1_1_Weights.IMAGENET1K_V1"}


def load_distance(backbone: Path | str) -> PerceptualDistance:
    """The perceptual distance with the given backbone, on the CPU, float32.

    `backbone` is `vgg19` or `squeezenet1_1`, with torchvision's ImageNet weights from torch hub's cache
    (`$TORCH_HOME`), downloaded if needed; or the path of a `.safetensors`, `.pth` or `.pt` file with the weights of
    either network under torchvision's key names, which does not need torchvision. Other keys in the file are ignored.

    The input convention cannot be inferred from the weights. A safetensors file whose metadata contain "Caffe input"
    gets Caffe's BGR in 0..255 minus the mean. All other files, and all files in torch's format, get torchvision's
    normalization.

    Raises ValueError, one line naming the backbone, if torchvision or the weights are not available, the file cannot be
    read, or it holds another network.
    """
    if str(backbone) in NAMES:
        state, convention = _from_torchvision(str(backbone)), IMAGENET
    else:
        state, convention = _from_file(Path(backbone))
    features = {str(key): value for key, value in state.items() if str(key).startswith("features.")}
    squeezed = "features.3.squeeze.weight" in features
    network: Features = SqueezeNetFeatures(convention) if squeezed else VGG19Features(convention)
    try:
        network.load_state_dict(features)
    except RuntimeError as error:
        message = "holds neither VGG-19 nor SqueezeNet 1.1 under torchvision's key names (features.0.weight, ...)"
        raise ValueError(f"{backbone}: {message}") from error
    return PerceptualDistance(network)


def _from_torchvision(name: str) -> Mapping[str, Tensor]:
    hint = "or give the path of a file with these weights"
    try:
        from torchvision.models import get_weight
    except (ImportError, RuntimeError, OSError) as error:  # a build for another torch fails in many ways
        message = "torchvision cannot be imported; install the one that goes with this torch (the extra train)"
        raise ValueError(f"{name}: {message} {hint}: {first_line(error)}") from error
    try:
        # torch hub reports downloads on stdout, which may carry JSON
        with redirect_stdout(sys.stderr):
            return get_weight(NAMES[name]).get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # network, disk, or a broken pickle, which may raise anything
        place = Path(torch.hub.get_dir()) / "checkpoints" / Path(get_weight(NAMES[name]).url).name
        raise ValueError(f"{name}: cannot be had; put its weights at {place} {hint}: {first_line(error)}") from error


def _from_file(path: Path) -> tuple[Mapping[str, Tensor], Convention]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a backbone is the path of one, or {' or '.join(NAMES)}")
    try:
        if path.suffix in (".pth", ".pt"):
            state = torch.load(path, map_location="cpu", weights_only=True)
            return (state if isinstance(state, Mapping) else {}), IMAGENET
        with safe_open(path, "pt") as file:
            caffe = "caffe input" in " ".join((file.metadata() or {}).values()).lower()
            return {key: file.get_tensor(key) for key in file.keys()}, CAFFE if caffe else IMAGENET  # noqa: SIM118
    except Exception as error:  # a broken pickle may raise anything
        raise ValueError(f"{path}: cannot be read as weights: {first_line(error)}") from error
