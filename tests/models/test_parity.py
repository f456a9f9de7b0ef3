"""The family `paper` computes what the original's networks compute.

Against the original's own numbers, for weights made by `rule.weights_by_rule` from its lists of keys, where those
numbers are (`$BRINGBACK_PARITY`, or shared/parity beside the checkout); against our own at small widths, in any clone:
data/paper_tiny.npz, which `python tests/models/test_parity.py` writes.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rule import original_shapes, tiny, weights_by_rule
from torch import Tensor

from bringback.models.wan2020 import strips
from bringback.models.wan2020.attention import PatchAttention, ResidualNonLocal, holes
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE
from bringback.weights.wan2020.key_maps import ORIGINALS, Original
from bringback.weights.wan2020.legacy import renamed

CLOSE = 1e-4
TINY = Path(__file__).parents[1] / "data" / "paper_tiny.npz"


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def parity() -> Path:
    folder = Path(os.environ.get("BRINGBACK_PARITY", Path(__file__).parents[3] / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip("no numbers of the original: set BRINGBACK_PARITY")
    return folder


def numbers(parity: Path, name: str) -> dict[str, Tensor]:
    """In float64, as the networks of `original`: in float32 processors without AVX-512 are 1.3e-4 and more away."""
    return {key: torch.from_numpy(value).double() for key, value in np.load(parity / f"{name}.npz").items()}


def built(original: Original, shapes) -> torch.nn.Module:
    """The network with weights by the rule, taken through the conversion."""
    network = original.network()
    network.load_state_dict(renamed(weights_by_rule(shapes), network, original.modules))
    return network.eval()


def original(parity: Path, fixture: str, name: str) -> torch.nn.Module:
    keys = json.loads((parity / f"{fixture}.keys.json").read_text())
    return built(ORIGINALS[name], {key: shape for key, (shape, _) in keys.items()}).double()


def far(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def signed(pixels: Tensor) -> Tensor:
    return pixels * 2 - 1


@pytest.mark.parametrize("name", ["VAE_A_quality", "VAE_B_quality", "VAE_B_scratch"])
def test_parity_of_the_vaes(parity, name):
    network, wanted = original(parity, "vae", name), numbers(parity, "vae")
    assert isinstance(network, PaperVAE)
    latent = network.encode(wanted["image"] / 2 + 0.5)
    assert far(latent, wanted["latent"]) <= CLOSE * wanted["latent"].std()
    assert far(signed(network.decode(wanted["latent"])), wanted["reconstruction"]) <= CLOSE
    assert far(signed(network(wanted["image"] / 2 + 0.5)), wanted["reconstruction"]) <= CLOSE


@pytest.mark.parametrize(
    ("fixture", "name"),
    [
        ("mapping_quality", "mapping_quality"),
        ("mapping_scratch", "mapping_scratch"),
        ("mapping_patch_attention", "mapping_Patch_Attention"),
    ],
)
def test_parity_of_the_mappings(parity, fixture, name):
    network, wanted = original(parity, fixture, name), numbers(parity, fixture)
    assert isinstance(network, PaperMapping)
    latent = network(wanted["latent_in"], wanted.get("mask", torch.zeros(1, 1, 64, 96).double()))
    assert far(latent, wanted["latent_out"]) <= CLOSE * wanted["latent_out"].std()
    vae = original(parity, "vae", "VAE_B_scratch")
    assert far(signed(vae.decode(latent)), wanted["image_out"]) <= CLOSE


def test_parity_of_the_way_from_photo_to_photo(parity):
    """The original's numbers, in float32, are up to 2.9e-4 from what float64 makes of the whole chain."""
    wanted, vae = numbers(parity, "mapping_scratch"), original(parity, "vae", "VAE_A_quality")
    mapping = original(parity, "mapping_scratch", "mapping_scratch")
    white = torch.maximum(wanted["image"] / 2 + 0.5, wanted["mask"])
    assert far(signed(white), wanted["image_masked"]) <= 1e-6
    latent = vae.encode(white)
    assert far(latent, wanted["latent_in"]) <= CLOSE * wanted["latent_in"].std()
    off = (signed(vae.decode(mapping(latent, wanted["mask"]))) - wanted["image_out"]).abs()
    assert off.max() <= 4 * CLOSE and (off <= CLOSE).double().mean() >= 0.98


