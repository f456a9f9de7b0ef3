"""One stage alone: pictures of every kind, alone and in batches, with gradients, on another device or dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from bringback.errors import PhotoError
from bringback.models.colorizer import ColorUNet
from bringback.models.faces.generator import FaceGenerator
from bringback.models.relight import RelightNet
from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.models.upscale import UpscaleNet
from bringback.pipeline import Pipeline
from bringback.runtime.compute import Compute
from bringback.stages.colorize import Colorizer, Hint
from bringback.stages.denoise import Denoiser
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.faces.views import TwoViews
from bringback.stages.fill import HoleFiller
from bringback.stages.prior.stage import PriorDenoiser
from bringback.stages.relight import Relighter
from bringback.stages.scratches import ScratchDetector
from bringback.stages.tone import ToneCorrector
from bringback.stages.translate import LatentTranslator
from bringback.stages.upscale import Upscaler


def net(kind: Callable[..., Any], name: str) -> Any:
    """A tiny network that does something, frozen as loaded ones are."""
    torch.manual_seed(1)
    network = kind(**TINY[name], **({"channels": TINY["old_vae"]["channels"]} if name == "mapping" else {})).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return network.requires_grad_(False)


def built(name: str) -> Any:
    return {
        "scratches": lambda: ScratchDetector(net(ScratchUNet, "scratches")),
        "tone": lambda: ToneCorrector(net(ToneCurves, "tone")),
        "fill": HoleFiller,
        "telea": lambda: HoleFiller(method="telea"),
        "translate": lambda: LatentTranslator(
            net(VAE, "old_vae"), net(LatentMapping, "mapping"), net(VAE, "clean_vae")
        ),
        "relight": lambda: Relighter(net(RelightNet, "relight")),
        "colorize": lambda: Colorizer(net(ColorUNet, "colorize")),
        "upscale": lambda: Upscaler(net(UpscaleNet, "upscale")),
        "denoise": Denoiser,
        "prior": lambda: PriorDenoiser(Compute(), iterations=4, size=64),
        "faces": lambda: FaceRefiner(TwoViews(net(FaceGenerator, "faces")), min_size=1),
    }[name]()


VERBS = {"scratches": "detect", "tone": "correct", "fill": "fill", "telea": "fill", "translate": "translate"}
VERBS |= {
    "relight": "relight",
    "colorize": "colorize",
    "upscale": "upscale",
    "denoise": "denoise",
    "prior": "denoise",
    "faces": "refine_faces",
}
WITH_MASK = ("tone", "fill", "telea", "translate")


def verb(name: str, stage: Any = None) -> Callable[..., Any]:
    return getattr(stage or built(name), VERBS[name])


@pytest.fixture
def photo(pixels: np.ndarray) -> torch.Tensor:
    """(3, 48, 64)."""
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.fixture
def holes() -> torch.Tensor:
    """(1, 1, 48, 64): a scratch."""
    mask = torch.zeros(1, 1, 48, 64)
    mask[..., 20:24] = 1
    return mask


@pytest.mark.parametrize("name", VERBS)
def test_every_kind_gives_its_own_kind_and_the_same_picture(name: str, photo: torch.Tensor, holes: torch.Tensor):
    stage = built(name)
    do = verb(name, stage)
    told = (holes,) if name in WITH_MASK else ()
    expected = do(photo[None], *told)
    assert expected.shape[0] == 1 and expected.dtype == torch.float32
    alone = do(photo, *(holes[0, 0] for _ in told))
    assert torch.equal(alone, expected[0])
    for dtype in (torch.float16, torch.float64):
        other = do(photo.to(dtype), *told)
        assert other.dtype == dtype and other.shape == alone.shape
    for mask in told:  # in kinds of their own
        levels = (mask * 255).to(torch.uint8)
        plane = levels[0, 0].numpy()
        for kind in (levels, mask > 0, plane, Image.fromarray(plane), [plane], plane.astype(np.uint16) * 257):
            assert torch.equal(do(photo[None], kind), expected)

    plane = expected[0, 0].numpy() if name == "scratches" else expected[0].permute(1, 2, 0).numpy()
    floats = do(photo.permute(1, 2, 0).numpy(), *(holes[0, 0].numpy() for _ in told))
    assert floats.dtype == np.float32 and floats.shape == plane.shape
    np.testing.assert_allclose(floats, plane.clip(0, 1), atol=1e-6)
    levels = (photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    deep = do(levels.astype(np.uint16) * 257, *(holes[0, 0].numpy() > 0 for _ in told))
    assert deep.dtype == np.uint16 and np.abs(deep / 65535 - plane.clip(0, 1)).max() <= 1e-4
    image = do(Image.fromarray(levels), *(Image.fromarray((holes[0, 0].numpy() * 255).astype(np.uint8)) for _ in told))
    assert isinstance(image, Image.Image) and image.mode == ("L" if name == "scratches" else "RGB")
    assert np.abs(np.asarray(image) / 255 - plane.clip(0, 1)).max() <= 0.51 / 255 + 1e-6


@pytest.mark.parametrize("name", [name for name in VERBS if name != "prior"])
def test_a_batch_gives_a_batch_of_what_each_would_be_alone(name: str, photo: torch.Tensor, holes: torch.Tensor):
    do, batch = verb(name), torch.stack([photo, photo.flip(2), 1 - photo])
    masks = torch.cat([holes, holes.flip(2), torch.zeros_like(holes)])
    told = (masks,) if name in WITH_MASK else ()
    tensors = do(batch, *told)
    assert len(tensors) == 3
    for number in range(3):
        own = do(batch[number], *(part[number] for part in told))
        torch.testing.assert_close(tensors[number], own, atol=1e-5, rtol=0)
    arrays = do(batch.permute(0, 2, 3, 1).numpy(), *(part[:, 0].numpy() for part in told))
    size = tensors.shape[-2:]
    assert arrays.shape == ((3, *size) if name == "scratches" else (3, *size, 3))
    pictures = do([*batch.permute(0, 2, 3, 1).numpy()], *([*part[:, 0].numpy()] for part in told))
    assert isinstance(pictures, list)
    for made, own, tensor in zip(pictures, arrays, tensors.permute(0, 2, 3, 1), strict=True):
        np.testing.assert_array_equal(made, own)
        np.testing.assert_allclose(own.reshape(tensor.shape), tensor.numpy().clip(0, 1), atol=1e-5)


def test_pictures_of_several_sizes_are_a_list(photo: torch.Tensor):
    small = Image.fromarray((photo.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).resize((40, 31))
    made = verb("tone")([small, small.convert("L").resize((33, 20))])
    assert [(one.mode, one.size) for one in made] == [("RGB", (40, 31)), ("L", (33, 20))]


def test_gray_stays_gray_but_for_colors(photo: torch.Tensor):
    gray = Image.fromarray((photo[0].numpy() * 255).astype(np.uint8))
    assert verb("translate")(gray).mode == "L"
    colored = verb("colorize")(gray, hints=[Hint(3, 3, "#ff0000")])
    assert colored.mode == "RGB" and np.ptp(np.asarray(colored)[3, 3].astype(int)) > 0
    assert verb("colorize")(np.asarray(gray)).shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["scratches", "tone", "fill", "translate", "relight", "colorize", "upscale", "faces"])
def test_gradients_reach_the_pictures(name: str, photo: torch.Tensor, holes: torch.Tensor):
    if name == "faces":
        photo = torch.nn.functional.interpolate(photo[None], (256, 256))[0]
    do = built("faces").refine if name == "faces" else verb(name)
    wanted = torch.stack([photo, photo.flip(1)]).requires_grad_()
    told = (holes.expand(2, -1, -1, -1),) if name in WITH_MASK else ()
    made = do(wanted, *told)
    weights = torch.rand(made.shape, generator=torch.Generator().manual_seed(0))
    (made * weights).sum().backward()
    assert wanted.grad is not None and wanted.grad.abs().sum() > 0 and wanted.grad.isfinite().all()
    with torch.no_grad():
        same = do(wanted, *told)
    assert not same.requires_grad
    torch.testing.assert_close(same, made.detach(), atol=1e-6, rtol=0)


def test_gradients_come_through_tiles_and_filled_places(photo: torch.Tensor):
    large = photo.repeat(1, 4, 4).requires_grad_()
    mask = torch.zeros(large.shape[1:])
    mask[60:64, :200] = 1
    stage = LatentTranslator(
        net(VAE, "old_vae"), net(LatentMapping, "mapping"), net(VAE, "clean_vae"), Compute(tile=128)
    )
    stage.translate(large, mask).sum().backward()
    assert (large.grad.abs().sum((0, 2)) > 0).all()  # every row, whichever tile it lies in


def test_gradients_reach_the_networks_once_they_are_thawed(photo: torch.Tensor):
    stage = built("scratches")
    assert not stage.detect(photo).requires_grad
    stage.means.requires_grad_(True)
    stage.detect(photo).sum().backward()
    assert all(parameter.grad is not None for parameter in stage.means.parameters())


@pytest.mark.parametrize("name", ["telea", "denoise", "prior"])
def test_what_has_no_gradient_gives_none(name: str, photo: torch.Tensor, holes: torch.Tensor):
    made = verb(name)(photo.requires_grad_(), *((holes,) if name == "telea" else ()))
    assert made.shape == photo.shape and not made.requires_grad


def test_lists_of_tensors_keep_their_gradients(photo: torch.Tensor):
    photo.requires_grad_()
    first, second = verb("tone")([photo, photo[:, :30]])
    assert first.requires_grad and second.shape == (3, 30, 64)


def test_paths_and_missing_masks_in_lists(photo: torch.Tensor, holes: torch.Tensor, tmp_path: Any):
    Image.fromarray((photo.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray((holes[0, 0].numpy() * 255).astype(np.uint8)).save(tmp_path / "m.png")
    fill = verb("tone")
    first, second = fill([tmp_path / "a.png", tmp_path / "a.png"], [tmp_path / "m.png", None])
    assert first.pixels.shape == second.pixels.shape == (48, 64, 3)
    np.testing.assert_array_equal(first.pixels, fill(tmp_path / "a.png", tmp_path / "m.png").pixels)


def test_a_stage_is_moved_to_a_dtype_and_a_device(photo: torch.Tensor):
    stage = built("translate")
    exact = stage.translate(photo)
    assert stage.to("cpu", torch.bfloat16) is stage
    assert (stage.compute.dtype, stage.compute.device.type) == (torch.bfloat16, "cpu")
    rough = stage.translate(photo)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0)
    assert torch.equal(stage.to(torch.float32).translate(photo), exact)
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        stage.to(torch.float16)
    with pytest.raises((RuntimeError, AssertionError)):  # that is not here: the stage stays as it was
        stage.to("cuda:77")
    assert torch.equal(stage.to(device="cpu", dtype=torch.float32).translate(photo), exact)
    assert built("tone").to("meta").network.parameters().__next__().device.type == "meta"


def test_a_stage_alone_comes_with_the_shipped_weights(photo: torch.Tensor):
    stage = ToneCorrector.from_pretrained(device="cpu", dtype="float32")
    assert stage.correct(photo).shape == photo.shape
    with pytest.raises(ValueError, match="sombrero"):
        HoleFiller.from_pretrained(device="cpu", method="sombrero")
    with pytest.raises(ValueError, match=r"settings of the stage 'tone'.*strenth"):
        ToneCorrector.from_pretrained(device="cpu", strenth=1)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(3), np.zeros((2, 2, 5)), "photo", None],
)
def test_what_is_no_picture_is_refused_in_one_line(wrong: Any):
    with pytest.raises(PhotoError) as caught:
        verb("tone")(wrong if not isinstance(wrong, str) else object())
    assert "\n" not in str(caught.value)


def test_masks_of_another_size_or_number_are_refused(photo: torch.Tensor):
    fill = verb("fill")
    array = photo.permute(1, 2, 0).numpy()
    for pictures, mask in (
        (photo, torch.zeros(48, 63)),
        (torch.stack([photo] * 3), torch.zeros(2, 1, 48, 64)),
        (array, np.zeros((4, 4))),
        ([array] * 3, [np.zeros((48, 64))] * 2),
    ):
        with pytest.raises(PhotoError, match="mask"):
            fill(pictures, mask)


def test_one_mask_may_be_for_all(photo: torch.Tensor, holes: torch.Tensor):
    fill, batch = verb("fill"), torch.stack([photo, 1 - photo])
    tensors = fill(batch, holes)
    assert (tensors != batch).any(dim=1).float().mean() < 0.2
    arrays = fill(batch.permute(0, 2, 3, 1).numpy(), holes[0, 0].numpy())
    np.testing.assert_allclose(arrays, tensors.permute(0, 2, 3, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", ["list", "array", "tensor"])
def test_a_pipeline_takes_batches(kind: str, photo: torch.Tensor, lighten: Any):
    pipeline, batch = Pipeline([lighten]), torch.stack([photo, 1 - photo])
    given = {"list": [*batch.permute(0, 2, 3, 1).numpy()], "array": batch.permute(0, 2, 3, 1).numpy(), "tensor": batch}
    made = pipeline(given[kind], [np.zeros((48, 64), np.uint8)] * 2)
    assert type(made) is type(given[kind]) and len(made) == 2
    for own, before in zip(made, given[kind], strict=True):
        np.testing.assert_allclose(np.asarray(own), 0.75 * np.asarray(before) + 0.25, atol=1e-6)


def test_a_pipeline_is_moved_with_its_stages():
    pipeline = Pipeline([built("tone"), built("denoise")], compute=Compute(tile=256, batch=3, memory=10**9))
    assert pipeline.to(torch.bfloat16).to("meta") is pipeline
    assert pipeline.compute == Compute(torch.device("meta"), torch.bfloat16, 256, 3, 10**9)
    assert pipeline.stages[0].compute.device.type == "meta"
