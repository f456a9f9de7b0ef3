"""Base class of the networks: config, loading, saving, and model cards, compatible with the Hugging Face Hub."""

import inspect
import json
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bringback.errors import MissingWeights, first_line
from bringback.models.quantize import expanded
from bringback.runtime.files import file_hash
from bringback.runtime.hub import ONE, fetched

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


_FORMER_NAMES = {"Mapping": "LatentMapping", "ColourUNet": "ColorUNet"}


def current_name(network: Any) -> str:
    """The class that a checkpoint's config names, under its present name: old checkpoints have the former ones."""
    return _FORMER_NAMES.get(str(network), str(network))


class Network(nn.Module, PyTorchModelHubMixin, library_name="bringback", model_card_template=_CARD):
    """A module with `from_pretrained`, `save_pretrained` and `push_to_hub`; the config is its constructor arguments."""

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
        """Load a network from a checkpoint folder or hub id (`org/name`), float32, on the CPU, in eval mode.

        `model_kwargs`, arguments of the constructor, override those of `config.json`; the other arguments are as in
        `hub.fetched`. Raises `MissingWeights`, one line, if it is missing, unreadable, or another network.
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
            found = config.pop("network", kind)  # configs saved by the mixin alone lack it
            if kind not in (found, current_name(found)):
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
        """Raise `MissingWeights` unless a state dict has the network's keys and shapes, with floats for floats."""
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
        """Write `config.json`: the network's class and constructor arguments."""
        config = {"network": type(self).__name__, **self._hub_mixin_config}  # type: ignore[dict-item]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: Path | str, **kwargs: Any) -> str | None:
        """Write a checkpoint folder: `config.json`, `model.safetensors`, and a model card with the weights' SHA-256.

        An existing card keeps its text. The arguments are those of the mixin.
        """
        pushed = super().save_pretrained(save_directory, **kwargs)
        card = ModelCard.load(Path(save_directory, "README.md"))
        card.data["sha256"] = file_hash(Path(save_directory, "model.safetensors"))
        card.save(Path(save_directory, "README.md"))
        return pushed

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Generate a model card from the class docstring; `kwargs` are passed to the template."""
        about = (type(self).__doc__ or "").partition("\n    Args:")[0]
        return super().generate_model_card(
            *args,
            **{"network": type(self).__name__, "module": type(self).__module__, "about": inspect.cleandoc(about)}
            | kwargs,
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        self.save_config(save_directory)
