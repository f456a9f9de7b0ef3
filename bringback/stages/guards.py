"""What a detector's marks are worth: guards lower those that are the picture, and what is left is made whole."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from bringback.models.unet import EAGER
from bringback.ops.flat_marks import complete_marks_
from bringback.ops.gaps import close_gaps_
from bringback.ops.lone import lower_lone_
from bringback.ops.masks import calm_, certain_share
from bringback.ops.pages import Page, find_page
from bringback.ops.ruled import lower_ruled_
from bringback.ops.same_tone import grow_marks_
from bringback.ops.snow import lower_snow_
from bringback.ops.trails import lower_trails_
from bringback.ops.unsure import lower_unsure_
from bringback.ops.views import View
from bringback.ops.writing import lower_writing_

# Damage rarely covers more of a photo. Where it does, at least so large a share of the mask is certain (0.13 to 0.54 in
# nine photos damaged on purpose); if not, the mask is a false alarm.
_MOST, _CERTAIN = 0.35, 0.1


@dataclass(slots=True)
class Found:
    """What was found in a photo beside its mask.

    `periodic` is the share of the photo that a pattern covers, see `ops.patterns`; `withdrawn` the share that looked
    damaged and was not believed: all of it because most was doubtful, marks on circles around one point, falling snow,
    ruled lines, marks without a sure pixel where damage is rare, or broad ones where none is sure; `writing` the share
    of writing that looked damaged; `page` the share of it that is no photo but writing, lines or stars, see
    `ops.pages`; `on_page` the share that looked damaged there, which may be what the page shows; and `paper` the
    numbers of the areas whose ground is not dark, 0 that of the whole photo.
    """

    periodic: float = 0.0
    withdrawn: float = 0.0
    writing: float = 0.0
    page: float = 0.0
    on_page: float = 0.0
    paper: set[int] = field(default_factory=set)

    def add(self, other: Self, share: float, number: int) -> None:
        """Take in what was found in the area of this `number`, so large a `share` of the photo."""
        self.periodic += share * other.periodic
        self.withdrawn += share * other.withdrawn
        self.writing += share * other.writing
        self.page += share * other.page
        self.on_page += share * other.on_page
        if other.paper:
            self.paper.add(number)


def judge_(odds: Tensor, view: View, about: Found) -> None:
    """Change a detector's log odds (1, 1, H, W), in place, by what the photo shows; says in `about` what was found.

    If more than 35 % of a photo is marked and nine tenths of that are doubtful, nothing stays marked, nor on a page.
    """
    marked = _share(odds.detach() > 0)
    if marked > _MOST and certain_share(odds) < _CERTAIN * marked:
        about.withdrawn = marked
        return _forget_(odds)
    calmed = calm_(odds)
    here = odds.detach() > 0
    if page := find_page(view.pixels.detach(), here):
        about.page, about.periodic, about.on_page = 1.0, 0.0, _share(here)
        about.paper = {0} if page is Page.PAPER else set()
        return _forget_(odds) if about.on_page else None
    about.withdrawn = lower_trails_(odds, view)
    about.writing = lower_writing_(odds, view)
    about.withdrawn += lower_snow_(odds, view)
    about.withdrawn += lower_ruled_(odds, view)
    if about.withdrawn or about.writing:  # what was certain may have been that alone
        calmed += calm_(odds, calmed)
    about.withdrawn += lower_unsure_(odds, view, calmed)
    about.withdrawn += lower_lone_(odds, view, calmed)
    grow_marks_(odds, view)
    complete_marks_(odds, view)
    close_gaps_(odds, view)
    return None


def _share(here: Tensor) -> float:
    return int(torch.count_nonzero(here)) / here.numel()


def _forget_(odds: Tensor) -> None:
    """Lower all log odds to below 0.5 of a mask, in the same order."""
    odds.sub_(odds.detach().amax() + EAGER)
