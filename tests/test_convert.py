"""`bringback convert`: the original's files become checkpoints that restore, or nothing is written."""

import io
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from rule import original_shapes, tiny, weights_by_rule

from bringback import cli, convert
from bringback.checkpoints import Checkpoints, MissingWeights
from bringback.convert import ConversionError, renamed
from bringback.nets.paper.face import PaperFaceGenerator
from bringback.originals import ORIGINALS
from bringback.pipeline import Pipeline
from bringback.pipeline_config import SHIPPED


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The original's networks at small widths."""
    monkeypatch.setattr(convert, "ORIGINALS", {name: tiny(name) for name in ORIGINALS})


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    """A folder as the original's, its files in the two ways that torch has written them."""
    root = tmp_path / "checkpoints"
    for number, name in enumerate(ORIGINALS):
        original = tiny(name)
        state = weights_by_rule(original_shapes(original))
        above = root / "restoration" if name.startswith(("VAE", "mapping")) else root
        (above / name).mkdir(parents=True)
        whole = {"epoch": 20, "model_state": state} if original.inside else state
        torch.save(whole, above / name / original.file, _use_new_zipfile_serialization=number % 2 == 0)
    torch.save({}, root / "restoration" / "VAE_A_quality" / "latest_net_D.pth")
    return root


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(tmp_path: Path, *sources) -> str:
    """The one line that a conversion ends with, after which nothing is there that was not before."""
    before = sorted(tmp_path.rglob("*"))
    result = run("convert", *sources, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert result.stderr.startswith("bringback: ") and result.stderr.count("\n") == 1, result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    return result.stderr


def vae_file(checkpoints: Path) -> Path:
    return checkpoints / "restoration" / "VAE_A_quality" / "latest_net_G.pth"


def test_a_folder_is_converted_and_restores(checkpoints, tmp_path, pixels):
    out, photos = tmp_path / "out", tmp_path / "photos"
    result = run("convert", checkpoints, "-o", out)
    assert result.exit_code == 0, result.output
    for name, original in ORIGINALS.items():
        assert f"{original.folder}: " in result.stdout and f"{name}/{original.file}" in result.stdout
        files = {path.name for path in (out / original.folder).iterdir()}
        assert files == {"config.json", "model.safetensors", "README.md"}
    assert "passed over: " in result.stdout and "not there" not in result.stdout
    assert (out / "pipeline.yaml").read_bytes() == SHIPPED["paper"].read_bytes()
    photos.mkdir()
    Image.fromarray(pixels).save(photos / "a.png")
    for config in ([], ["--config", "paper-quality"], ["--config", "paper-hr"], ["--stages", "scratches"]):
        done = run("restore", photos, "-o", tmp_path / "restored", "--weights", out, "--overwrite", *config)
        assert done.exit_code == 0, done.output
        restored = np.asarray(Image.open(tmp_path / "restored" / "a.png"))
        assert restored.shape == pixels.shape
        changed = np.abs(restored.astype(int) - pixels).max() > 20
        assert changed == ("scratches" not in config)
    done = run("scratches", photos, "-o", tmp_path / "masks", "--weights", out)
    assert done.exit_code == 0, done.output
    mask = np.asarray(Image.open(tmp_path / "masks" / "a_mask.png"))
    assert mask.shape == pixels.shape[:2] and set(np.unique(mask)) <= {0, 255}


def test_what_is_converted_is_what_was_there(checkpoints, tmp_path):
    convert.convert([checkpoints], tmp_path / "out")
    original = tiny("Setting_9_epoch_100")
    state = weights_by_rule(original_shapes(original))
    loaded = Checkpoints(tmp_path / "out").load("paper_faces_256", PaperFaceGenerator)
    weight = state["up_0.conv_0.weight_orig"]
    largest = torch.linalg.matrix_norm(loaded.blocks[3].first.weight.flatten(1), 2)
    ratio = weight / loaded.blocks[3].first.weight
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))
    assert largest >= 1  # the norm that was divided out is one of a single direction
    torch.testing.assert_close(loaded.blocks[0].first_norm.gamma.bias, state["head_0.norm_0.mlp_gamma.bias"])
    assert loaded.stem.weight.dtype == torch.float32


def test_archives_and_single_files(checkpoints, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "global_checkpoints"), "zip", checkpoints / "restoration")
    alone = tmp_path / "FaceSR_512.pth"
    shutil.copy(checkpoints / "FaceSR_512" / "latest_net_G.pth", alone)
    result = run("convert", packed, alone, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "paper_faces_512").is_dir() and (tmp_path / "out" / "paper_mapping_hr").is_dir()
    assert "not there: detection" in result.stdout and "not there: Setting_9_epoch_100" in result.stdout
    with pytest.raises(MissingWeights, match="paper_scratches"):
        Pipeline.from_pretrained(tmp_path / "out")
    rest = run("convert", checkpoints / "detection", checkpoints / "Setting_9_epoch_100", "-o", tmp_path / "out")
    assert rest.exit_code == 0 and "not there" not in rest.stdout
    Pipeline.from_pretrained(tmp_path / "out")


def test_a_file_that_is_cut_short(checkpoints, tmp_path):
    for file in (vae_file(checkpoints), checkpoints / "restoration" / "VAE_B_quality" / "latest_net_G.pth"):
        whole = file.read_bytes()
        for share in (0.0, 0.3, 0.97):
            file.write_bytes(whole[: int(share * len(whole))])
            assert f"{file}: cut short, or no file of weights" in refused(tmp_path, checkpoints)
        file.write_bytes(whole)


