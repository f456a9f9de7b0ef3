"""Networks: shapes for any size, identity at the start, the block against its dense form."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from bringback.errors import MissingWeights
from bringback.models.base import Network
from bringback.models.faces.generator import FaceGenerator
from bringback.models.layers import ResidualBlock
from bringback.models.tone import ToneCurves, apply_curves, doubted
from bringback.models.translation.blend_gate import BlendGate
from bringback.models.translation.mapping import LatentMapping, translate
from bringback.models.translation.partial_nonlocal import PartialNonLocal, attend
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet, join_norms_
from bringback.ops.strips import STRIP, strips
from bringback.ops.tiling import run_tiled
from bringback.weights.checkpoints import save_network

SIZES = [(1, 1), (17, 30), (64, 48)]


def dense(block: PartialNonLocal, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The original's form: softmax over all keys, times validity, renormalised, with the whole N x N matrix."""
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))
    weights = torch.softmax(query.transpose(1, 2) @ key * query.shape[1] ** -0.5, -1)
    weights = weights * (mask <= 0.5).flatten(1)[:, None].to(x.dtype)
    weights = weights / weights.sum(-1, keepdim=True)
    found = (weights @ value.transpose(1, 2)).transpose(1, 2).reshape(x.shape[0], -1, *x.shape[-2:])
    return x + mask * block.out(found)


def test_partial_nonlocal_equals_its_dense_form() -> None:
    torch.manual_seed(0)
    block = PartialNonLocal(12, 8)
    torch.nn.init.normal_(block.out.weight)
    x, mask = torch.randn(3, 12, 14, 11), (torch.rand(3, 1, 14, 11) > 0.6).float()
    assert (block(x, mask) - dense(block, x, mask)).abs().max() < 1e-5
    assert (block(x, mask) - x).abs().max() > 0.1


def test_attention_does_not_depend_on_the_chunk() -> None:
    query, key, value = torch.randn(50, 8), torch.randn(30, 8), torch.randn(30, 5)
    assert torch.allclose(attend(query, key, value), attend(query, key, value, budget=60), atol=1e-6)


def test_damaged_positions_are_no_keys() -> None:
    torch.manual_seed(0)
    block = PartialNonLocal(6, 6)
    torch.nn.init.normal_(block.out.weight)
    x, mask = torch.randn(1, 6, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., 2:4, 2:4] = 1
    other = x.clone()
    other[..., 3, 3] += 5
    # what one damaged place holds says nothing to another damaged place
    assert torch.allclose(block(x, mask)[..., 2, 2], block(other, mask)[..., 2, 2], atol=1e-6)


def test_nothing_valid_and_pooled_keys() -> None:
    block = PartialNonLocal(6, 6, max_keys=20)
    torch.nn.init.normal_(block.out.weight)
    x = torch.randn(1, 6, 16, 16)
    assert torch.equal(block(x, torch.ones(1, 1, 16, 16)), x + block.out.bias.view(1, -1, 1, 1))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :4, :4] = 1
    result = block(x, mask)
    assert result.isfinite().all() and not torch.equal(result, x)
    assert torch.equal(result[..., 5:, 5:], x[..., 5:, 5:])


def speaking(channels: int = 12, inner: int = 8, **given: int) -> PartialNonLocal:
    """A block whose attention says something."""
    torch.manual_seed(0)
    block = PartialNonLocal(channels, inner, **given)
    torch.nn.init.normal_(block.out.weight)
    torch.nn.init.normal_(block.out.bias)
    return block


@pytest.mark.parametrize("max_keys", [4096, 90])  # 24 x 32 positions: each for itself, and in cells of 3 x 3
def test_a_tile_that_is_told_what_the_whole_photo_has_finds_what_the_whole_finds(max_keys: int) -> None:
    block = speaking(max_keys=max_keys)
    x, mask = torch.randn(2, 12, 24, 32), torch.zeros(2, 1, 24, 32)
    mask[0, :, 5:9, 3:30], mask[1, :, 12:20, 10:13] = 1, 0.7
    tiles = [(slice(0, 14), slice(0, 19)), (slice(8, 24), slice(13, 32)), (slice(6, 11), slice(29, 31))]
    with torch.no_grad():
        whole = block(x, mask)
        seen = block.pool(block.look(x, mask), (24, 32))
        assert seen.shape == ((2, 17, 24, 32) if max_keys > 90 else (2, 17, 8, 11))
        for rows, columns in tiles:
            part, holes = x[..., rows, columns], mask[..., rows, columns]
            assert (block(part, holes, seen) - whole[..., rows, columns]).abs().max() < 1e-5
        part, holes = x[..., :14, :19], mask[..., :14, :19]
        assert (block(part, holes) - whole[..., :14, :19]).abs().max() > 1e-2  # which it would not find by itself
        batch = [torch.cat([x[..., a : a + 12, b : b + 16] for a in (0, 12) for b in (0, 16)])]
        batch += [torch.cat([mask[..., a : a + 12, b : b + 16] for a in (0, 12) for b in (0, 16)])]
        made = block(*batch, seen)  # tiles of two photos, each looks at its own
        assert (made[4:6] - whole[..., 12:, :16]).abs().max() < 1e-5
        assert (made[2:4] - whole[..., :12, 16:]).abs().max() < 1e-5


