"""The original method's published files: their names, our networks for them, and the names of their layers.

docs/original.md has a table of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bringback.models.base import Network
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE

Modules = dict[str, str]
"""Our layer names -> the original's."""


@dataclass(frozen=True)
class Original:
    """One of the original's files, the checkpoint folder it becomes, and how to convert it."""

    file: str
    folder: str
    what: str
    network: Callable[[], Network]
    modules: Modules
    inside: str | None = None  # key of the state dict in the file's dictionary


def _blocks(theirs: str, ours: str) -> Modules:
    return {f"{ours}.first": f"{theirs}.conv_block.1", f"{ours}.second": f"{theirs}.conv_block.5"}


def _vae() -> Modules:
    names = {f"encoder.{i}.conv": f"encoder.{1 + 3 * i}" for i in range(3)}
    for i in range(4):
        names |= _blocks(f"encoder.{10 + i}", f"encoder.{3 + i}") | _blocks(f"decoder.{i}", f"decoder.{i}")
    return names | {"decoder.4.conv": "decoder.4", "decoder.5.conv": "decoder.7", "decoder.6": "decoder.11"}


def _ends(stem: str, tail: str, first: int) -> Modules:
    """The convolutions before the residual blocks and those after, the latter from index `first`."""
    names = {f"stem.{i}.conv": f"{stem}.{3 * i}" for i in range(4)}
    names |= {f"tail.{i}.conv": f"{tail}.{first + 3 * i}" for i in range(3)}
    return names | {"tail.3": f"{tail}.{first + 9}"}


def _quality() -> Modules:
    names = _ends("model", "model", 18)
    for i in range(6):
        names |= _blocks(f"model.{12 + i}", f"middle.{i}")
    return names


def _nonlocal() -> Modules:
    names = _ends("before_NL", "after_NL", 6)
    layers = {"query": "theta", "key": "phi", "value": "g", "out": "W"}
    names |= {f"middle.0.{ours}": f"NL.{theirs}" for ours, theirs in layers.items()}
    for i in range(3):
        names |= _blocks(f"NL.res_block.{i}", f"middle.0.blocks.{i}")
    for i in range(6):
        names |= _blocks(f"after_NL.{i}", f"middle.{1 + i}")
    return names


def _patches() -> Modules:
    names = _ends("before_NL", "after_NL", 2)
    for i in range(2):
        names |= _blocks(f"before_NL.{12 + i}", f"middle.{i}")
        names |= _blocks(f"res_block_1.{i}", f"middle.{3 + i}")
        names |= _blocks(f"res_block_2.{i}", f"middle.{6 + i}")
        names |= _blocks(f"after_NL.{i}", f"middle.{9 + i}")
    for i in range(3):
        ours, theirs = f"middle.{2 + 3 * i}", f"NL_scale_{i + 1}"
        names |= {f"{ours}.join": f"{theirs}.F_Combine"} | _blocks(f"{theirs}.res_block.0", f"{ours}.block")
    return names


def _unet() -> Modules:
    names = {"stem": "first.1", "head": "last.1"}
    for i in range(4):
        normed = {f"shrink.{i}.normed": (f"down_sample.{i}", 1)}
        for j in range(2):
            normed[f"down.{i}.{j}"] = (f"down_path.{i}.block", 1 + 4 * j)
            normed[f"up.{i}.{j}"] = (f"up_path.{i}.conv_block.block", 1 + 4 * j)
        for ours, (theirs, at) in normed.items():
            names |= {f"{ours}.conv": f"{theirs}.{at}", f"{ours}.norm": f"{theirs}.{at + 1}"}
        names |= {f"lift.{i}": f"up_path.{i}.up.2", f"shrink.{i}": f"down_sample.{i}.4"}
    return names


def _face() -> Modules:
    names = {"stem": "fc", "head": "conv_img"}
    parts = {"norm": "param_free_norm", "told": "mlp_shared.0", "gamma": "mlp_gamma", "beta": "mlp_beta"}
    blocks = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")
    for i, theirs in enumerate(blocks):
        for ours, end in (("first", "0"), ("second", "1"), ("around", "s")):
            names[f"blocks.{i}.{ours}"] = f"{theirs}.conv_{end}"
            names |= {f"blocks.{i}.{ours}_norm.{a}": f"{theirs}.norm_{end}.{b}" for a, b in parts.items()}
    return names


def _scratch_mapping() -> PaperMapping:
    return PaperMapping(attention="nonlocal")


def _hr_mapping() -> PaperMapping:
    return PaperMapping(attention="patches")


ORIGINALS: dict[str, Original] = {
    "VAE_A_quality": Original("latest_net_G.pth", "paper_old_vae", "VAE of old photos", PaperVAE, _vae()),
    "VAE_B_quality": Original(
        "latest_net_G.pth",
        "paper_clean_vae_quality",
        "VAE of clean photos, for unscratched ones",
        PaperVAE,
        _vae(),
    ),
    "VAE_B_scratch": Original(
        "latest_net_G.pth", "paper_clean_vae_scratch", "VAE of clean photos, for scratched ones", PaperVAE, _vae()
    ),
    "mapping_quality": Original(
        "latest_net_mapping_net.pth",
        "paper_mapping_quality",
        "mapping for photos without scratches",
        PaperMapping,
        _quality(),
    ),
    "mapping_scratch": Original(
        "latest_net_mapping_net.pth",
        "paper_mapping_scratch",
        "mapping for scratched photos",
        _scratch_mapping,
        _nonlocal(),
    ),
    "mapping_Patch_Attention": Original(
        "latest_net_mapping_net.pth",
        "paper_mapping_hr",
        "mapping for scratched photos of high resolution",
        _hr_mapping,
        _patches(),
    ),
    "detection": Original(
        "FT_Epoch_latest.pt", "paper_scratches", "scratch detector", PaperUNet, _unet(), inside="model_state"
    ),
    "Setting_9_epoch_100": Original(
        "latest_net_G.pth", "paper_faces_256", "face generator, 256 pixels", PaperFaceGenerator, _face()
    ),
    "FaceSR_512": Original(
        "latest_net_G.pth", "paper_faces_512", "face generator, 512 pixels", PaperFaceGenerator, _face()
    ),
}
"""The original's files by the name of their folder."""