def test_parity_of_the_scratch_detector(parity):
    network, wanted = original(parity, "scratch_unet", "detection"), numbers(parity, "scratch_unet")
    assert isinstance(network, PaperUNet)
    assert far(network(wanted["grey"] / 2 + 0.5), wanted["logit"]) <= CLOSE


@pytest.mark.parametrize(("size", "name"), [(256, "Setting_9_epoch_100"), (512, "FaceSR_512")])
def test_parity_of_the_face_generators(parity, size, name):
    """What goes into the last tanh is compared by its own deviation, as latents are.

    With weights by the rule that is thousands: the picture is black and white but for a few pixels, and those
    are beyond float32. One unit in the last place of the input moves them by 5e-3, and the original's numbers are
    2e-3 from what float64 makes of the same weights.
    """
    network, wanted = original(parity, f"face_{size}", name), numbers(parity, f"face_{size}")
    assert isinstance(network, PaperFaceGenerator)
    heads: list[Tensor] = []
    network.head.register_forward_hook(lambda module, given, made: heads.append(made))
    made = signed(network(F.interpolate(wanted["face_small"], (size, size), mode="bilinear") / 2 + 0.5))
    begin = size // 2 - 32
    crop = (..., slice(begin, begin + 64), slice(begin, begin + 64))
    off = (made[crop] - wanted["restored_crop"]).abs()
    assert (off <= CLOSE).float().mean() >= 0.999
    gray = wanted["restored_crop"].abs() < 0.999
    head = heads[0][crop][gray]
    assert far(head, torch.atanh(wanted["restored_crop"][gray])) <= 0.1 * CLOSE * heads[0].std()
    means = (F.avg_pool2d(made, 8) - wanted["restored_8x_mean"]).abs()
    assert means.max() <= 20 * CLOSE and (means <= CLOSE).float().mean() >= 0.995