@pytest.mark.parametrize("max_keys", [4096, 90, 40, 1])  # cells of 1, 3, 5 and 24 positions a side
@pytest.mark.parametrize(("height", "width"), [(7, 9), (6, 8), (24, 32), (1, 5)])
def test_what_parts_see_adds_up_to_what_the_whole_sees(max_keys: int, height: int, width: int) -> None:
    block = speaking(max_keys=max_keys)
    x, mask = torch.randn(2, 12, 24, 32), (torch.rand(2, 1, 24, 32) > 0.7).float()
    with torch.no_grad():
        looked = block.look(x, mask)
        whole = block.pool(looked, (24, 32))
        parts = [
            block.pool(looked[..., top : top + height, left : left + width], (24, 32), (top, left))
            for top in range(0, 24, height)
            for left in range(0, 32, width)
        ]
    assert all(part.shape == whole.shape for part in parts)
    total = torch.stack(parts).sum(0)
    assert (total - whole).abs().max() <= 1e-6 * whole.abs().max()
    assert torch.equal(total[:, -1].sum((-2, -1)), (mask <= 0.5).float().sum((1, 2, 3)))  # each key once


def test_what_is_seen_is_means_over_valid_keys() -> None:
    block = speaking(max_keys=90)
    x, mask = torch.randn(1, 12, 24, 32), (torch.rand(1, 1, 24, 32) > 0.5).float()
    with torch.no_grad():
        seen = block.pool(block.look(x, mask), (24, 32))
        valid = mask[0, 0, 3:6, 30:] <= 0.5  # the last cell of its row: 3 x 2
        keys = block.key(x)[0, :, 3:6, 30:][:, valid]
    assert 0 < valid.sum() < 6 and seen[0, -1, 1, 10] == valid.sum()
    assert torch.allclose(seen[0, :8, 1, 10] / valid.sum(), keys.mean(1), atol=1e-6)


@pytest.mark.parametrize("max_keys", [4096, 20])
def test_what_is_undamaged_comes_back_exactly(max_keys: int) -> None:
    block = speaking(max_keys=max_keys)
    x, mask = torch.randn(2, 12, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[0, :, 3:5, 2:9], mask[0, :, 10, 10] = 1, 0.2
    with torch.no_grad():
        made = block(x, mask)
        assert block(x, torch.zeros_like(mask)) is x  # nothing to do, nothing done
    same = (mask == 0).expand_as(x)
    assert torch.equal(made[same], x[same]) and not (made[~same] == x[~same]).any()
    with_gradient = block(x, mask)
    assert torch.equal(with_gradient[same], x[same]) and torch.allclose(with_gradient, made, atol=1e-5)


@pytest.mark.parametrize("holes", [0.0, 1.0])
def test_every_weight_has_a_gradient_whatever_the_mask(holes: float) -> None:
    block = speaking()
    x, mask = torch.randn(2, 12, 6, 7), torch.zeros(2, 1, 6, 7)
    mask[..., 2:4, 2:4] = holes
    block(x, mask).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values()), gradients
    assert all((gradient != 0).any() == bool(holes) for name, gradient in gradients.items() if name != "key.bias")


def test_a_cpu_holds_few_scores_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(count, 8).bfloat16() for count in (700, 4096, 4096))
    sizes, softmax = [], torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda scores, axis: sizes.append(scores.numel()) or softmax(scores, axis))
    found = attend(query, key, value)
    assert found.shape == (700, 8) and max(sizes) <= 1 << 20 and sum(sizes) == 700 * 4096


