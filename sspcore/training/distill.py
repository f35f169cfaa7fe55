"""Teacher labels for every training frame (METHOD section 4).

The teacher sees a larger image than the student; its logits are kept at the student's stride 4 in half precision, one
safetensors file a clip, which a training loop reads frame by frame without unpacking anything.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ArtefactError
from sspcore.core.files import atomic_file
from sspcore.core.images import to_tensor
from sspcore.core.machine import in_gpu_memory
from sspcore.core.memory import memory_kept
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_labels
from sspcore.models.image import ImageSystem
from sspcore.models.pointwise import fast_pointwise

log = logging.getLogger(__name__)

STRIDE = 4
DOUBT = 0.01  # share of the uniform distribution in labels made from the truth, whose logits would else be infinite


@dataclass(frozen=True)
class LabelStore:
    """Logits (N, C, h, w) of clips in `<folder>/<clip>.safetensors`, read frame by frame."""

    folder: Path

    def path(self, clip: Clip) -> Path:
        return self.folder / f"{clip.name}.safetensors"

    def write(self, clip: Clip, logits: Tensor) -> None:
        """Write the logits (N, C, h, w) of all frames of a clip in half precision, atomically.

        Raises: ArtefactError if a logit is not a number or beyond half precision.
        """
        half = logits.half().contiguous()
        if not torch.isfinite(half).all():
            raise ArtefactError(f"teacher logits of clip {clip.name} are not finite in half precision; train the teacher again")
        with atomic_file(self.path(clip)) as temporary:
            save_file({"logits": half}, temporary, {"crc32": _crc32(half)})

    def is_whole(self, clip: Clip) -> bool:
        """Whether the clip's file is there, complete and as it was written; reads all of it."""
        try:
            with safe_open(self.path(clip), framework="pt") as file:
                logits = file.get_tensor("logits")
                return len(logits) == len(clip) and (file.metadata() or {}).get("crc32") == _crc32(logits)
        except (SafetensorError, OSError):
            return False

    def read(self, clip: Clip, positions: list[int]) -> Tensor:
        """Logits (len(positions), C, h, w) float32 of some frames; only their bytes are read.

        Raises: ArtefactError if the clip's file is missing, damaged or shorter than the clip.
        """
        path = self.path(clip)
        try:
            with safe_open(path, framework="pt") as file:
                stored = file.get_slice("logits")
                shape = stored.get_shape()
                if len(shape) != 4:
                    raise ArtefactError(f"{path}: holds an array of shape {shape}, not logits (N, C, h, w); delete it")
                if shape[0] != len(clip):
                    raise ArtefactError(f"{path}: holds {shape[0]} frames, the clip {len(clip)}; delete it")
                logits = torch.stack([stored[k] for k in positions]).float()
        except FileNotFoundError as error:
            raise ArtefactError(f"{path}: teacher labels are missing; run notebook 04 first") from error
        except (SafetensorError, OSError) as error:
            raise ArtefactError(f"{path}: teacher labels are damaged ({error}); delete the file and run again") from error
        if not torch.isfinite(logits.sum()):
            raise ArtefactError(f"{path}: teacher labels are no finite numbers; delete the file and run again")
        return logits


def _crc32(logits: Tensor) -> str:
    return f"{zlib.crc32(logits.numpy()):08x}"


@torch.inference_mode()
def label_clips(
    teacher: ImageSystem, clips: list[Clip], store: LabelStore, teacher_size: Size, student_size: Size,
    device: torch.device | str = "cpu", batch_size: int = 4,
) -> None:
    """Write the teacher's logits of every frame, at the student's stride 4; clips that are there and whole are skipped.

    Args:
        teacher: in eval mode, on `device`.
        teacher_size, student_size: (H, W) of the inputs.
        batch_size: frames at once.
    Raises: SspError where a GPU's memory does not suffice.
    """
    small = (student_size[0] // STRIDE, student_size[1] // STRIDE)
    todo = [clip for clip in clips if not store.is_whole(clip)]
    bars = tqdm(total=sum(map(len, todo)), desc="teacher labels", unit="frame")
    remedy = f"set machine.label_batch below {batch_size}" if batch_size > 1 else "lower teacher_size"
    with bars as bar, memory_kept(), fast_pointwise(teacher), in_gpu_memory("teacher labels", remedy):
        for clip in todo:
            parts = []
            for first in range(0, len(clip), batch_size):
                positions = range(first, min(first + batch_size, len(clip)))
                frames = torch.stack([to_tensor(clip.frame(k, teacher_size)) for k in positions]).to(device)
                logits = teacher.logits_and_features(frames)[0].float()
                parts.append(F.interpolate(logits, small, mode="bilinear", align_corners=False, antialias=True).cpu())
                bar.update(len(positions))
            store.write(clip, torch.cat(parts))


def label_by_truth(truth_root: Path, clips: list[Clip], store: LabelStore, student_size: Size) -> None:
    """Write what a teacher without errors would say of every frame of rendered clips, at the student's stride 4.

    The probabilities of a cell are the shares of its pixels; of ignored pixels nothing is known: all classes are alike.
    Clips that are there and whole are skipped.
    """
    for clip in tqdm([clip for clip in clips if not store.is_whole(clip)], desc="labels of the truth", unit="clip"):
        n_classes, parts = clip.spec.n_classes, []
        for k in range(len(clip)):
            labels = torch.from_numpy(exact_labels(truth_root, clip, k, student_size)).long()
            ignored = labels == IGNORE
            each = F.one_hot(labels.masked_fill(ignored, 0), n_classes).movedim(-1, 0).float()
            shares = F.avg_pool2d(each.masked_fill(ignored, 1 / n_classes), STRIDE)
            parts.append(((1 - DOUBT) * shares + DOUBT / n_classes).log())
        store.write(clip, torch.stack(parts))