def given() -> dict[str, Tensor]:
    """A picture, a mask with holes of several sizes, and a latent."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    picture = torch.stack([0.5 + 0.5 * torch.sin(9 * x + 4 * y), y * x, 0.5 + 0.5 * torch.cos(23 * y)])[None]
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 8:40, 20:52] = 1
    mask[..., 50:52, :] = 1
    mask[..., 3, 70:90] = 1
    latent = torch.stack([torch.sin((k + 2) * x + (k % 3 - 1) * 5 * y) for k in range(8)])[None]
    return {"picture": picture, "mask": mask, "latent": F.avg_pool2d(latent, 4)}


def tiny_results() -> dict[str, np.ndarray]:
    """What the small networks give; of faces, what goes into the last tanh, by its deviation."""
    seen, results = given(), {}
    for name in ("VAE_A_quality", *[name for name in ORIGINALS if not name.startswith(("VAE", "FaceSR"))]):
        network = built(tiny(name), original_shapes(tiny(name)))
        if isinstance(network, PaperVAE):
            results[f"{name}.latent"] = network.encode(seen["picture"])
            results[name] = network(seen["picture"])
        elif isinstance(network, PaperMapping):
            results[name] = network(seen["latent"], seen["mask"])
        elif isinstance(network, PaperUNet):
            results[name] = network(seen["picture"][:, :1])
        else:
            network.head.register_forward_hook(
                lambda module, given, made: results.update(Setting_9_epoch_100=F.avg_pool2d(made / made.std(), 8))
            )
            network(F.interpolate(seen["picture"], (256, 256), mode="bilinear"))
    return {name: value.numpy() for name, value in results.items()}


def test_parity_of_small_networks_with_what_they_gave_when_they_equalled_the_original():
    wanted, made = np.load(TINY), tiny_results()
    assert set(wanted) == set(made)
    for name, value in made.items():
        assert np.abs(value - wanted[name]).max() <= CLOSE * max(1, wanted[name].std()), name
        assert wanted[name].std() > 0.01, name


@pytest.mark.parametrize("budget", [1, 3000, 20000])
@pytest.mark.parametrize("size", [(64, 48), (100, 76), (16, 200), (132, 20)])
def test_maps_in_strips_are_the_same_maps(monkeypatch, size, budget):
    torch.manual_seed(0)
    vae, mapping = PaperVAE(8), PaperMapping((8, 12, 16, 16, 16), attention="nonlocal")
    photos, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.9).float()

    def way() -> list[Tensor]:
        latent = vae.encode(photos)
        return [latent, vae.decode(latent), mapping(latent, mask)]

    whole = way()
    monkeypatch.setattr(strips, "BUDGET", budget)
    pieces = way()
    assert strips.too_large(8, photos)
    for a, b in zip(whole, pieces, strict=True):
        assert far(a, b) < CLOSE
    with torch.enable_grad():
        assert not strips.too_large(8, photos)
        assert vae(photos).requires_grad


def dense(block: ResidualNonLocal, x: Tensor, mask: Tensor) -> Tensor:
    """The original's form, with the whole N x N matrix: softmax over all keys, times validity, renormalised."""
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    size = (x.shape[-2], x.shape[-1])
    sound = (1 - holes(mask, size)) * F.interpolate(1 - mask, size, mode="nearest")
    weights = torch.softmax(query.transpose(1, 2) @ key, 2) * sound.flatten(2)
    found = (F.normalize(weights, p=1, dim=2) @ value.transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    return sound * x + (1 - sound) * block.blocks(block.out(found))


@pytest.mark.parametrize("damaged", [0.0, 0.02, 1.0])
def test_the_partial_nonlocal_block_equals_its_dense_form(damaged):
    torch.manual_seed(0)
    block = ResidualNonLocal(12)
    x, mask = torch.randn(2, 12, 9, 14), (torch.rand(2, 1, 36, 56) < damaged).float()
    made = block(x, mask)
    assert far(made, dense(block, x, mask)) < 1e-5
    assert (far(made, x) > 0.1) is (damaged > 0)


def patchwise(block: PatchAttention, x: Tensor, mask: Tensor) -> Tensor:
    """One patch after the other."""
    inner, size = block.block(x), block.size
    damaged = holes(mask, (x.shape[-2], x.shape[-1]))
    corners = [(i, j) for i in range(0, x.shape[-2], size) for j in range(0, x.shape[-1], size)]
    patches = {at: inner[0, :, at[0] : at[0] + size, at[1] : at[1] + size] for at in corners}
    hollow = {at: damaged[0, 0, at[0] : at[0] + size, at[1] : at[1] + size].mean() > 0.6 for at in corners}
    composed = inner.clone()
    for at in corners:
        if hollow[at]:
            likeness = {
                other: float(F.cosine_similarity(patches[at].flatten(), patches[other].flatten(), 0))
                for other in corners
                if not hollow[other]
            }
            composed[0, :, at[0] : at[0] + size, at[1] : at[1] + size] = patches[max(likeness, key=likeness.get)]
    return block.join(torch.cat([x, composed, damaged], 1))


@pytest.mark.parametrize("size", [2, 4, 8])
def test_patches_are_copied_from_the_most_similar_sound_one(size):
    torch.manual_seed(0)
    block, x = PatchAttention(6, size), torch.randn(1, 6, 16, 24)
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 20:60, 10:50] = 1
    assert far(block(x, mask), patchwise(block, x, mask)) < 1e-5


def test_sides_that_patches_do_not_divide_leave_no_strip_of_zeros():
    torch.manual_seed(0)
    block, x = PatchAttention(6, 8), torch.randn(1, 6, 20, 21)
    mask = torch.zeros(1, 1, 80, 84)
    sound = block.join(torch.cat([x, block.block(x), mask[..., ::4, ::4]], 1))
    assert far(block(x, mask), sound) < 1e-6  # nothing is damaged: every patch stays, those at the edge too
    mask[..., 64:, :] = 1
    made = block(x, mask)
    copied = block.block(x)
    assert made.shape == x.shape and made.isfinite().all()
    # the patches at the right edge are damaged or cut: what is copied comes from whole ones
    first = F.conv2d(torch.cat([x, copied, mask[..., ::4, ::4]], 1), block.join.weight, block.join.bias, padding=1)
    assert far(made[..., :14, :], first[..., :14, :]) < 1e-5 and far(made[..., 17:, :], first[..., 17:, :]) > 1e-2


def test_a_photo_that_is_all_damage_gets_through():
    torch.manual_seed(0)
    for attention in ("nonlocal", "patches"):
        network = PaperMapping((8, 12, 16, 16, 16), attention=attention)
        assert network(torch.randn(1, 8, 16, 16), torch.ones(1, 1, 64, 64)).isfinite().all()
    with pytest.raises(ValueError, match="'patches'"):
        PaperMapping(attention="all")


if __name__ == "__main__":
    TINY.parent.mkdir(exist_ok=True)
    with torch.no_grad():
        np.savez_compressed(TINY, **tiny_results())
