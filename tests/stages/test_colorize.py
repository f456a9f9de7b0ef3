"""Color: CIELAB against scikit-image, the luminance that stays, edges that hold, hints, what is left alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage import color
from typer.testing import CliRunner

from bringback.cli import app
from bringback.images.photo import Photo
from bringback.models.colorizer import ColorUNet, expected, on_grid
from bringback.ops.color import chroma, lab_to_rgb, luminance, rgb_to_lab, tinged
from bringback.ops.guided_filter import Guided
from bringback.ops.metrics import color_error, colorfulness
from bringback.ops.monochrome import Tint
from bringback.pipeline import Pipeline
from bringback.stages.colorize import Colorizer, Hint
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import save_network


def of(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255


def believing(a: float, b: float) -> ColorUNet:
    """A network that takes everything for one color of the grid."""
    network = ColorUNet(widths=(8, 8)).eval()
    torch.nn.init.zeros_(network.head.weight)
    network.head.bias.data.fill_(-50.0)
    network.head.bias.data[int((a + 90) / 10) * 22 + int((b + 110) / 10)] = 50.0
    return network


def test_lab_is_that_of_scikit_image_and_comes_back(pixels: np.ndarray) -> None:
    photo = of(pixels)
    lab = rgb_to_lab(photo)
    assert np.abs(lab[0].permute(1, 2, 0).numpy() - color.rgb2lab(pixels / 255)).max() < 0.02
    assert (lab_to_rgb(lab) - photo).abs().max() < 1e-4


def test_the_truths_own_colors_give_the_truth_back(pixels: np.ndarray) -> None:
    photo = of(pixels)
    light = luminance(photo)
    again = tinged(light, chroma(light, rgb_to_lab(photo)[:, 1:]))
    assert (again - photo).abs().mean() < 2e-3


def test_the_luminance_stays_whatever_the_color() -> None:
    light = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    for ab in ((90.0, -100.0), (-80.0, 80.0), (70.0, 60.0)):
        color = chroma(light, torch.tensor(ab).view(1, 2, 1, 1).expand(-1, -1, 16, 16))
        made = tinged(light, 3 * color)
        assert made.min() >= 0 and made.max() <= 1
        assert (luminance(made) - light).abs().max() < 1e-5
        assert colorfulness(made) > 0.1


def test_shares_on_the_grid_give_the_color_back(pixels: np.ndarray) -> None:
    ab = rgb_to_lab(of(pixels))[:, 1:]
    numbers, shares = on_grid(ab)
    logits = torch.full((1, 440, *ab.shape[-2:]), -60.0).scatter(1, numbers, shares.clamp_min(1e-20).log())
    assert torch.allclose(expected(logits, 1.0), ab, atol=1e-2)


def test_annealing_goes_from_the_mean_to_the_likeliest() -> None:
    logits = torch.full((1, 440, 1, 1), -60.0)
    red, gray = 9 * 22 + 11 + 5 * 22, 9 * 22 + 11  # a* = 50 and a* = 0, both of b* = 0
    logits[0, red], logits[0, gray] = np.log(0.4), np.log(0.6)
    means = [float(expected(logits, t)[0, 0]) for t in (1.0, 0.5, 0.05)]
    assert means[0] == pytest.approx(20, abs=0.1) and means[0] > means[1] > means[2] and means[2] < 0.1


def test_color_errors_and_colorfulness_against_numpy(pixels: np.ndarray) -> None:
    photo = of(pixels)
    gray = luminance(photo).expand_as(photo)
    lab = color.rgb2lab(pixels / 255)[..., 1:]
    assert float(color_error(gray, photo)) == pytest.approx(float(np.sqrt((lab**2).sum(-1).mean())), rel=1e-3)
    red, green, blue = (pixels[..., channel] / 255 for channel in range(3))
    one, two = red - green, (red + green) / 2 - blue
    wanted = np.hypot(one.std(), two.std()) + 0.3 * np.hypot(one.mean(), two.mean())
    assert float(colorfulness(photo)) == pytest.approx(wanted, rel=1e-2)
    assert float(colorfulness(gray)) == pytest.approx(0, abs=1e-6)


def test_a_guided_map_keeps_the_edge_of_the_picture_sharp() -> None:
    light = torch.full((1, 1, 400, 400), 0.2)
    light[..., 203:] = 0.8  # no place of the coarse map ends there
    small = torch.nn.functional.interpolate(light, (50, 50), mode="bilinear", antialias=True)
    coarse = torch.nn.functional.avg_pool2d((small > 0.5).float().expand(-1, 3, -1, -1), 5)
    coarse = torch.nn.functional.interpolate(coarse, (50, 50), mode="bilinear")  # as colors come out of the network
    guide = Guided.of(small, coarse)
    whole = torch.cat([guide.upsampled(light[..., rows, :], rows, 400) for rows in (slice(0, 130), slice(130, 400))], 2)
    assert whole.shape == (1, 3, 400, 400)
    assert whole[..., 195:203].mean() < 0.25 and whole[..., 203:211].mean() > 0.75
    plain = torch.nn.functional.interpolate(coarse, (400, 400), mode="bilinear")
    truth = (light > 0.5).float()
    assert (whole - truth).abs().mean() < 0.8 * (plain - truth).abs().mean()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (61, 47), (300, 410)])
def test_any_size_is_colored_and_keeps_its_luminance(size: tuple[int, int]) -> None:
    gray = torch.rand(1, 1, *size).expand(-1, 3, -1, -1) * 0.6 + 0.2
    made = Colorizer(believing(50, 30)).colorize(gray)
    assert made.shape == gray.shape
    assert (luminance(made) - gray[:, :1]).abs().max() < 1e-5
    assert (made[:, 0] > made[:, 2]).all()


def test_a_narrow_photo_which_is_not_enlarged_takes_little_memory() -> None:
    stage = Colorizer(believing(0, 0))
    assert stage.needs(3, 2000, None) < stage.needs(30, 2000, None) < stage.needs(300, 2000, None) < 1e9
    assert stage.needs(2000, 3, None) < 1e8


def test_saturation_zero_is_gray_and_more_is_more() -> None:
    gray = torch.full((1, 3, 64, 64), 0.5)
    strengths = [float(colorfulness(Colorizer(believing(50, 30), saturation=s).colorize(gray))) for s in (0, 0.5, 1)]
    assert strengths[0] < 1e-6 and strengths[1] == pytest.approx(strengths[2] / 2, rel=0.02)
    with pytest.raises(ValueError, match="saturation -1"):
        Colorizer(believing(0, 0), saturation=-1)


def test_a_hint_reaches_the_network_where_it_lies() -> None:
    network = believing(0, 0)
    seen: list[torch.Tensor] = []
    network.look = lambda light, hints: (seen.append(hints), ColorUNet.look(network, light, hints))[1]
    Colorizer(network).colorize(torch.full((1, 3, 192, 384), 0.5), [Hint(300, 20, "#ff0000")])
    told = seen[0][0, 0].nonzero()
    assert told.float().mean(0).tolist() == pytest.approx([20, 300], abs=1)
    red = rgb_to_lab(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))[0, 1:, 0, 0] / 110
    assert torch.allclose(seen[0][0, 1:, 20, 300], red)
    with pytest.raises(ValueError, match="outside"):
        Colorizer(network).colorize(torch.rand(1, 3, 8, 8), [Hint(8, 0, "#ff0000")])


def test_a_hint_without_a_color_is_told_so() -> None:
    with pytest.raises(ValueError, match="#rrggbb"):
        Colorizer(believing(0, 0), hints=[[3, 4, "red"]])


@pytest.fixture
def colored(tmp_path: Path) -> Pipeline:
    save_network(believing(50, 30), tmp_path / "w" / "colorize")
    return Pipeline.from_pretrained(tmp_path / "w", stages=["colorize"], device="cpu")


def test_gray_and_sepia_photos_are_colored_and_colored_ones_are_not(colored: Pipeline, pixels: np.ndarray) -> None:
    photo = of(pixels)
    light = luminance(photo)
    for tint in (Tint.none(), Tint(torch.tensor([[0.1, 0, 0], [0.0, 0, 0], [-0.15, 0, 0]]))):
        restoration = colored.restore(
            Photo.from_array(tint.apply(light.expand_as(photo) * 0.6 + 0.2)[0].permute(1, 2, 0).numpy())
        )
        assert float(colorfulness(restoration.pixels)) > 0.1 and restoration.colored
    untouched = colored.restore(Photo.from_array(pixels))
    assert torch.equal(untouched.pixels, photo) and "kept" in untouched.notes["colorize"]
    alone = colored.stages[0](Restoration.start(Photo.from_array(pixels[..., 0])))  # nobody has judged it
    assert alone.colored and "kept" not in alone.notes["colorize"]


def test_a_gray_file_becomes_one_in_color(colored: Pipeline, pixels: np.ndarray, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray_profile = profile[:16] + b"GRAY" + profile[20:]
    for name, icc in (("a.jpg", None), ("a.png", gray_profile), ("a.tif", None), ("a.webp", None)):
        Image.fromarray(pixels).convert("L").save(tmp_path / name, icc_profile=icc)
        colored(tmp_path / name).write(tmp_path / f"out-{name}")
        result = Image.open(tmp_path / f"out-{name}")
        assert result.mode == "RGB" and "icc_profile" not in result.info
        assert float(colorfulness(of(np.asarray(result)))) > 0.1
    Image.fromarray(np.full((20, 30), 30000, np.uint16)).save(tmp_path / "deep.png")
    deep = colored(tmp_path / "deep.png")
    assert deep.array().dtype == np.uint16 and deep.array().shape == (20, 30, 3)
    light = luminance(torch.from_numpy(deep.pixels).permute(2, 0, 1)[None])
    assert (light - 30000 / 65535).abs().max() < 1e-5
    assert colored(np.full((20, 30), 128, np.uint8)).shape == (20, 30, 3)
    assert colored(np.full((20, 30), 0.5, np.float32)).shape == (20, 30, 3)


def test_at_strength_none_a_gray_file_stays_one(colored: Pipeline) -> None:
    gray = np.full((20, 30), 128, np.uint8)
    assert np.array_equal(Pipeline(colored.stages, strength=0.0)(gray), gray)


def test_without_the_stage_a_gray_photo_stays_gray(lighten, pixels: np.ndarray) -> None:
    result = Pipeline([lighten])(Image.fromarray(pixels).convert("L"))
    assert result.mode == "L"


def test_the_command_line_colors_by_request_only(tmp_path: Path, pixels: np.ndarray) -> None:
    save_network(believing(50, 30), tmp_path / "w" / "colorize")
    Image.fromarray(pixels).convert("L").save(tmp_path / "a.png")

    def run(*arguments: str) -> int:
        command = ["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--overwrite"]
        return CliRunner().invoke(app, [*command, "--weights", str(tmp_path / "w"), *arguments]).exit_code

    assert run("--stages", "colorize", "--saturation", "0.5") == 0
    half = float(colorfulness(of(np.asarray(Image.open(tmp_path / "out" / "a.png")))))
    assert run("--stages", "colorize") == 0
    assert float(colorfulness(of(np.asarray(Image.open(tmp_path / "out" / "a.png"))))) > 1.5 * half
    assert run("--stages", "fill") == 0
    assert Image.open(tmp_path / "out" / "a.png").mode == "L"
    assert run("--stages", "fill", "--saturation", "1") == 2
    assert run("--stages", "colorize", "--saturation", "-1") == 2
