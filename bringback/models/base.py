"""Building blocks shared by the networks. None normalises over space, so a tile is computed like the whole."""

import inspect
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bringback.models.quantize import expanded
from bringback.runtime.files import file_hash
from bringback.weights.hub import ONE, MissingWeights, fetched, first_line

_CARD = """---
{{ card_data }}
---
# {{ network }}

{{ about }}

A network of bringback, which restores scanned old photographs:

    from {{ module }} import {{ network }}

    network = {{ network }}.from_pretrained("a folder, or an id on the hub")

`bringback restore PHOTOS -o RESTORED --weights DIR` takes it from `DIR/NAME/`, NAME being that of a shipped checkpoint
of the same network; `bringback weights list` has them.
"""


class Network(nn.Module, PyTorchModelHubMixin, library_name="bringback", model_card_template=_CARD):
    """A module whose constructor arguments are its config: `save_pretrained`, `from_pretrained`, `push_to_hub`."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Path | str,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **model_kwargs: Any,
    ) -> Self:
        """The network of a checkpoint folder or hub id (`org/name`), float32, on the CPU, in eval mode.

        `model_kwargs`, arguments of the constructor, go before those of `config.json`; the others are as in
        `hub.fetched`. Raises `MissingWeights`, one line, when it is absent, unreadable, or another network.
        """
        place, kind = pretrained_model_name_or_path, cls.__name__
        folder = fetched(
            place,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
            files=ONE,
        )
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            found = config.pop("network", kind)  # who saves with the mixin alone does not name it
            if found != kind:
                raise MissingWeights(f"{place}: its config.json is that of a {found}, not of a {kind}")
            network = cls(**config | model_kwargs)
            state = expanded(load_file(folder / "model.safetensors"))
            network._fit(state, place)
            network.load_state_dict(state)
        except MissingWeights:
            raise
        except (OSError, ValueError, LookupError, AttributeError, TypeError, SafetensorError, RuntimeError) as error:
            raise MissingWeights(f"{place}: cannot be read as {kind}: {first_line(error)}") from error
        return network.eval()

    def _fit(self, state: dict[str, Tensor], place: Path | str) -> None:
        """Raise `MissingWeights` when names or shapes of a state dict are not the network's own."""
        ours, theirs = (
            {key: (value.shape, value.is_floating_point()) for key, value in of.items()}
            for of in (self.state_dict(), state)
        )
        odd = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise MissingWeights(
                f"{place}: model.safetensors is not of the {type(self).__name__} that config.json describes: "
                f"{odd[0]}{more} missing, surplus or of another shape or type"
            )

    def save_config(self, folder: Path) -> None:
        """Write `config.json`: which network it is, and the arguments of its constructor."""
        config = {"network": type(self).__name__, **self._hub_mixin_config}  # type: ignore[dict-item]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: Path | str, **kwargs: Any) -> str | None:
        """Write a checkpoint folder: `config.json`, `model.safetensors` as it is, and a model card with its SHA-256.

        A card that is there already keeps its text. The arguments are the mixin's.
        """
        pushed = super().save_pretrained(save_directory, **kwargs)
        card = ModelCard.load(Path(save_directory, "README.md"))
        card.data["sha256"] = file_hash(Path(save_directory, "model.safetensors"))
        card.save(Path(save_directory, "README.md"))
        return pushed

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card of a network that has none, from its docstring; `kwargs` are for the template."""
        about = (type(self).__doc__ or "").partition("\n    Args:")[0]
        return super().generate_model_card(
            *args,
            **{"network": type(self).__name__, "module": type(self).__module__, "about": inspect.cleandoc(about)}
            | kwargs,
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        self.save_config(save_directory)


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a layer say zero until it has learned otherwise."""
    layer.weight.data.zero_()
    if layer.bias is not None:
        layer.bias.data.zero_()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place (Ba et al. 2016), without a scale of its own. (B, C, H, W) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), 3x3, no norm (Lim et al. 2017, EDSR). (B, C, H, W) -> same.

    Under autocast the convolutions run in its dtype, the sum in that of x: what is float32 stays precise.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # small at the start: a deep stack begins as the identity
        silence(self.second)
        nn.init.normal_(self.second.weight, std=0.1 * (channels * 9) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        # in place where no gradient is needed: one map less of a large photo is much memory
        change = self.second(F.silu(self.first(x), inplace=not torch.is_grad_enabled()))
        return change.add_(x) if change.dtype == x.dtype else x + change


def glance(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """What a look at a thumbnail sees: 3x3 convolutions of these widths, each with half the side of the one before."""
    pairs = pairwise((channels, *widths))
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU())))


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Grow the right and lower side to a multiple by repeating the border; not a copy where nothing is to grow."""
    height, width = x.shape[-2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, padding, mode="replicate") if any(padding) else x


def lower(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Within it convolutions and products run in `dtype`; for float32, in what the caller has chosen."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
