"""What changed far more than the quietest places of a photo comes back; grain, which is everywhere, does not."""

import pytest
import torch

from bringback.ops.texture import bring_back_, quietest, telling, texture, would_change

# the share that stays, and what the quietest places would change by
SHARE, QUIET = torch.tensor([0.6]), torch.tensor([0.01**2])


def gravel(strength: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A plain photo (1, 3, 130, 190) with grains in its right third, the photo without them, and no holes."""
    after = torch.full((1, 3, 130, 190), 0.5)
    before = after.clone()
    grains = torch.randn(1, 1, 130, 60, generator=torch.Generator().manual_seed(0))
    before[..., 130:] += strength * grains
    return before, after, torch.zeros(1, 1, 130, 190)


def test_what_changed_far_more_than_the_rest_would_comes_back() -> None:
    before, after, filled = gravel(0.06)
    sure = texture(before, after, filled, SHARE, QUIET)
    assert sure is not None
    bring_back_(after, before, filled, sure)
    assert (after - before).abs().max() < 0.01


@pytest.mark.parametrize(
    ("strength", "share", "quiet"),
    [
        (0.06, SHARE, torch.tensor([0.05**2])),  # as strong elsewhere: grain
        (0.01, SHARE, QUIET),  # faint
        (0.06, torch.tensor([0.05]), QUIET),  # all of the photo is worn
        (0.06, SHARE, torch.tensor([torch.inf])),  # nothing tells
    ],
)
def test_grain_does_not(strength: float, share: torch.Tensor, quiet: torch.Tensor) -> None:
    before, after, filled = gravel(strength)
    assert texture(before, after, filled, share, quiet) is None


def test_weaker_texture_comes_back_where_more_of_a_photo_is_sound() -> None:
    before, after, filled = gravel(0.025)  # 2.5 times as strong as elsewhere
    assert texture(before, after, filled, torch.tensor([0.3]), QUIET) is None
    assert texture(before, after, filled, SHARE, QUIET) is not None


def test_the_quietest_fifth_of_what_tells_tells() -> None:
    changes = torch.full((2, 1, 120, 300), 0.04)
    changes[0, ..., :150] = 0.01
    changes[1, ..., :20] = 0.01  # less than a fifth
    tells = torch.ones_like(changes)
    assert torch.allclose(quietest(would_change(changes, tells)), torch.tensor([0.01, 0.04]))
    tells[0, ..., :150], tells[1] = 0, 0
    windows = torch.cat([would_change(changes, tells), would_change(changes[..., :40, :40], tells[..., :40, :40])], 1)
    assert torch.allclose(quietest(windows), torch.tensor([0.04, torch.inf]))


def test_detail_that_was_added_stays() -> None:
    after, before, filled = gravel(0.06)  # as where blur is undone
    assert texture(before, after, filled, SHARE, QUIET) is None


def test_what_was_filled_stays_filled() -> None:
    before, after, filled = gravel(0.06)
    filled[..., 40:80, 140:180] = 1
    sure = texture(before, after, filled, SHARE, QUIET)
    assert sure is not None
    bring_back_(after, before, filled, sure)
    assert (after[..., 40:80, 140:180] == 0.5).all()
    assert (after - before)[..., :20, :].abs().max() < 0.01
    assert (after[..., 39:81, 139:181] == 0.5).all()  # what is left of a mark may be beside it
    filled[:] = 1
    assert texture(before, after, filled, SHARE, QUIET) is None


def test_each_photo_counts_by_itself() -> None:
    before, after, filled = (torch.cat([x, x]) for x in gravel(0.06))
    quiet = torch.tensor([0.05**2, 0.01**2])
    sure = texture(before, after, filled, SHARE.expand(2), quiet)
    assert sure is not None and not sure[0].any() and sure[1].max() == 1


def test_black_white_and_what_was_filled_tell_nothing() -> None:
    filled = torch.tensor([0.0, 0.0, 0.0, 0.25, 1.0])
    levels = torch.tensor([0.0, 1.0, 0.5, 0.5, 0.5])
    told = telling(levels.expand(1, 3, 2, 5), filled.expand(1, 1, 2, 5))
    assert torch.equal(told, torch.tensor([0.0, 0.0, 1.0, 0.75, 0.0]).expand(1, 1, 2, 5))
