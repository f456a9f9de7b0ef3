"""Photos of any size: what is planned, what happens when memory runs out, and that tiles do not show."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bringback.compute import Compute, has_bfloat16
from bringback.memory import Plan, forget_peak, out_of_memory, peak_memory
from bringback.metrics import psnr
from bringback.nets.mapping import Mapping
from bringback.nets.partial_nonlocal import PartialNonLocal
from bringback.nets.vae import VAE
from bringback.photo import Photo, PhotoError
from bringback.pipeline import Pipeline
from bringback.stages.translate import LatentTranslator


def stage(a_pixel: int, tile: int = 1024) -> SimpleNamespace:
    """A stage whose tiles take so many bytes a pixel."""
    return SimpleNamespace(
        name="translate", tile=tile, needs=lambda height, width, small: a_pixel * min(small or tile, tile) ** 2
    )


def test_a_plan_takes_the_largest_tiles_that_fit() -> None:
    free = Plan.of([stage(1000)], Compute(), 3000, 4000)
    assert free.tile is None and free.peak > 1000 * 1024**2 + 28 * 12_000_000
    tight = Plan.of([stage(1000)], Compute(memory=free.peak - 1), 3000, 4000)
    assert tight.tile == 512 and free.peak - tight.peak == 1000 * (1024**2 - 512**2)
    assert Plan.of([stage(1000)], Compute(memory=tight.peak), 3000, 4000) == tight
    with pytest.raises(PhotoError, match=r"4000x3000 pixels takes about 1\.0 GB of memory, 0\.5 are there"):
        Plan.of([stage(1000)], Compute(memory=500_000_000), 3000, 4000)
    assert Plan.of([], Compute(), 1, 1).tile is None


def test_who_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert (
        out_of_memory(caught.value) and out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA"))
    )
    assert not out_of_memory(RuntimeError("shape mismatch")) and not out_of_memory(ValueError())


def test_the_peak_of_the_process() -> None:
    forget_peak()
    before = peak_memory()
    block = np.ones(8_000_000)
    assert 55_000_000 < peak_memory() - before < 200_000_000
    del block


class Greedy:
    """A stage that wants more memory than there is for tiles of more than `fits` pixels."""

    name = "translate"

    def __init__(self, fits: int, error: Exception | None = None) -> None:
        self.fits, self.tile, self.compute, self.seen = fits, 1024, Compute(batch=4), []
        self.error = error or RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")

    def __call__(self, restoration):
        self.seen.append((self.tile, self.compute.batch))
        restoration.pixels.mul_(0.5)  # what a first try has begun must not be in the second
        if self.tile > self.fits:
            raise self.error
        return restoration


def test_a_photo_is_begun_again_with_smaller_tiles() -> None:
    greedy, photo = Greedy(256), Photo.from_array(np.full((20, 30, 3), 0.5, np.float32))
    restoration = Pipeline([greedy]).restore(photo)
    assert greedy.seen == [(1024, 4), (512, 1), (256, 1)] and restoration.tile == 256
    assert (restoration.pixels == 0.25).all() and (photo.pixels == 0.5).all()
    assert (greedy.tile, greedy.compute.batch) == (1024, 4)


def test_a_photo_that_never_fits_fails_with_a_reason() -> None:
    photo = Photo.from_array(np.zeros((20, 30, 3), np.float32))
    with pytest.raises(PhotoError, match=r"^memory ran out in the stage 'translate', about 0\.\d GB are wanted: close"):
        Pipeline([Greedy(0)]).restore(photo)
    with pytest.raises(KeyError):
        Pipeline([Greedy(0, KeyError("else"))]).restore(photo)


def test_several_photos_become_what_they_become_alone() -> None:
    photos = [Photo.from_array(np.full((20, 30, 3), value, np.float32)) for value in (0.2, 0.6)]
    greedy = Greedy(512)
    together = Pipeline([greedy]).restore_many(photos, [None, None])
    assert [one.tile for one in together] == [512, 512] and [float(one.pixels.max()) for one in together] == [
        pytest.approx(0.1),
        pytest.approx(0.3),
    ]


def test_parts_of_a_photo_add_up_to_what_the_whole_looks_at() -> None:
    torch.manual_seed(0)
    block = PartialNonLocal(12, 6, max_keys=50).eval()
    torch.nn.init.normal_(block.out.weight)
    x, mask = torch.randn(2, 12, 24, 34), torch.zeros(2, 1, 24, 34)
    mask[0, :, 5:9, 3:30] = 1
    with torch.no_grad():
        whole = block.pool(block.look(x, mask), (24, 34))
        assert whole.shape == (2, 13, 5, 7)  # cells of 5x5, some cut off
        parts = [
            block.pool(block.look(x[..., top : top + 7, left : left + 15], mask[..., top : top + 7, left : left + 15]),
                       (24, 34), (top, left))
            for top in range(0, 24, 7)
            for left in range(0, 34, 15)
        ]  # fmt: skip
        assert torch.allclose(torch.stack(parts).sum(0), whole, atol=1e-5)
        expected = block(x, mask)
        tile = block(x[..., 2:14, 1:20], mask[..., 2:14, 1:20], whole)
        assert torch.allclose(tile, expected[..., 2:14, 1:20], atol=1e-5)
        assert torch.equal(expected[1], x[1]) and not torch.allclose(expected[0, :, 5:9, 3:30], x[0, :, 5:9, 3:30])
    block(x, torch.zeros_like(mask)).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.fixture
def translator() -> LatentTranslator:
    """Networks that do something, and whose attention counts."""
    torch.manual_seed(1)
    mapping = Mapping(64, (16, 16, 16), (1, 1, 1), 8).eval()
    for layer in (mapping.head, mapping.attention.out, mapping.attention.value):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.constant_(mapping.trust.layers[-1].bias, -9.0)
    return LatentTranslator(VAE().eval(), mapping, VAE().eval())


def test_tiles_of_the_translation_see_the_whole_photo(translator: LatentTranslator, monkeypatch) -> None:
    pixels = torch.rand(1, 3, 208, 304) * torch.linspace(0, 1, 304)  # what is far away is of another kind
    filled = torch.zeros(1, 1, 208, 304)
    filled[..., 90:110, 8:300] = 1
    whole = translator.translate(pixels, filled)
    translator.tile = 192
    tiled = translator.translate(pixels, filled)
    monkeypatch.setattr(translator, "_seen", lambda *_: None)
    alone = translator.translate(pixels, filled)
    here = filled.expand_as(whole) > 0
    error, worse = ((other - whole)[here].abs().mean() for other in (tiled, alone))
    assert error < 0.05 * worse and worse > 1e-5
    assert (tiled - whole)[~here].abs().mean() < 1e-3


def test_the_same_photo_gives_the_same_bits_and_bfloat16_shows_nothing(pixels: np.ndarray) -> None:
    photo = Photo.from_array(np.tile(pixels, (2, 2, 1)))
    pipeline = Pipeline.from_pretrained(device="cpu", tile=128)
    once, again = (pipeline.restore(photo).pixels for _ in range(2))
    assert torch.equal(once, again)
    if has_bfloat16(torch.device("cpu")):
        assert pipeline.compute.dtype == torch.bfloat16
        exact = Pipeline.from_pretrained(device="cpu", dtype="float32", tile=128).restore(photo).pixels
        assert psnr(once, exact).min() > 45 and not torch.equal(once, exact)
