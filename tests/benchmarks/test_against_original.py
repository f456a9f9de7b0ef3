"""The original's five steps give what its run.py gives, on small networks; its attention is ours; stand-ins see."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from bringback.models.base import Network
from bringback.models.wan2020.attention import ResidualNonLocal
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE
from bringback.ops.color import luminance

spec = importlib.util.spec_from_file_location(
    "against_original", Path(__file__).parents[2] / "benchmarks" / "against_original.py"
)
assert spec and spec.loader
bench = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = bench  # where dataclasses look
spec.loader.exec_module(bench)

STAGE_1 = "stage_1_restore_output"


def small() -> dict[str, Network]:
    """As small as a picture gets through: 16 pixels of a place of the latent are 16 pairs of channels."""
    torch.manual_seed(0)
    return {
        "paper_scratches": PaperUNet((4, 6, 8, 8, 8)),
        "paper_old_vae": PaperVAE(32, blocks=1),
        "paper_mapping_scratch": PaperMapping((32, 32, 40), blocks=1, attention="nonlocal"),
        "paper_clean_vae_scratch": PaperVAE(32, blocks=1),
        "paper_faces_256": PaperFaceGenerator((12, 12, 10, 8, 8, 6), hidden=6),
    }


def portrait(width: int = 128, height: int = 128) -> np.ndarray:
    return np.array(Image.fromarray(data.astronaut()[:200, 120:320]).resize((128, 128)))[:height, :width]


def likeness(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(*(luminance(one).flatten().numpy() for one in (a, b)))[0, 1])


def test_the_five_steps(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    bench.write(photos / "a.png", portrait(height=122))
    weights = bench.stand_in(small(), bench.as_tensor(portrait()), tmp_path / "weights")
    for name, step in bench.STEPS.items():
        step(photos, weights, out)
        if name == "translation":
            bench.keep_results(out)
    folders = [f"{STAGE_1}/{name}" for name in ("masks/input", "masks/mask", "input_image", "restored_image", "origin")]
    for folder in (*folders, "final_output"):
        assert [path.name for path in (out / folder).iterdir()] == ["a.png"]
        assert Image.open(out / folder / "a.png").size == (128, 128)  # the original's rounded size
    for folder in ("stage_2_detection_output", "stage_3_face_output/each_img"):
        assert [path.name for path in (out / folder).iterdir()] == ["a_0.png"]
        assert Image.open(out / folder / "a_0.png").size == (256, 256)
    share = bench.read(out / STAGE_1 / "masks/mask/a.png").mean() / 255
    assert 0.005 < share < 0.2
    restored, final = (bench.read(out / folder / "a.png").astype(int) for folder in (folders[3], "final_output"))
    moved = np.abs(final - restored).max(2)
    assert 0 < moved[40:100, 30:100].mean() < 20 and moved[:, :3].max() == 0


@pytest.mark.parametrize("damaged", [0.0, 0.3, 1.0])
def test_dense_attention_is_ours(damaged):
    torch.manual_seed(0)
    block, x = ResidualNonLocal(16), torch.randn(2, 16, 6, 7)
    mask = torch.zeros(2, 1, 24, 28)
    mask[..., : round(24 * damaged), :] = 1
    with torch.inference_mode():
        assert torch.allclose(bench.dense_attention(block, x, mask), block(x, mask), atol=1e-4)


@torch.inference_mode()
def test_stand_ins_let_a_photo_through():
    networks, photo = small(), bench.as_tensor(portrait())
    vae = bench.pass_through_vae(networks["paper_old_vae"]).eval()
    mapping = bench.pass_through_mapping(networks["paper_mapping_scratch"]).eval()
    generator = bench.pass_through_faces(networks["paper_faces_256"]).eval()
    latent, mask = vae.encode(photo), torch.zeros_like(photo[:, :1])
    assert likeness(vae.decode(latent), photo) > 0.98
    translated = vae.decode(mapping(latent, mask))
    assert likeness(translated, photo) > 0.98 and translated.min() > 0.05 and translated.max() < 0.95
    mask[..., 60:70, :] = 1
    assert likeness(vae.decode(mapping(latent, mask))[..., :56, :], photo[..., :56, :]) > 0.98
    assert (generator(photo) - photo).abs().mean() < 0.05


def test_histograms_are_matched():
    dark, bright = np.arange(0, 128, dtype=np.uint8), np.arange(128, 256, dtype=np.uint8)
    face, wanted = (np.repeat(plane.reshape(8, 16, 1), 3, 2) for plane in (dark, bright))
    assert np.array_equal(bench.matched(face, wanted), wanted)


def test_attention_that_does_not_fit_is_refused(tmp_path):
    bench.write(tmp_path / "a.png", np.zeros((1, 1_000_000), np.uint8))
    bench.write(tmp_path / "b.png", portrait())
    bench.check_memory([tmp_path / "b.png"])
    with pytest.raises(ValueError, match="attention wants 20000 GB"):
        bench.check_memory(tmp_path.iterdir())


def test_a_checkout_of_the_original_runs_and_one_that_fails_is_left_out(tmp_path, capsys):
    bench.write(tmp_path / "photos" / "a.png", portrait())
    run = "import sys, pathlib as p; out = p.Path(sys.argv[4]) / 'final_output'; out.mkdir(); (out / 'a.png').touch()"
    for code, reason in ((run, None), ("raise OSError('no weights')", "OSError: no weights"), ("", "wrote nothing")):
        original = tmp_path / f"original-{len(code)}"
        original.mkdir()
        (original / "run.py").write_text(code)
        way = bench.Bench(tmp_path / "photos", tmp_path, original, "dense", 1)
        report = bench.compare(way, [bench.ORIGINAL], 1, original / "results")
        shown = bench.table(json.loads(json.dumps(report)))
        assert ("the original's own run.py" in shown) is (reason is None)
        if reason:
            assert "left out" in (told := capsys.readouterr().err) and reason in told