def test_norms_join_their_convolutions() -> None:
    network = ScratchUNet((8, 12, 16), 2).eval().requires_grad_(False)
    for level in network.modules():
        if isinstance(level, torch.nn.BatchNorm2d):
            for part in (level.weight, level.bias, level.running_mean, level.running_var):
                part.copy_(torch.rand_like(part) + 0.5)
    pixels = torch.rand(1, 3, 48, 40)
    before = network(pixels)
    join_norms_(network)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    assert (network(pixels) - before).abs().max() < 1e-4 * before.abs().max()


def test_attention_in_bfloat16_is_near_that_in_float32() -> None:
    query, key, value = torch.randn(50, 8), torch.randn(30, 8), torch.randn(30, 5)
    exact = attend(query, key, value, scale=2.0)
    near = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), scale=2.0, budget=60)
    assert near.dtype == torch.bfloat16 and (near.float() - exact).abs().max() < 0.1
    plain = attend(query, key, value)
    assert torch.allclose(plain, attend(query, key, value, scale=8**-0.5), atol=1e-6)
    assert (plain - exact).abs().max() > 0.1


@pytest.mark.parametrize("size", SIZES)
def test_any_size(size: tuple[int, int]) -> None:
    pixels, mask = torch.rand(2, 3, *size), torch.zeros(2, 1, *size)
    old, new = VAE(), VAE()
    assert ScratchUNet().eval()(pixels).shape == mask.shape
    assert translate(old, LatentMapping(), new, pixels, mask).shape == pixels.shape
    assert ToneCurves()(pixels, mask).shape == (2, 3, 33)


@pytest.mark.parametrize("network", [VAE(), FaceGenerator()], ids=lambda n: type(n).__name__)
def test_networks_begin_near_the_identity(network: Network) -> None:
    pixels = torch.rand(1, 3, 128, 128)
    assert (network(pixels) - pixels).abs().mean() < 0.02


def test_faces_are_made_in_a_box_alone_with_the_same_result() -> None:
    torch.manual_seed(0)
    net = FaceGenerator((8, 8, 8, 8, 8), (1, 1, 1, 1, 1), hidden=4).eval()
    torch.nn.init.normal_(net.head.weight, std=0.1)
    face, filled = torch.rand(2, 3, 256, 256), (torch.rand(2, 1, 256, 256) > 0.9).float()
    counted = []
    for block in (net.build[0][0], net.build[1][0], net.build[4][0]):
        block.register_forward_hook(lambda _, given, __: counted.append((*given[0].shape[-2:],)))
    whole, part = net(face, filled), net.inside(face, filled, (24, 32, 232, 256))
    assert counted[3:] == [(4, 4), (29, 28), (56, 52)]  # the coarse scales see all
    inside = (..., slice(48, 240), slice(40, 216))
    assert (whole - face)[inside].abs().mean() > 0.01
    torch.testing.assert_close(part[inside], whole[inside], rtol=0, atol=1e-3)
    outside = torch.ones(256, 256, dtype=torch.bool)
    outside[32:256, 24:232] = False
    torch.testing.assert_close(part[..., outside], face[..., outside])


def test_a_face_generator_is_told_how_faces_came() -> None:
    torch.manual_seed(0)
    net = FaceGenerator((8, 8), (1, 1), hidden=4).eval()
    for layer in (net.head, net.stem_removed):
        torch.nn.init.normal_(layer.weight, std=0.3)
    faces, removed = torch.rand(1, 3, 64, 64), 0.05 * torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(net(faces), net(faces, came=faces))
    seen: list[torch.Tensor] = []
    net.stem_removed.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    assert (net(faces, came=faces + removed) - net(faces)).abs().max() > 1e-4
    torch.testing.assert_close(F.pixel_shuffle(seen[0], 4), 8 * removed)


def test_fresh_curves_are_the_identity() -> None:
    pixels, mask = torch.rand(2, 3, 20, 30), torch.zeros(2, 1, 20, 30)
    assert torch.allclose(apply_curves(pixels, ToneCurves()(pixels, mask)), pixels, atol=1e-5)


def test_curves_do_not_look_under_the_mask() -> None:
    torch.manual_seed(0)
    net = ToneCurves()
    torch.nn.init.normal_(net.decide[-1].weight, std=0.1)
    pixels, mask = torch.rand(1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    mask[..., 30:60, 30:60] = 1
    spoiled = torch.where(mask > 0, torch.ones_like(pixels), pixels)
    assert torch.allclose(net(pixels, mask), net(spoiled, mask), atol=1e-5)


def test_curves_rise() -> None:
    torch.manual_seed(0)
    net = ToneCurves()
    torch.nn.init.normal_(net.decide[-1].weight)
    assert (net(torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)).diff(dim=-1) > 0).all()


