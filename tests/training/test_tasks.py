"""The tasks: each overfits one batch, trains against its discriminator, starts from weights; options have effect."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bringback.degradations import DegradedBatch, degrade
from bringback.degradations.eval_recipes import completed
from bringback.errors import ConfigError
from bringback.models.discriminators import LatentDiscriminator, PatchDiscriminator
from bringback.models.translation.mapping import LatentMapping, translate
from bringback.models.translation.vae import VAE
from bringback.models.unet import damage
from bringback.training.adversarial import discriminator_loss, feature_matching, generator_loss
from bringback.training.config import TrainConfig
from bringback.training.data import Batch, Crops
from bringback.training.loop import train
from bringback.training.losses import bce_dice
from bringback.training.task import TrainingTask
from bringback.training.tasks import build_task
from bringback.weights.checkpoints import Checkpoints, MissingWeights, save_network

RATES = {
    "scale": 1e-2,
    "scratches": 1e-2,
    "tone": 3e-3,
    "clean_vae": 3e-3,
    "old_vae": 3e-3,
    "mapping": 3e-3,
    "translation": 3e-3,
    "faces": 3e-3,
    "colorize": 1e-2,
    "relight": 1e-2,
    "upscale": 1e-2,
}
RECIPES = {
    "scale": {"recipe": "scans", "resolution": 136},
    "tone": {"recipe": "mixed"},
    "relight": {"recipe": "dark-noisy"},
    "upscale": {"recipe": "small"},
}


def first_batch(settings: TrainConfig) -> object:
    crops = Crops(settings.train_data, Path(settings.data_dir), settings.resolution, 0)
    return crops.batch([0, 1], torch.device("cpu"))


def losses_before_and_after(task: TrainingTask, settings: TrainConfig, rate: float) -> tuple[float, float]:
    """The loss before and after 20 steps on one batch."""
    prepared = task.prepare(first_batch(settings), None)
    optimizer = torch.optim.Adam(task.phases()[0].parameters, lr=rate)
    seen = []
    for _ in range(21):
        loss = task("generator", prepared).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    return seen[0], seen[-1]


@pytest.mark.parametrize("task", RATES)
def test_each_task_overfits_one_batch(task: str, tiny, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = tiny(task, tmp_path, **RECIPES.get(task, {}))
    built = build_task(settings)
    # some start as the identity: give them something to learn
    if task in ("clean_vae", "old_vae", "mapping", "translation", "faces", "upscale"):
        torch.nn.init.normal_(built.net.head.weight, std=1.0 if task == "faces" else 0.1)
    begun = {key: value.clone() for key, value in built.state_dict().items()}
    first, last = losses_before_and_after(built, settings, 0.0)
    assert last > 0.8 * first
    built.load_state_dict(begun)
    first, last = losses_before_and_after(built, settings, RATES[task])
    assert last < 0.8 * first


@pytest.mark.parametrize("task", ["old_vae", "upscale"])
def test_tasks_degrade_each_picture_by_the_recipe_of_its_source(task: str, tiny, tmp_path: Path) -> None:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch(pixels, [3, 3], torch.zeros(2, dtype=torch.bool), ["clean", ""])
    built = build_task(tiny(task, tmp_path, recipe="structured"))
    made = [built.prepare(replace(batch, recipes=recipes), None) for recipes in (["clean"] * 2, batch.recipes)]
    clean, mixed = (one.pixels if isinstance(one, Batch) else one[0] for one in made)
    assert torch.equal(clean[0], mixed[0]) and not torch.equal(clean[1], mixed[1])


def test_a_quarter_of_the_masks_that_the_mapping_learns_from_is_exact(tiny, tmp_path: Path) -> None:
    task = build_task(tiny("mapping", tmp_path))
    pixels = torch.full((8, 3, 48, 48), 0.25)
    mask = torch.zeros(8, 1, 48, 48)
    mask[..., 20:24, :] = 0.3  # more than a fifth: to be replaced
    aged = torch.lerp(pixels, torch.ones(()), mask)
    gray = torch.zeros(8, dtype=torch.bool)
    given, filled, truth = task.prepare_aged(DegradedBatch(aged, mask, pixels, gray), list(range(8)))
    exact = (filled[:, :, 20:24] == 1).all(3).all(2)[:, 0]
    assert exact.tolist() == [seed % 4 == 0 for seed in range(8)]
    assert (given[exact] - truth[exact]).abs().max() < 0.02
    assert torch.equal(given[~exact], aged[~exact])  # an untrained detector finds nothing


def test_discriminators_minimize_the_hinge_loss() -> None:
    torch.manual_seed(0)
    real, fake = torch.rand(2, 3, 64, 64), torch.full((2, 3, 64, 64), 0.5)
    discriminator = PatchDiscriminator(width=8)
    assert [maps[-1].shape[1] for maps in discriminator(real)] == [1, 1]
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1.5 and losses[-1] < 0.5
    with torch.no_grad():
        assert float(generator_loss(discriminator(fake))) > 0.5 > float(generator_loss(discriminator(real)))
    assert float(feature_matching(discriminator(real), discriminator(real)).detach()) == pytest.approx(0, abs=1e-3)
    # no gradient reaches the target
    real.requires_grad_(), fake.requires_grad_()
    feature_matching(discriminator(real), discriminator(fake)).backward()
    assert real.grad is None and fake.grad.abs().sum() > 0
    assert LatentDiscriminator(6, width=4)(torch.rand(2, 6, 16, 16)).shape[:2] == (2, 1)


@pytest.mark.parametrize("task", ["old_vae", "faces"])
def test_a_network_and_its_discriminator_train_in_turn(task: str, tiny, tmp_path: Path) -> None:
    options = {"adversarial": 0.1, **({"matching": 1.0, "judge_width": 4} if task == "faces" else {})}
    settings = tiny(task, tmp_path, max_train_steps=2, options=options, validation_data=[], use_ema=False)
    built = build_task(settings)
    assert [phase.name for phase in built.phases()] == ["generator", "discriminator"]
    owned = [{id(p) for p in phase.parameters} for phase in built.phases()]
    assert not owned[0] & owned[1]
    before = {key: value.clone() for key, value in built.state_dict().items() if not key.startswith("weight")}
    train(built, settings)
    moved = {key.split(".")[0] for key, value in built.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"net", "discriminator"}
    assert {path.parent.name for path in tmp_path.glob("*/model.safetensors")} - {"weights"} == {task}


def test_the_encoder_learns_to_hide_where_a_latent_comes_from(tiny, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = tiny("old_vae", tmp_path, options={"adversarial": 1.0, "noise": 0.0, "kl": 0.0})
    task = build_task(settings)
    batch = task.prepare(replace(first_batch(settings), old=torch.tensor([True, False])), None)
    telling = task("generator", batch).parts["telling"]
    # the label of the real old photo is +1: the discriminator's loss falls as the encoder's `telling` rises
    optimizer = torch.optim.Adam(task.discriminator.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        task("discriminator", batch).total.backward()
        optimizer.step()
    trained = task("generator", batch).parts["telling"]
    assert trained > telling + 0.2
    optimizer = torch.optim.Adam(task.net.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        task("generator", batch).total.backward()
        optimizer.step()
    assert task("generator", batch).parts["telling"] < trained - 0.1


def test_faces_learn_identity(tiny, tmp_path: Path) -> None:
    settings = tiny("faces", tmp_path, options={"identity": 1.0})
    task = build_task(settings).train()
    losses = task("generator", task.prepare(first_batch(settings), None))
    losses.parts["identity"].backward()
    assert losses.parts["identity"] > 0 and task.net.head.weight.grad.abs().sum() > 0
    assert "identity" not in build_task(replace(settings, options={"identity": 0.0}))("generator", _faces()).parts


def test_identity_weighs_more_where_a_face_hardly_was_damaged(tiny, tmp_path: Path) -> None:
    task = build_task(tiny("faces", tmp_path, options={"identity": 1.0, "translated": 0.0}))
    pixels, _, mask, truth = _faces()
    truth = truth.roll(40, 3)
    hardly, much = (task("generator", (pixels, came, mask, truth)).parts["identity"].item() for came in (truth, pixels))
    assert hardly > 1.5 * much


def test_what_was_filled_does_not_count_as_how_a_face_came(tiny, tmp_path: Path) -> None:
    task = build_task(tiny("faces", tmp_path, options={"translated": 1.0}))
    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., 100:130, 100:130] = 1
    made = task.restored(DegradedBatch(pixels, mask, pixels, torch.tensor([False])), [1])
    now, came = made.aged.chunk(2, 1)
    assert made.mask.max() == 1
    torch.testing.assert_close(now[..., 105:125, 105:125], came[..., 105:125, 105:125])
    assert (now - came).abs().max() > 1e-4


def _faces() -> tuple[torch.Tensor, ...]:
    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    return pixels, pixels, torch.zeros(1, 1, 256, 256), pixels


def test_a_share_of_the_faces_is_translated(tiny, tmp_path: Path) -> None:
    """The share in the options, selected by seed; gray faces stay gray, and it is known how all came."""
    seeds = np.random.default_rng(0).integers(2**62, size=40).tolist()  # as large as those of training pictures
    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).expand(40, -1, -1, -1)
    aged = degrade(pixels[:1], "clean", [0])
    aged = DegradedBatch(pixels, aged.mask.expand(40, -1, -1, -1), pixels, torch.arange(40) % 2 == 0)
    plain = build_task(tiny("faces", tmp_path, options={"translated": 0.0})).restored(aged, seeds).aged
    torch.testing.assert_close(plain, torch.cat([pixels] * 2, 1))
    made = build_task(tiny("faces", tmp_path, options={"translated": 0.3})).restored(aged, seeds).aged
    made, came = made.chunk(2, 1)
    torch.testing.assert_close(came, pixels)
    changed = (made - pixels).abs().amax((1, 2, 3)) > 1e-4
    assert 8 <= changed.sum() <= 16
    assert all((made[i, 0] - made[i, 2]).abs().max() < 1e-6 for i in range(0, 40, 2) if changed[i])


def test_faces_are_moved_together_with_their_truth(tiny, tmp_path: Path) -> None:
    pixels = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    aged = DegradedBatch(torch.cat([pixels, 1 - pixels], 1), pixels[:, :1], pixels, torch.zeros(3, dtype=torch.bool))
    task = build_task(tiny("faces", tmp_path, options={"translated": 0.0}))
    seeds = [8 * 40, 8 * 80, 8 * 80 + 1]  # by nothing, by four pixels each way
    moved, came, holes, truth = task.prepare_aged(aged, seeds)
    torch.testing.assert_close(moved[0], pixels[0])
    torch.testing.assert_close(moved[1:, :, :-4, :-4], pixels[1:, :, 4:, 4:])
    torch.testing.assert_close(moved, truth)
    torch.testing.assert_close(came, 1 - truth)
    torch.testing.assert_close(holes, truth[:, :1])


@pytest.mark.parametrize("task", ["scratches", "tone", "clean_vae", "old_vae", "mapping", "faces"])
def test_every_task_starts_from_weights(task: str, tiny, tmp_path: Path) -> None:
    settings = tiny(task, tmp_path / "run")
    begun = build_task(settings)
    name = "clean_vae" if task == "old_vae" else task  # the old VAE starts from the clean one
    sha256 = save_network(next(iter(begun.networks().values())), tmp_path / "begun" / name)
    again = build_task(replace(settings, init_from=str(tmp_path / "begun"), network={}))
    assert again.parents[name] == sha256
    for ours, theirs in zip(again.net.parameters(), begun.net.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float()) and ours.requires_grad
    with pytest.raises(MissingWeights):
        build_task(replace(settings, init_from=str(tmp_path)))


def test_a_mapping_continues_with_its_own_vaes_only(tiny, weights: Path, tmp_path: Path) -> None:
    settings = tiny("mapping", tmp_path / "run")
    save_network(build_task(settings).networks()["mapping"], tmp_path / "begun" / "mapping")
    settings = replace(settings, init_from=str(tmp_path / "begun"))
    assert set(build_task(settings).parents) == {"scratches", "old_vae", "clean_vae", "mapping"}
    save_network(VAE(48, 1, stride=2), weights / "old_vae")
    with pytest.raises(MissingWeights, match="is not the old_vae"):
        build_task(settings)


def test_the_translation_trains_end_to_end_and_ties_its_parts(tiny, weights: Path, tmp_path: Path) -> None:
    save_network(build_task(tiny("mapping", tmp_path)).net, weights / "mapping")
    settings = tiny("translation", tmp_path / "run", init_from=str(weights), max_train_steps=2, learning_rate=1e-2)
    train(build_task(settings), settings)
    ours, theirs = Checkpoints(tmp_path / "run"), Checkpoints(weights)
    mapping = ours.load("mapping", LatentMapping)
    ours.check_vaes(mapping)
    with pytest.raises(MissingWeights):
        theirs.check_vaes(mapping)
    for name in ("old_vae", "clean_vae"):
        before, after = theirs.load(name, VAE).state_dict(), ours.load(name, VAE).state_dict()
        moved = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
        assert moved == {"stem", "encoder", "decoder", "head"}
    before = theirs.load("mapping", LatentMapping).trust.state_dict()
    assert all(torch.equal(before[key], value) for key, value in mapping.trust.state_dict().items())


@pytest.mark.parametrize("stride", [2, 4])
def test_a_new_translation_has_the_shape_that_the_config_names(stride: int, tiny, tmp_path: Path) -> None:
    network = {"vae": {"channels": 48, "blocks": 1, "stride": stride}}
    network["mapping"] = {"widths": [8, 8], "blocks": [0, 1], "inner": 4, "gate": 8}
    task = build_task(tiny("translation", tmp_path / "run", network=network))
    pixels, nothing = torch.rand(1, 3, 33, 50), torch.zeros(1, 1, 33, 50)
    assert task.old_vae.encode(pixels).shape[-2:] == (-(-33 // stride), -(-50 // stride))
    assert translate(task.old_vae, task.net, task.clean_vae, pixels, nothing).shape == pixels.shape
    with pytest.raises(ConfigError, match="does not make a VAE"):
        build_task(tiny("translation", tmp_path / "run", network={"vae": {"strides": 2}}))


def test_only_trust_trains_nothing_else(tiny, weights: Path, tmp_path: Path) -> None:
    settings = tiny("mapping", tmp_path / "run", options={"only_trust": True}, max_train_steps=2, learning_rate=1e-2)
    task = build_task(settings)
    before = {key: value.clone() for key, value in task.net.state_dict().items()}
    train(task, settings)
    moved = {key.split(".")[0] for key, value in task.net.state_dict().items() if not torch.equal(before[key], value)}
    assert moved == {"trust"}


def test_only_trust_trains_under_bfloat16(tiny, tmp_path: Path) -> None:
    """With this many channels torch's gradient on a CPU is not finite, unless the task computes in float32."""
    network = {"widths": [16, 16], "blocks": [0, 1], "inner": 8, "gate": 24}
    settings = tiny("mapping", tmp_path / "run", options={"only_trust": True}, network=network)
    task = build_task(settings)
    prepared = task.prepare(first_batch(settings), None)
    with torch.autocast("cpu", torch.bfloat16):
        task("generator", prepared).total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in task.net.trust.parameters())


