"""Settings of a training run."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sspcore.core.settings import InputSize, Section


class Recipe(Section):
    """One training run: schedule, batch, crop and loss weights (METHOD section 5 has the published ones).

    Attributes:
        epochs: passes over the training windows.
        schedule_epochs: length of the cosine schedule (the published runs stop before its end).
        warmup_epochs: linear warm-up.
        batch_size: windows a step.
        drop_last: whether an epoch leaves out the last windows that make no whole batch, as published; else the batch is
            filled up from the epoch's beginning.
        lr: base learning rate; the schedule starts and ends at `lr * final_lr_ratio`.
        head_lr_factor: learning-rate factor of parts that do not start from trained weights.
        crop: (H, W) of training crops.
        lambda_tc: weight of the temporal-consistency loss (lambda, or lambda_kd for distillation).
        temperature: of the distillation loss.
        truth_weight: of the cross entropy that a distilled system learns from beside the teacher, at frames of its windows
            that have a label; 0 as published.
        repeats: how many times an epoch uses each training window.
        epoch_windows: so many training windows are an epoch, however many there are: one begins where the one before ended.
            None: an epoch is a pass over all.
        freeze_image: of SSP train only what is around its image model, which stays as it was trained.
        class_balance: exponent by which classes weigh less in the loss the more pixels they have (`balanced_weights`).
        class_weight_limit: what no class weighs more than, as a multiple of the mean weight of a pixel; None: no limit.
    """

    epochs: int = Field(ge=1)
    schedule_epochs: int = Field(ge=1)
    warmup_epochs: float = Field(ge=0)
    batch_size: int = Field(ge=1)
    drop_last: bool = False
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.05, ge=0)
    final_lr_ratio: float = Field(1e-4, ge=0, le=1)
    head_lr_factor: float = Field(1.0, gt=0)
    crop: InputSize
    lambda_tc: float = Field(0.5, ge=0)
    temperature: float = Field(2.0, gt=0)
    truth_weight: float = Field(0.0, ge=0)
    repeats: int = Field(1, ge=1)
    epoch_windows: int | None = Field(None, ge=1)
    auxiliary_weight: float = Field(0.4, ge=0)
    freeze_image: bool = False
    class_balance: float = Field(0.0, ge=0, le=1)
    class_weight_limit: float | None = Field(None, ge=1)

    def steps(self, windows: int) -> int:
        """Batches of an epoch over so many training windows."""
        whole, rest = divmod(self.epoch_windows or windows * self.repeats, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def key(self) -> dict[str, Any]:
        """The recipe as JSON values for the keys of artefacts; what came later is in them only where it is used."""
        later = ("truth_weight", "freeze_image", "class_balance", "class_weight_limit", "drop_last", "epoch_windows")
        return self.model_dump(mode="json", exclude={name for name in later if not getattr(self, name)})

    @model_validator(mode="after")
    def _schedule_covers_epochs(self) -> Recipe:
        if self.schedule_epochs < self.epochs:
            raise ValueError(f"schedule_epochs ({self.schedule_epochs}) is shorter than epochs ({self.epochs})")
        return self
