"""`bringback convert`: the original's files become checkpoints that restore, or nothing is written."""

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rule import original_shapes, tiny, weights_by_rule
from safetensors import SafetensorError
from typer.testing import CliRunner

from bringback.assets import presets
from bringback.cli import main as cli
from bringback.errors import ConversionError
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.pipeline import Pipeline
from bringback.weights.checkpoints import Checkpoints, MissingWeights
from bringback.weights.wan2020 import convert
from bringback.weights.wan2020 import legacy as foreign
from bringback.weights.wan2020.key_maps import ORIGINALS
from bringback.weights.wan2020.legacy import renamed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The original's networks at small widths."""
    for module in (convert, foreign):
        monkeypatch.setattr(module, "ORIGINALS", {name: tiny(name) for name in ORIGINALS})


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


def refused(tmp_path: Path, *sources, out="deep/out") -> str:
    """The one line that a conversion ends with, after which nothing is there that was not before."""
    before = contents(tmp_path)
    result = run("convert", *sources, "-o", tmp_path / out)
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert result.stderr.startswith("bringback: ") and result.stderr.count("\n") == 1, result.stderr
    assert contents(tmp_path) == before
    return result.stderr


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


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
    assert (out / "pipeline.yaml").read_bytes() == presets()["paper"].read_bytes()
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
    weight, u, v = (state[f"up_0.conv_0.weight_{part}"] for part in ("orig", "u", "v"))
    torch.testing.assert_close(loaded.blocks[3].first.weight, weight / torch.einsum("o,oi,i", u, weight.flatten(1), v))
    assert (loaded.blocks[3].first.weight - weight).abs().max() > 0.01
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
    with pytest.raises(MissingWeights, match="paper_faces_256"):
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
    torch.save(state, file)
    said = refused(tmp_path, checkpoints)
    assert "missing decoder.7.bias; surplus decoder.9.bias" in said
    assert "misshapen encoder.4.weight (8, 8, 3, 3) for (8, 8, 4, 4)" in said
    state = weights_by_rule(original_shapes(tiny("VAE_A_quality")))
    state["encoder.1.bias"][3] = torch.nan
    torch.save(state, file)
    assert "not finite encoder.1.bias" in refused(tmp_path, checkpoints)
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
    other = tmp_path / "VAE_A_quality.pth"
    shutil.copy(checkpoints / "restoration" / "mapping_quality" / "latest_net_mapping_net.pth", other)
    assert "again, and not the same" in refused(tmp_path, checkpoints, other)
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(tmp_path, checkpoints, out="file")
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(vae_file(checkpoints), "../VAE_A_quality/latest_net_G.pth")
    torn = bytearray(damaged.read_bytes())
    torn[len(torn) // 2] ^= 255
    damaged.write_bytes(torn)
    assert "cannot be unpacked" in refused(tmp_path, damaged) or "cut short" in refused(tmp_path, damaged)


def test_a_name_in_an_archive_leads_nowhere(checkpoints, tmp_path):
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(vae_file(checkpoints), "../../VAE_A_quality/latest_net_G.pth")
        archive.write(checkpoints / "FaceSR_512" / "latest_net_G.pth", "..\\FaceSR_512\\latest_net_G.pth")
    before = contents(tmp_path)
    assert run("convert", packed, "-o", tmp_path / "some" / "deep" / "out").exit_code == 0
    new = {path.relative_to(tmp_path).parts[0] for path in contents(tmp_path).keys() - before.keys()}
    assert new == {"some"}
    made = sorted(path.name for path in (tmp_path / "some" / "deep" / "out").iterdir())
    assert made == ["paper_faces_512", "paper_old_vae", "pipeline.yaml"]


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


def test_the_same_file_twice_and_an_archive_beside_its_folder(checkpoints, tmp_path):
    shutil.make_archive(str(tmp_path / "copy"), "zip", checkpoints / "restoration")
    shutil.move(tmp_path / "copy.zip", checkpoints / "copy.zip")
    (checkpoints / "folder.zip").mkdir()
    (checkpoints / "broken.zip").write_bytes(b"PK no more")
    result = run("convert", checkpoints, vae_file(checkpoints), "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"passed over: {vae_file(checkpoints)} (the same as " in result.stdout


@pytest.mark.parametrize("why", [OSError("No space left"), KeyboardInterrupt()])
def test_what_fails_in_the_end_leaves_all_as_it_was(checkpoints, tmp_path, monkeypatch, why):
    out = tmp_path / "out"
    assert run("convert", checkpoints, "-o", out).exit_code == 0
    (out / "paper_old_vae" / "mine.txt").write_text("x")
    before, rename = contents(tmp_path), Path.rename

    def fails(self, target):
        if self.name == "paper_mapping_scratch" and self.parent.name == "made":
            raise why
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    result = run("convert", checkpoints, "-o", out, "--overwrite")
    assert result.exit_code in (2, 130) and "Traceback" not in result.output
    assert contents(tmp_path) == before


def test_a_full_disk(checkpoints, tmp_path, monkeypatch):
    def full(state, path):
        Path(path).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("bringback.weights.checkpoints.save_file", full)
    assert "No space left on device" in refused(tmp_path, checkpoints)


def test_the_pipeline_is_the_one_that_can_run(checkpoints, tmp_path):
    out, parts = tmp_path / "out", checkpoints / "restoration"
    for name in ("VAE_A_quality", "VAE_B_quality", "mapping_quality"):
        assert run("convert", parts / name, "-o", out).exit_code == 0
    assert (out / "pipeline.yaml").read_bytes() == presets()["paper-quality"].read_bytes()
    for rest in (parts / "mapping_scratch", checkpoints / "detection"):
        assert run("convert", rest, "-o", out).exit_code == 0
    assert (out / "pipeline.yaml").read_bytes() == presets()["paper"].read_bytes()
    (out / "pipeline.yaml").write_text("mine")
    assert run("convert", parts / "VAE_B_scratch", "-o", out).exit_code == 0
    assert (out / "pipeline.yaml").read_text() == "mine"


def test_tensors_of_odd_kinds(checkpoints, tmp_path):
    file = vae_file(checkpoints)
    state = torch.load(file, weights_only=True)
    for key, value in ((1, torch.zeros(3)), ("encoder.1.bias", torch.zeros(8).to_sparse())):
        torch.save(state | {key: value}, file)
        assert "something else than named tensors" in refused(tmp_path, file)
    torch.save(state | {"two\nlines": torch.zeros(3)}, file)
    assert "surplus 'two\\nlines'" in refused(tmp_path, file)
    face = checkpoints / "FaceSR_512" / "latest_net_G.pth"
    state = torch.load(face, weights_only=True)
    torch.save(state | {"up_0.conv_0.weight_u": torch.zeros_like(state["up_0.conv_0.weight_u"])}, face)
    assert "not finite up_0.conv_0.weight" in refused(tmp_path, face)


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
    assert foreign.read(file, tiny("VAE_A_quality")).state_dict()["decoder.6.bias"].dtype == torch.float32
    with pytest.raises(ConversionError, match="mapping for photos"):
        foreign.read(file, tiny("mapping_quality"))