def test_a_mapping_without_masks_sees_no_damage(tiny, weights: Path, tmp_path: Path) -> None:
    settings = tiny("mapping", tmp_path, options={"masks": False}, recipe="structured")
    task, batch = build_task(settings), first_batch(settings)
    pixels, mask, truth = prepared = task.prepare(batch, None)
    assert not mask.any() and not torch.equal(pixels, truth)
    assert "scratches" not in task.parents
    assert torch.isfinite(task("generator", prepared).total)
    with_masks = build_task(replace(settings, options={}))
    assert with_masks.prepare(batch, None)[1].any()


def test_frozen_norms_keep_their_statistics_while_the_rest_learns(tiny, tmp_path: Path) -> None:
    settings = tiny("scratches", tmp_path / "run", options={"frozen_norms": True}, max_train_steps=2)
    with pytest.raises(ConfigError, match="frozen_norms needs init_from"):
        build_task(settings)
    save_network(build_task(replace(settings, options={})).net, tmp_path / "begun" / "scratches")
    settings = replace(settings, init_from=str(tmp_path / "begun"), network={})

    def moved(frozen: bool) -> set[str]:
        now = replace(settings, options={"frozen_norms": frozen}, output_dir=str(tmp_path / str(frozen)))
        task = build_task(now)
        before = {key: value.clone() for key, value in task.net.state_dict().items()}
        train(task, now)
        after = task.net.state_dict().items()
        return {key.rsplit(".", 1)[1] for key, value in after if not torch.equal(before[key], value)}

    assert moved(frozen=True) == {"weight", "bias"}
    assert "running_mean" in moved(frozen=False)


