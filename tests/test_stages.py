"""The stages with tiny weights: exact at strength 0, masks united, VAEs that belong together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bringback.checkpoints import Checkpoints, MissingWeights, save_network
from bringback.nets.mapping import Mapping
from bringback.nets.tone import ToneCurves
from bringback.nets.unet import ScratchUNet
from bringback.nets.vae import VAE
from bringback.photo import Photo
from bringback.restoration import Restoration
from bringback.stages import STAGES
from bringback.stages.scratches import ScratchDetector
from bringback.stages.tone import ToneCorrector, tone
from bringback.stages.translate import LatentTranslator

CPU = torch.device("cpu")


def restless(network: torch.nn.Module) -> torch.nn.Module:
    """The same network with weights that do something."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


def start(pixels: torch.Tensor, mask: np.ndarray | None = None) -> Restoration:
    return Restoration.start(Photo.from_array(pixels[0].permute(1, 2, 0).numpy()), mask)


def test_the_stages_stand_in_the_order_of_a_photo() -> None:
    assert list(STAGES) == ["scratches", "tone", "fill", "translate", "faces"]


def test_tone_at_strength_zero_is_exact() -> None:
    pixels, mask = torch.rand(2, 3, 40, 50), torch.zeros(2, 1, 40, 50)
    network = restless(ToneCurves(side=16, width=8))
    assert torch.equal(tone(network, pixels, mask, 0.0), pixels)
    assert not torch.allclose(tone(network, pixels, mask, 1.0), pixels, atol=1e-3)


def test_tone_keeps_grey_grey() -> None:
    stage = ToneCorrector(restless(ToneCurves(side=16, width=8)), CPU)
    grey = torch.rand(1, 1, 40, 50).expand(1, 3, 40, 50)
    result = stage.correct(grey)
    assert torch.equal(result[:, 0], result[:, 1]) and torch.equal(result[:, 1], result[:, 2])


def test_a_given_mask_is_united_with_what_is_found() -> None:
    stage = ScratchDetector(restless(ScratchUNet(widths=(4, 6, 8))), CPU)
    pixels = torch.rand(1, 3, 37, 41)
    given = np.zeros((37, 41), np.float32)
    given[:5] = 1
    result = stage(start(pixels, given))
    found = stage.detect(pixels)
    assert torch.equal(result.mask[..., :5, :], torch.ones(1, 1, 5, 41))
    assert torch.allclose(result.mask[..., 5:, :], found[..., 5:, :])
    assert "damaged_share" in result.notes["scratches"]


@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_translation_of_any_size(size: tuple[int, int]) -> None:
    mapping = restless(Mapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4))
    stage = LatentTranslator(VAE().eval(), mapping, VAE().eval(), CPU)
    pixels = torch.rand(1, 3, *size)
    result = stage(start(pixels)).pixels
    assert result.shape == pixels.shape and result.min() >= 0 and result.max() <= 1
    assert not torch.allclose(result, pixels, atol=1e-3)


def test_vaes_of_another_mapping_are_refused(tmp_path: Path) -> None:
    hashes = {name: save_network(VAE(blocks=1), tmp_path / name) for name in ("old_vae", "clean_vae")}
    save_network(Mapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4, **hashes), tmp_path / "mapping")
    assert LatentTranslator.from_checkpoints(Checkpoints(tmp_path), CPU).name == "translate"
    save_network(VAE(blocks=1), tmp_path / "clean_vae")
    with pytest.raises(MissingWeights, match="is not the clean_vae"):
        LatentTranslator.from_checkpoints(Checkpoints(tmp_path), CPU)
