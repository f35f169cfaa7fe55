"""`from_pretrained`, `save_pretrained` and `push_to_hub` of every system, as the Hugging Face hub's users know them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import PyTorchModelHubMixin
from typing_extensions import Self

from sspcore.core.errors import ArtefactError, SspError, reason


class Checkpointed(PyTorchModelHubMixin):
    """A model that is saved as a checkpoint folder and made of one.

    Attributes:
        config: the CheckpointConfig of a model that was loaded, saved or made by `create_model`; None for others.
        checkpoints: the module `sspcore.models.checkpoint`, which sets it: it imports all systems, and they this class.
    """

    config: Any = None
    checkpoints: ClassVar[Any]

    def save_pretrained(
        self, folder: Path | str, *, overwrite: bool = False, half: bool = False, config: Any = None,
        model_card_kwargs: dict[str, Any] | None = None, **entries: Any,
    ) -> Path:
        """Write a checkpoint folder: weights, config.json, model card.

        Args:
            folder, overwrite, half: see `save_checkpoint`.
            config, model_card_kwargs: the hub's own; not used.
            entries: fields of CheckpointConfig in place of those that the model carries. A model that carries none needs
                `input_size=(height, width)`; `classes` may be names.
        Raises: ProfileError for a missing or wrong entry, ArtefactError if it cannot be written.
        """
        config = self.checkpoints.config_of(self, **entries)
        written = self.checkpoints.save_checkpoint(folder, self, config, overwrite=overwrite, half=half)
        self.config = config  # not after a refusal
        return written

    @classmethod
    def from_pretrained(cls, source: Path | str, *, image: Any = None, **hub: Any) -> Self:
        """The model of a checkpoint in eval mode. Args: see `load_checkpoint`.

        Raises: ArtefactError if there is none, it is damaged, or it holds a system of another class.
        """
        model, config = cls.checkpoints.load_checkpoint(source, image, **hub)
        if not isinstance(model, cls):
            raise ArtefactError(
                f"{source}: holds {config.system}, a {type(model).__name__}, no {cls.__name__}; take "
                f"{type(model).__name__}.from_pretrained or sspcore.load_checkpoint"
            )
        return model

    def push_to_hub(self, repo_id: str, **entries: Any) -> str:
        """Upload the checkpoint to the hub; returns the address of the commit.

        Args:
            repo_id: "owner/name"; made if it is not there.
            entries: the hub's own options (private, token, branch, commit_message, ...), and fields of CheckpointConfig as in
                `save_pretrained`.
        Raises: ProfileError for a missing or wrong entry, SspError if it cannot be uploaded.
        """
        known = inspect.signature(PyTorchModelHubMixin.push_to_hub).parameters
        options = {name: entries.pop(name) for name in list(entries) if name in known}
        before, self.config = self.config, self.checkpoints.config_of(self, **entries)
        try:
            return super().push_to_hub(repo_id, **options)
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            self.config = before
            if isinstance(error, SspError):
                raise
            raise SspError(
                f"{repo_id}: not uploaded ({type(error).__name__}: {reason(error)}); check the network, the name, and "
                "`hf auth login`"
            ) from error