def test_of_undamaged_pictures_the_detector_learns_from_those_it_marks_most(tiny, tmp_path: Path) -> None:
    settings = tiny("scratches", tmp_path, options={"hardest": 0.5})
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError, match="hardest must be above 0"):
            build_task(replace(settings, options={"hardest": share}))
    task = build_task(settings).train()
    pixels = torch.rand(6, 3, 32, 32) * torch.linspace(0.2, 1, 6)[:, None, None, None]
    mask = torch.zeros(6, 1, 32, 32)
    mask[1, :, 4:9] = mask[4, :, 4:9] = 1
    with torch.no_grad():
        marked = damage(task.net.eval()(pixels)).square().mean((1, 2, 3))
    sound = [0, 2, 3, 5]
    hardest = sorted(sound, key=lambda k: -float(marked[k]))[:2]
    batch = completed(pixels, pixels, mask)
    assert set(task._instructive(batch).tolist()) == {1, 4, *hardest}
    assert task.net.training
    with torch.autocast("cpu", torch.bfloat16):
        task("generator", batch).total.backward()
    assert all(parameter.grad is not None for parameter in task.net.parameters())


def test_scratch_loss_options_have_their_effect() -> None:
    logits, mask = (
        torch.tensor([[-4.0, 2.0], [1.0, 3.0]])[None, None],
        torch.tensor([[0.0, 0.0], [1.0, 1.0]])[None, None],
    )
    plain = float(bce_dice(logits, mask, rare=0, dice=0))
    reference = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask)
    assert plain == pytest.approx(float(reference))
    error = (torch.sigmoid(logits) - mask).abs()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    assert float(bce_dice(logits, mask, rare=0, dice=0, focal=2)) == pytest.approx(float((each * error**2).mean()))
    assert float(bce_dice(logits, mask, rare=0, dice=1)) > plain
    missed, false = torch.full_like(logits, -3.0), torch.full_like(logits, 3.0)

    def ratio(rare: float) -> float:
        ones, zeros = torch.ones_like(mask), torch.zeros_like(mask)
        return float(bce_dice(missed, ones, rare, 0) / bce_dice(false, zeros, rare, 0))

    assert ratio(2) > 1.3 * ratio(0)
