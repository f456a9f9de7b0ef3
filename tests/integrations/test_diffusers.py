"""The stages as blocks of Modular Diffusers, run by diffusers itself."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from bringback.errors import PhotoError
from bringback.images.photo import Photo
from bringback.integrations import diffusers as plugin
from bringback.pipeline import Pipeline

STAGES = ["scratches", "tone", "fill", "translate"]


@pytest.fixture(scope="module")
def image() -> Image.Image:
    """Someone's portrait, scratched."""
    pixels = data.astronaut()[:192, 130:322].copy()
    pixels[40:150, 100:102] = 255
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def pipeline():
    blocks = plugin.RestoreBlocks()
    made = blocks.init_pipeline()
    made.update_components(**plugin.components(blocks, device="cpu", dtype="float32"))
    return made


def blocks_without(*names: str):
    blocks = plugin.RestoreBlocks()
    for name in names:
        blocks.sub_blocks.pop(name)
    return blocks


def ready(blocks):
    made = blocks.init_pipeline()
    made.update_components(**plugin.components(blocks, device="cpu", dtype="float32"))
    return made


def test_the_whole_is_what_our_own_pipeline_makes(pipeline, image):
    ours = Pipeline.from_pretrained(device="cpu", dtype="float32")
    state = pipeline(image=image)
    (restored,), (mask,), (faces,) = (state.get(name) for name in ("images", "masks", "faces"))
    np.testing.assert_array_equal(np.asarray(restored), np.asarray(ours(image)))
    found = ours.restore(Photo.from_array(np.asarray(image))).damage()[0, 0]
    assert torch.equal(torch.as_tensor(mask), found) and found[50:140, 100:102].mean() > 5 * found.mean()
    assert len(faces) == 1 and faces[0].identity is not None


def test_batches_masks_and_output_types(image):
    made = ready(blocks_without("refine_faces", "find_damage"))
    ours = Pipeline.from_pretrained(stages=STAGES[1:], device="cpu", dtype="float32")
    mask = np.zeros((192, 192), np.float32)
    mask[40:150, 98:104] = 1
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    batch = torch.cat([pixels, pixels.flip(3)])
    expected = ours(batch, mask)
    tensors = made(image=batch, mask=mask, output_type="pt", output="images")
    assert torch.equal(torch.stack(tensors), expected)
    arrays = made(image=[image, image.resize((100, 90))], output_type="np", output="images")
    assert [array.shape for array in arrays] == [(192, 192, 3), (90, 100, 3)]
    untouched = made(image=image, mask=mask, strength=0.0, output="images")[0]
    np.testing.assert_array_equal(np.asarray(untouched), np.asarray(image))


def test_gray_stays_gray_until_a_block_colors_it(image):
    gray = image.convert("L")
    blocks = blocks_without("refine_faces", "find_damage", "correct_tone")
    assert ready(blocks)(image=gray, output="images")[0].mode == "L"
    blocks.sub_blocks.insert("colorize", plugin.Colorize(), len(blocks.sub_blocks) - 1)
    colored = ready(blocks)(image=gray, output="images")[0]
    assert colored.mode == "RGB" and np.ptp(np.asarray(colored).astype(int), axis=2).max() > 10


def test_an_enlarging_block_gets_the_finished_photo(image):
    blocks = blocks_without("refine_faces", "find_damage", "translate")
    blocks.sub_blocks.insert("upscale", plugin.Upscale(), len(blocks.sub_blocks) - 1)
    made = ready(blocks)
    ours = Pipeline.from_pretrained(stages=["tone", "fill", "upscale"], device="cpu", dtype="float32", strength=0.5)
    large = made(image=image, strength=0.5, output="images")[0]
    assert large.size == (2 * image.width, 2 * image.height)
    np.testing.assert_array_equal(np.asarray(large), np.asarray(ours(image)))
    with pytest.raises(ValueError, match="strength 2"):
        made(image=image, strength=2.0)


def test_a_block_alone_says_what_it_wants(image):
    block = plugin.FindDamage()
    assert block.component_names == ["scratches"] and block.input_names == ["restorations"]
    assert "scratches" in block.doc and "ScratchDetector" in block.doc
    assert "image" in plugin.RestoreBlocks().doc
    # as a stage within other people's blocks
    few = plugin.SequentialPipelineBlocks.from_blocks_dict({"begin": plugin.Begin(), "look": block})
    found = ready(few)(image=image, output="restorations")
    assert found[0].mask.shape == (1, 1, 192, 192)


def test_what_is_under_sharp_marks_is_asked_for_if_the_scale_is_estimated(image, monkeypatch):
    monkeypatch.setattr(plugin, "under_marks", lambda photo, scale: 3.0 * scale)
    begin = ready(plugin.SequentialPipelineBlocks.from_blocks_dict({"begin": plugin.Begin()}))
    (estimated,), (given,) = (begin(image=image, output="restorations", scale=scale) for scale in ("auto", 2.0))
    assert estimated.softer == 3.0 * estimated.scale and given.softer is None


def test_what_is_missing_or_wrong_is_said(image):
    blocks = blocks_without("refine_faces")
    with pytest.raises(ValueError, match="component 'scratches' is missing"):
        blocks.init_pipeline()(image=image)
    made = ready(blocks_without("refine_faces", "find_damage", "correct_tone", "translate"))
    with pytest.raises(ValueError, match="output_type 'jpg'"):
        made(image=image, output_type="jpg")
    with pytest.raises(ValueError, match="strength 2"):
        made(image=image, strength=2.0)
    with pytest.raises(PhotoError):
        made(image=object())
    with pytest.raises(PhotoError, match="no photo"):
        made(image=[])
    with pytest.raises(PhotoError, match="damage mask"):
        made(image=image, mask=np.zeros((4, 4)))
