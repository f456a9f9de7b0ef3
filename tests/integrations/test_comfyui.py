"""Nodes for ComfyUI: what they do on plain tensors, and in a real ComfyUI that runs workflows with them.

The latter wants `$COMFYUI_PATH`: a folder of ComfyUI, whose packages lie there in `site` where they are not installed.
"""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from bringback.errors import PhotoError
from bringback.integrations import image_batches
from bringback.integrations.image_batches import report, restore
from bringback.pipeline import Pipeline
from bringback.stages.record import Face

SERVER = """
import runpy, sys, torch
del sys.argv[0]  # "-c"
try:
    import torchvision
except RuntimeError:  # built for another torch; nothing here uses its compiled operators, so they are declared
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def images():
    """Two photos with scratches (2, 160, 144, 3), one of them with a face."""
    both = np.stack([data.astronaut()[:160, 150:294], data.coffee()[100:260, 200:344]]).astype(np.float32) / 255
    both[:, 30:130, 100:102] = 1
    return torch.from_numpy(both)


def gray(images):
    return images.mean(3, keepdim=True)


def test_a_batch_is_what_the_pipeline_makes_of_each_photo(images):
    made = restore(images, None, {"scratches": {}, "fill": {}, "translate": {}})
    alone = Pipeline.from_pretrained(stages=["scratches", "fill", "translate"])
    assert made.images.shape == images.shape and made.masks.shape == images.shape[:3]
    assert torch.equal(made.images.permute(0, 3, 1, 2), alone(images.permute(0, 3, 1, 2)))
    scratch = made.masks[:, 40:120, 100:102].mean()
    assert scratch > 0.5 > 5 * made.masks[:, :, :90].mean()


def test_a_mask_says_what_is_filled(images):
    masks = torch.zeros(images.shape[:3])
    masks[0, 30:130, 98:104] = 1
    made = restore(images, masks, {"fill": {"method": "telea"}})
    assert (made.images[0, 40:120, 100:102] - images[0, 40:120, 100:102]).abs().mean() > 0.1
    assert torch.equal(made.images[1], images[1])
    both = restore(images, masks[:1], {"fill": {"method": "telea"}}).images
    assert torch.equal(both[0], made.images[0]) and not torch.equal(both[1], images[1])


def test_the_empty_mask_of_64_pixels_and_a_small_one_are_resized(images):
    empty = restore(images, torch.zeros(1, 64, 64), {"fill": {}})
    assert torch.equal(empty.images, images) and empty.masks.shape == images.shape[:3]
    half = torch.zeros(1, 80, 72)
    half[:, :, :36] = 1
    masks = restore(images, half, {"fill": {}}).masks
    assert masks[:, :, :70].min() == 1 and masks[:, :, 75:].max() == 0


def test_masks_for_another_number_of_photos_are_refused(images):
    with pytest.raises(PhotoError, match="3 damage masks for 2 photos"):
        restore(images, torch.zeros(3, 160, 144), {"fill": {}})


def test_gray_stays_gray_in_three_channels_and_in_one(images):
    one = gray(images)
    made = restore(one, None, {"scratches": {}, "translate": {}}).images
    assert made.shape == one.shape and not torch.equal(made, one)
    three = restore(one.expand(-1, -1, -1, 3), None, {"translate": {}}).images
    assert (three.amax(3) - three.amin(3)).max() < 1e-5


def test_colors_make_three_channels_of_one(images):
    made = restore(gray(images), None, {"colorize": {}}).images
    assert made.shape == images.shape and (made.amax(3) - made.amin(3)).mean() > 0.01


def test_images_masks_and_alpha_are_enlarged(images):
    mask = torch.zeros(1, 160, 144)
    mask[:, :80] = 1
    made = restore(torch.cat([images, images[..., :1]], 3), mask, {"fill": {}, "upscale": {"factor": 1.5}})
    assert made.images.shape == (2, 240, 216, 4) and made.masks.shape == (2, 240, 216)
    assert restore(gray(images), None, {"upscale": {"factor": 1.5}}).images.shape == (2, 240, 216, 1)


def test_alpha_is_kept(images):
    alpha = torch.linspace(0, 1, 144).expand(2, 160, 1, 144).transpose(2, 3)
    made = restore(torch.cat([images, alpha], 3), None, {"translate": {}}).images
    assert torch.equal(made[..., 3:], alpha) and not torch.equal(made[..., :3], images)


def test_values_a_little_outside_and_half_precision(images):
    over = restore((1.5 * images - 0.2).half(), None, {"fill": {}}).images
    assert over.dtype == torch.float16 and over.min() == 0 and over.max() == 1


def test_strength_zero_is_the_photo_itself(images):
    assert torch.equal(restore(images, None, {"translate": {}}, strength=0).images, images)


def test_steps_are_told_and_what_tell_raises_ends_the_work(images):
    told = []
    restore(images, None, {"scratches": {"method": "gradient"}, "fill": {}}, tell=lambda *step: told.append(step))
    assert told == [(done, 4) for done in range(5)]

    def stop(done, steps):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(images, None, {"fill": {}}, tell=stop)


def test_a_stage_is_loaded_once_for_its_settings(images, monkeypatch):
    loaded = []
    load = Pipeline.from_pretrained

    def counted(**given):
        loaded.append(given["settings"])
        return load(**given)

    image_batches._stage.cache_clear()
    monkeypatch.setattr(Pipeline, "from_pretrained", counted)
    for method in ("ns", "telea", "ns"):
        restore(images[:1], None, {"fill": {"method": method}, "scratches": {}}, strength=0.5)
    assert loaded == [{"fill": {"method": "ns"}}, {"scratches": {}}, {"fill": {"method": "telea"}}]


def test_faces_are_refined_and_reported(images):
    made = restore(images, None, {"faces": {"min_size": 20, "only_center_face": True}})
    assert not torch.equal(made.images[0], images[0]) and torch.equal(made.images[1], images[1])
    first, second = report(made.faces).splitlines()
    assert first.startswith("photo 1, face at (") and ": refined" in first and ", identity 0." in first
    assert second == "photo 2: no faces found"


def test_a_face_left_alone_has_no_identity_in_the_report():
    face = Face((1.2, 2, 30.6, 40), np.zeros((5, 2)), None, "left alone: fidelity 1")
    assert report([[], [face]]) == ("photo 1: no faces found\nphoto 2, face at (1, 2, 31, 40): left alone: fidelity 1")


def test_outside_comfyui_one_line_says_where_the_nodes_belong():
    code = "import bringback.integrations.comfyui"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1 and last.startswith("ImportError: No module named 'comfy")
    assert "custom_nodes/bringback/__init__.py" in last


class ComfyUI:
    """A server of the real ComfyUI, and what it is asked."""

    def __init__(self, url, base, log):
        self.url, self.base, self.log = url, base, log
        self.open = build_opener(ProxyHandler({})).open  # it is here, behind no proxy

    def ask(self, path, body=None):
        request = Request(self.url + path, None if body is None else json.dumps(body).encode())
        with self.open(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def queue(self, **nodes):
        prompt = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
        return self.ask("/prompt", {"prompt": prompt})["prompt_id"]

    def entry(self, number, seconds=60):
        """What the history says of a workflow, once it is over."""
        end = time.monotonic() + seconds
        while not (entry := self.ask(f"/history/{number}").get(number)):
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return entry

    def saved(self, entry, name):
        assert entry["status"]["status_str"] == "success", entry["status"]
        (file,) = entry["outputs"][name]["images"]
        return np.asarray(Image.open(self.base / file["type"] / file["subfolder"] / file["filename"]), np.float32) / 255


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory, images):
    """ComfyUI with our nodes among its custom ones, and the first photo among its inputs."""
    root = Path(os.environ.get("COMFYUI_PATH", ""))
    if not (root / "main.py").is_file() or not (root / "comfy_api" / "latest").is_dir():
        pytest.skip("no ComfyUI with comfy_api.latest: set COMFYUI_PATH")
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes/bringback", "front", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "bringback" / "__init__.py").write_text(
        "from bringback.integrations.comfyui import comfy_entrypoint\n"
    )
    Image.fromarray(np.rint(images[0].numpy() * 255).astype(np.uint8)).save(base / "input" / "scan.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--cpu", "--disable-api-nodes", "--port", str(port), "--base-directory", str(base)]
    arguments += ["--front-end-root", str(base / "front"), "--database-url", "sqlite:///:memory:"]
    log = base / "log.txt"
    environment = os.environ | {"PYTHONPATH": str(root / "site"), "OMP_NUM_THREADS": "1"}
    with log.open("w") as written:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root / "main.py"), *arguments],
            cwd=root,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        running = ComfyUI(f"http://127.0.0.1:{port}", base, log)
        end = time.monotonic() + 180
        while True:
            with suppress(OSError):
                running.ask("/system_stats")
                break
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        yield running
    finally:
        server.terminate()
        server.wait(30)


SCAN = ("LoadImage", {"image": "scan.png"})
WHOLE = {"preset": "lean", "find_damage": True, "strength": 1.0}


def test_comfyui_knows_the_nodes(comfyui):
    known = {name: info for name, info in comfyui.ask("/object_info").items() if name.startswith("Bringback")}
    kinds = {name: (info["input_order"], info["output"], info["category"]) for name, info in known.items()}
    assert kinds == {
        "BringbackFindDamage": ({"required": ["image", "method"]}, ["MASK"], "image/bringback"),
        "BringbackTranslate": (
            {"required": ["image", "fill", "strength"], "optional": ["mask"]},
            ["IMAGE"],
            "image/bringback",
        ),
        "BringbackRefineFaces": (
            {"required": ["image", "fidelity", "min_size", "only_center_face"]},
            ["IMAGE", "STRING"],
            "image/bringback",
        ),
        "BringbackEnlarge": ({"required": ["image", "factor"]}, ["IMAGE"], "image/bringback"),
        "BringbackRestore": (
            {"required": ["image", "preset", "find_damage", "strength"], "optional": ["mask"]},
            ["IMAGE", "MASK"],
            "image/bringback",
        ),
    }
    presets = known["BringbackRestore"]["input"]["required"]["preset"][1]["options"]
    assert presets == ["classical", "color", "lean"]


def test_a_workflow_of_single_stages(comfyui, images):
    number = comfyui.queue(
        scan=SCAN,
        find=("BringbackFindDamage", {"image": ["scan", 0], "method": "unet"}),
        mend=(
            "BringbackTranslate",
            {"image": ["scan", 0], "mask": ["find", 0], "fill": "pushpull", "strength": 1.0},
        ),
        faces=(
            "BringbackRefineFaces",
            {"image": ["mend", 0], "fidelity": 0.0, "min_size": 20, "only_center_face": False},
        ),
        shown=("MaskToImage", {"mask": ["find", 0]}),
        mask=("SaveImage", {"images": ["shown", 0], "filename_prefix": "mask"}),
        mended=("SaveImage", {"images": ["mend", 0], "filename_prefix": "mended"}),
        result=("SaveImage", {"images": ["faces", 0], "filename_prefix": "result"}),
        told=("PreviewAny", {"source": ["faces", 1]}),
    )
    entry = comfyui.entry(number)
    masks = restore(images[:1], None, {"scratches": {"method": "unet"}}).masks
    mended = restore(images[:1], masks, {"fill": {}, "translate": {}}).images
    refined = restore(mended, None, {"faces": {"min_size": 20}})
    for name, wanted in (("mask", masks[0, ..., None]), ("mended", mended[0]), ("result", refined.images[0])):
        assert np.abs(comfyui.saved(entry, name) - wanted.numpy()).max() < 1.01 / 255, name
    assert entry["outputs"]["told"]["text"] == [report(refined.faces)]


def test_a_whole_restoration_with_the_empty_mask_that_comfyui_gives(comfyui, images):
    number = comfyui.queue(
        scan=SCAN,
        whole=("BringbackRestore", {"image": ["scan", 0], "mask": ["scan", 1], **WHOLE}),
        saved=("SaveImage", {"images": ["whole", 0], "filename_prefix": "whole"}),
    )
    stages = {name: {} for name in ("scratches", "tone", "fill", "translate", "faces")}
    wanted = restore(images[:1], torch.zeros(1, 64, 64), stages).images[0].numpy()
    assert np.abs(comfyui.saved(comfyui.entry(number), "saved") - wanted).max() < 1.01 / 255


def test_without_finding_damage_the_mask_alone_counts(comfyui):
    number = comfyui.queue(
        scan=SCAN,
        drawn=("SolidMask", {"value": 0.0, "width": 144, "height": 160}),
        whole=(
            "BringbackRestore",
            {"image": ["scan", 0], "mask": ["drawn", 0], **WHOLE, "preset": "classical", "find_damage": False},
        ),
        shown=("MaskToImage", {"mask": ["whole", 1]}),
        mask=("SaveImage", {"images": ["shown", 0], "filename_prefix": "none"}),
    )
    assert comfyui.saved(comfyui.entry(number), "mask").max() == 0


def test_values_out_of_range_are_refused_before_anything_runs(comfyui):
    wrong = {**WHOLE, "strength": 2.0, "preset": "paper"}
    with pytest.raises(HTTPError) as refused:
        comfyui.queue(
            scan=SCAN,
            whole=("BringbackRestore", {"image": ["scan", 0], **wrong}),
            saved=("SaveImage", {"images": ["whole", 0], "filename_prefix": "never"}),
        )
    errors = json.loads(refused.value.read())["node_errors"]["whole"]["errors"]
    assert {(error["extra_info"]["input_name"], error["type"]) for error in errors} == {
        ("strength", "value_bigger_than_max"),
        ("preset", "value_not_in_list"),
    }


def test_what_cannot_be_is_told_in_one_line(comfyui):
    number = comfyui.queue(
        scan=SCAN,
        three=("RepeatImageBatch", {"image": ["scan", 0], "amount": 3}),
        masks=("ImageToMask", {"image": ["three", 0], "channel": "red"}),
        mend=("BringbackTranslate", {"image": ["scan", 0], "mask": ["masks", 0], "fill": "ns", "strength": 1.0}),
        saved=("SaveImage", {"images": ["mend", 0], "filename_prefix": "never"}),
    )
    messages = dict(comfyui.entry(number)["status"]["messages"])
    assert messages["execution_error"]["node_id"] == "mend"
    assert messages["execution_error"]["exception_message"].strip() == (
        "3 damage masks for 1 photos: give each its own, or one for all"
    )


def test_an_interrupt_ends_the_work_between_two_stages(comfyui):
    number = comfyui.queue(
        scan=SCAN,
        many=("RepeatImageBatch", {"image": ["scan", 0], "amount": 500}),
        whole=("BringbackRestore", {"image": ["many", 0], **WHOLE}),
        saved=("SaveImage", {"images": ["whole", 0], "filename_prefix": "never"}),
    )
    end = time.monotonic() + 30
    while not comfyui.ask("/queue")["queue_running"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)  # well within the photos
    comfyui.ask("/interrupt", {})
    messages = dict(comfyui.entry(number, 20)["status"]["messages"])
    assert messages["execution_interrupted"]["node_id"] == "whole"