class Evil:
    def __reduce__(self):
        return (Path("hacked").touch, ())


def test_a_pickle_with_code_is_not_run(checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for new in (True, False):
        torch.save({"encoder.1.weight": Evil()}, vae_file(checkpoints), _use_new_zipfile_serialization=new)
        said = refused(tmp_path, checkpoints)
        assert "holds code beside weights" in said and "it was not run" in said
        assert "getattr" in said or "pathlib" in said  # what it wanted
    vae_file(checkpoints).write_bytes(pickle.dumps(Evil()))
    refused(tmp_path, checkpoints)
    assert not (tmp_path / "hacked").exists()


def test_another_network_under_the_name(checkpoints, tmp_path):
    mapping = checkpoints / "restoration" / "mapping_scratch" / "latest_net_mapping_net.pth"
    shutil.copy(vae_file(checkpoints), mapping)
    said = refused(tmp_path, checkpoints)
    assert f"{mapping}: is not the mapping for scratched photos: missing stem" not in said
    assert "missing before_NL.0.weight" in said and "surplus encoder.1.weight" in said and "more" in said


def test_wrong_keys_are_named(checkpoints, tmp_path):
    file = vae_file(checkpoints)
    state = torch.load(file, weights_only=True)
    bias = state.pop("decoder.7.bias")
    state |= {"decoder.9.bias": bias, "encoder.4.weight": torch.zeros(8, 8, 3, 3)}
    state["encoder.1.bias"][3] = torch.nan
    torch.save(state, file)
    said = refused(tmp_path, checkpoints)
    assert "missing decoder.7.bias; surplus decoder.9.bias" in said
    assert "misshapen encoder.4.weight (8, 8, 3, 3) for (8, 8, 4, 4); not finite encoder.1.bias" in said
    for whole, what in (([1, 2], "something else"), ({"a": 1}, "something else"), ({}, "missing encoder.1.weight")):
        torch.save(whole, file)
        assert what in refused(tmp_path, checkpoints)
    detector = checkpoints / "detection" / "FT_Epoch_latest.pt"
    torch.save({"weights": {}}, detector)
    assert "has no 'model_state'" in refused(tmp_path, detector)


def test_what_is_no_source(checkpoints, tmp_path):
    assert "not there" in refused(tmp_path, tmp_path / "nowhere")
    stray = tmp_path / "weights.pth"
    shutil.copy(vae_file(checkpoints), stray)
    assert "VAE_A_quality" in refused(tmp_path, stray)  # how they are known
    text = tmp_path / "readme.txt"
    text.write_text("no archive")
    assert "neither weights (.pth, .pt) nor a zip archive" in refused(tmp_path, text)
    assert "again, after" in refused(tmp_path, checkpoints, vae_file(checkpoints))
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(vae_file(checkpoints), "../VAE_A_quality/latest_net_G.pth")
    torn = bytearray(damaged.read_bytes())
    torn[len(torn) // 2] ^= 255
    damaged.write_bytes(torn)
    assert "cannot be unpacked" in refused(tmp_path, damaged) or "cut short" in refused(tmp_path, damaged)


def test_a_name_in_an_archive_leads_nowhere(checkpoints, tmp_path):
    packed = tmp_path / "in" / "a.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(vae_file(checkpoints), "../../VAE_A_quality/latest_net_G.pth")
    assert run("convert", packed, "-o", tmp_path / "out").exit_code == 0
    assert not list(tmp_path.rglob("latest_net_G.pth"))[len(list(checkpoints.rglob("latest_net_G.pth"))) :]
    assert (tmp_path / "out" / "paper_old_vae").is_dir()


def test_what_is_there_is_kept_unless_told(checkpoints, tmp_path):
    out = tmp_path / "out"
    assert run("convert", vae_file(checkpoints), "-o", out).exit_code == 0
    mark = out / "paper_old_vae" / "mine.txt"
    mark.write_text("x")
    result = run("convert", checkpoints, "-o", out)
    assert result.exit_code == 2 and "--overwrite" in result.stderr and mark.exists()
    assert sorted(path.name for path in out.iterdir()) == ["paper_old_vae", "pipeline.yaml"]
    assert run("convert", checkpoints, "-o", out, "--overwrite").exit_code == 0
    assert not mark.exists() and (out / "paper_mapping_hr").is_dir()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_keys_are_renamed_one_to_one():
    for name in ORIGINALS:
        original = tiny(name)
        network, shapes = original.network(), original_shapes(original)
        made = renamed(weights_by_rule(shapes), network, original.modules)
        assert list(made) == list(network.state_dict())
        plain = [key for key in shapes if not key.endswith(("_u", "_v"))]
        assert len(plain) == len(made)
        unused = set(original.modules) - {key.rpartition(".")[0] for key in made}
        assert not {one for one in unused if ".around" not in one}  # only some blocks have a way around


def test_weights_in_half_precision_are_read(tmp_path):
    state = {key: value.half() for key, value in weights_by_rule(original_shapes(tiny("VAE_A_quality"))).items()}
    file = tmp_path / "VAE_A_quality.pth"
    stream = io.BytesIO()
    torch.save(state, stream)
    file.write_bytes(stream.getvalue())
    assert convert.read(file, tiny("VAE_A_quality")).state_dict()["decoder.6.bias"].dtype == torch.float32
    with pytest.raises(ConversionError, match="mapping for photos"):
        convert.read(file, tiny("mapping_quality"))