def test_translation_of_a_tile_equals_the_whole_away_from_borders() -> None:
    torch.manual_seed(0)
    old, mapping, new = VAE(), LatentMapping(blocks=(1, 1, 1)), VAE()
    torch.nn.init.normal_(mapping.head.weight, std=0.01)
    torch.nn.init.normal_(mapping.trust.layers[-1].weight, std=0.1)
    pixels = torch.rand(1, 3, 256, 512)
    mask = torch.zeros(1, 1, 256, 512)
    with torch.no_grad():
        whole = translate(old, mapping, new, pixels, mask)
        part = translate(old, mapping, new, pixels[..., :384], mask[..., :384])
    assert (whole - pixels).abs().mean() > 1e-3
    assert (whole[..., :128] - part[..., :128]).abs().max() < 1e-4


def test_trust_keeps_the_photo_or_takes_what_is_decoded() -> None:
    torch.manual_seed(0)
    old, mapping, new = VAE(), LatentMapping(blocks=(1, 1, 1)), VAE()
    torch.nn.init.normal_(mapping.head.weight, std=0.01)
    pixels, mask = torch.rand(2, 3, 37, 54), torch.zeros(2, 1, 37, 54)
    bias = mapping.trust.layers[-1].bias
    with torch.no_grad():
        decoded = new.decode(mapping(old.encode(pixels), torch.zeros(2, 1, 10, 14)), (37, 54))
        bias.fill_(50)
        assert torch.equal(translate(old, mapping, new, pixels, mask), pixels)
        bias.fill_(-50)
        assert torch.allclose(translate(old, mapping, new, pixels, mask), decoded, atol=1e-6)
    assert (decoded - pixels).abs().mean() > 1e-3


def test_trust_sees_noise_where_it_is() -> None:
    smooth = torch.linspace(0.5, 0.8, 64).expand(1, 3, 64, 64)
    noisy = smooth.clone()
    noisy[..., 32:] += 1e-3 * torch.randn(1, 1, 64, 32, generator=torch.Generator().manual_seed(0))
    net = BlendGate()
    seen = []
    net.layers[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    net(noisy, smooth, torch.zeros(1, 1, 64, 64))
    assert seen[0][0, 1, :, 9:].min() > seen[0][0, 1, :, :7].max() + 0.1


def test_trust_compares_with_the_whole_photo() -> None:
    torch.manual_seed(0)
    smooth, noisy = torch.full((1, 3, 64, 64), 0.5), torch.rand(1, 3, 64, 64)
    net, mask = BlendGate(), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        known = net.look(smooth)
        assert torch.equal(net(noisy, smooth, mask), net(noisy, smooth, mask, known))  # it has not learned to look yet
        torch.nn.init.normal_(net.context[-1].weight)
        torch.nn.init.normal_(net.layers[-1].weight)
        assert (net(noisy, smooth, mask) - net(noisy, smooth, mask, known)).abs().max() > 0.1
    assert (net.look(noisy) - known).abs().max() > 0.9


def test_noise_of_a_large_photo_is_the_mean_of_its_strips() -> None:
    width = STRIP // 64
    pixels = torch.rand(1, 3, 80, width, generator=torch.Generator().manual_seed(0))
    pixels[..., 64:, :] *= 0.1
    assert len(list(strips(pixels))) == 2
    net = BlendGate()
    upper, lower = net.levels(pixels[..., :64, :]), net.levels(pixels[..., 64:, :])
    assert torch.allclose(net.look(pixels), upper * 0.8 + lower * 0.2, atol=1e-6)
    assert (upper - lower).abs().max() > 0.5


def test_a_gate_from_before_it_looked_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LatentMapping(channels=4, widths=(4, 4), blocks=(1, 1), inner=4, gate=4)
    save_network(network, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in state.items() if "context" not in k}, tmp_path / "model.safetensors")
    loaded = LatentMapping.from_pretrained(tmp_path)
    assert torch.equal(loaded.trust.layers[0].weight, network.trust.layers[0].weight.half().float())
    assert not loaded.trust.context[-1].weight.any()
    assert torch.equal(pickle.loads(pickle.dumps(loaded)).head.weight, loaded.head.weight)


