"""Teacher labels for every training frame, and their fusion over pairs of frames (METHOD section 4).

The teacher sees a larger image than the student; its logits are kept at the student's stride 4 in half precision, one
safetensors file a clip, which a training loop reads frame by frame without unpacking anything. Frames 2i and 2i + 1 of a
clip are a pair: their logits are fused through bidirectional flow once, since neither flow nor fusion depends on the
student. So no flow network runs inside the distillation loop.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sspcore.core.errors import ArtefactError
from sspcore.core.files import atomic_file
from sspcore.core.images import to_tensor
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.clips import Clip
from sspcore.models.image import ImageSegmenter
from sspcore.motion.cache import FlowSource
from sspcore.motion.geometry import occlusion_mask, occlusion_mask_same_pixel, resize_flow, warp_by_flow

log = logging.getLogger(__name__)

OcclusionRule = Callable[[Tensor, Tensor], Tensor]
STRIDE = 4

OCCLUSION_RULES: dict[str, OcclusionRule] = {
    "followed": occlusion_mask,
    "same-pixel": occlusion_mask_same_pixel,
}


@dataclass(frozen=True)
class LabelStore:
    """Logits (N, C, h, w) of clips on disk, read frame by frame.

    Attributes:
        folder: holds one `<clip>.safetensors` a clip.
    """

    folder: Path

    def path(self, clip: Clip) -> Path:
        """The clip's file."""
        return self.folder / f"{clip.name}.safetensors"

    def write(self, clip: Clip, logits: Tensor) -> None:
        """Write the logits (N, C, h, w) of all frames of a clip in half precision, atomically.

        Raises: ArtefactError if a logit is not a number or beyond half precision.
        """
        half = logits.half()
        if not torch.isfinite(half).all():
            raise ArtefactError(f"teacher logits of clip {clip.name} are not finite in half precision; train the teacher anew")
        half = half.contiguous()
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
    teacher: ImageSegmenter, clips: list[Clip], store: LabelStore, teacher_size: Size, student_size: Size,
    device: torch.device | str = "cpu", batch_size: int = 4,
) -> None:
    """Write the teacher's logits of every frame, at the student's stride 4; clips that are there and whole are skipped.

    Args:
        teacher: in eval mode, on `device`.
        teacher_size, student_size: (H, W) of the inputs.
    """
    small = (student_size[0] // STRIDE, student_size[1] // STRIDE)
    todo = [clip for clip in clips if not store.is_whole(clip)]
    with tqdm(total=sum(map(len, todo)), desc="teacher labels", unit="frame") as bar:
        for clip in todo:
            parts = []
            for first in range(0, len(clip), batch_size):
                positions = range(first, min(first + batch_size, len(clip)))
                frames = torch.stack([to_tensor(clip.frame(k, teacher_size)) for k in positions]).to(device)
                logits = teacher.decode(teacher.encode(frames)).float()
                parts.append(F.interpolate(logits, small, mode="bilinear", align_corners=False, antialias=True).cpu())
                bar.update(len(positions))
            store.write(clip, torch.cat(parts))


def fuse_pair(
    previous: Tensor, current: Tensor, flow_to_next: Tensor, flow_to_prev: Tensor, rule: OcclusionRule
) -> tuple[Tensor, Tensor]:
    """Both frames' logits, each averaged with the other's where the point is visible in both.

        T^c_{k-1} = (T_{k-1} + (1 - M_occ) warp(T_k)) / (2 - M_occ),   T^c_k likewise.

    Args:
        previous, current: (B, C, h, w) logits of frames k-1 and k, on a grid of stride s.
        flow_to_next, flow_to_prev: (B, 2, H, W) pixels at full size, k-1 -> k and k -> k-1.
        rule: M_occ from (flow there, flow back), (B, 1, H, W) bool; its constants are in full-size pixels.
    Returns: the fused logits of k-1 and k, (B, C, h, w). M_occ is averaged over a cell of the logits' grid.
    Source: paper, section on distillation; METHOD section 4.
    """
    return (
        _fuse(previous, current, flow_to_next, rule(flow_to_next, flow_to_prev)),
        _fuse(current, previous, flow_to_prev, rule(flow_to_prev, flow_to_next)),
    )


def _fuse(own: Tensor, other: Tensor, flow_to_other: Tensor, occluded: Tensor) -> Tensor:
    size = tuple(own.shape[-2:])
    warped, valid = warp_by_flow(other, resize_flow(flow_to_other, size))
    hidden = F.interpolate(occluded.float(), size, mode="area")
    hidden = torch.where(valid, hidden, torch.ones_like(hidden))
    return (own + (1 - hidden) * warped) / (2 - hidden)


@torch.inference_mode()
def fuse_clips(clips: list[Clip], source: LabelStore, target: LabelStore, flows: FlowSource, rule: OcclusionRule) -> None:
    """Fuse the labels of frames 2i and 2i + 1 of every clip; clips that are there and whole are skipped.

    A last frame without a partner keeps its own logits.
    """
    todo = [clip for clip in clips if not target.is_whole(clip)]
    with tqdm(total=sum(len(clip) // 2 for clip in todo), desc="fusing labels", unit="pair") as bar:
        for clip in todo:
            logits = source.read(clip, list(range(len(clip))))
            fused = logits.clone()
            for k in range(1, len(clip), 2):
                there = flows.between(clip, k - 1, k)[None]
                back = flows.between(clip, k, k - 1)[None]
                pair = fuse_pair(logits[k - 1 : k], logits[k : k + 1], there, back, rule)
                fused[k - 1], fused[k] = pair[0][0], pair[1][0]
                bar.update(1)
            target.write(clip, fused)