def test_translation_in_bfloat16() -> None:
    old, mapping, new = VAE(), LatentMapping(blocks=(1, 1, 1)), VAE()
    pixels, mask = torch.rand(1, 3, 30, 40), torch.zeros(1, 1, 30, 40)
    with torch.no_grad():
        exact = translate(old, mapping, new, pixels, mask)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = translate(old, mapping, new, pixels, mask)
        half = translate(*(n.bfloat16() for n in (old, mapping, new)), pixels.bfloat16(), mask.bfloat16())
    assert (mixed - exact).abs().max() < 0.05 and (half.float() - exact).abs().max() < 0.05


def test_translation_in_tiles_with_a_mask_and_a_speaking_attention() -> None:
    """What tiles change is whom the damaged places can look at: keys beyond the tile. All else is as in the whole."""
    torch.manual_seed(0)
    old, mapping, new = VAE(), LatentMapping(blocks=(1, 1, 1)), VAE()
    torch.nn.init.normal_(mapping.head.weight, std=0.01)
    pixels = torch.rand(1, 3, 256, 512) * torch.linspace(0.2, 1, 512)  # each tile has keys of its own
    mask = torch.zeros(1, 1, 256, 512)
    mask[..., 60:90, 40:400] = 1

    def run(tile: int) -> torch.Tensor:
        def one(part: torch.Tensor, damage: torch.Tensor) -> torch.Tensor:
            return translate(old, mapping, new, part, damage)

        return run_tiled(one, [pixels, mask], tile=tile, overlap=128, multiple=16)

    with torch.no_grad():
        silent = run(512)
        assert (run(384) - silent).abs().max() < 1e-4
        torch.nn.init.normal_(mapping.attention.out.weight, std=10.0)
        whole, tiled = run(512), run(384)
    difference = (tiled - whole).abs().amax(1)[0]
    said = (whole - silent).abs().amax(1)[0]
    assert said.max() > 0.01 and difference.max() > 1e-4
    assert difference.max() < 0.3 * said.max()  # other keys, but of the same photo
    assert difference[160:].max() < 1e-4  # 70 rows below the damage nothing has heard of it


def test_doubted_curves_shrink_small_changes_most() -> None:
    identity = torch.linspace(0, 1, 33)
    bent = identity * (1 - identity)
    small, large = (doubted((identity + size * bent).expand(1, 3, -1)) - identity for size in (0.02, 0.8))
    assert small.abs().max() < 0.1 * 0.02 * bent.max() and large.abs().max() > 0.9 * 0.8 * bent.max()
    assert torch.equal(doubted(identity.expand(1, 3, -1)), identity.expand(1, 3, -1))


@pytest.mark.parametrize("stride", [2, 4])
def test_a_level_photo_decodes_to_a_level_photo_whatever_the_weights(stride: int) -> None:
    torch.manual_seed(0)
    vae = VAE(channels=12, blocks=1, stride=stride, level=True)
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    level = torch.tensor([0.3, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 96, 96)
    inside = vae(level)[..., 28:-28, 28:-28]  # the border's padding shows
    assert inside.std((2, 3)).max() < 1e-6
    assert vae(torch.rand(1, 3, 64, 64)).std((2, 3)).min() > 0.01


def test_residual_blocks_keep_float32_precise_under_autocast() -> None:
    block = ResidualBlock(8)
    torch.nn.init.normal_(block.second.weight, std=0.01)
    x = 100 + torch.rand(1, 8, 16, 16)  # there bfloat16 has steps of 1/2
    with torch.no_grad():
        exact = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert block(x).dtype == torch.float32
            assert (block(x) - exact).abs().max() < 0.05 < (exact - x).abs().max()
            assert block(x.bfloat16()).dtype == torch.bfloat16


def test_checkpoints_with_the_former_names_of_classes_load(tmp_path: Path) -> None:
    small = LatentMapping(channels=4, widths=(4, 4), blocks=(1, 1), inner=4, gate=4)
    small.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["network"] == "LatentMapping"
    (tmp_path / "config.json").write_text(json.dumps(config | {"network": "Mapping"}), "utf-8")
    again = LatentMapping.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), small.parameters(), strict=True))
    (tmp_path / "config.json").write_text(json.dumps(config | {"network": "Mopping"}), "utf-8")
    with pytest.raises(MissingWeights, match="Mopping"):
        LatentMapping.from_pretrained(tmp_path)
