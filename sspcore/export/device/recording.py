"""Write an overlay video, frame by frame, on a device that may lose its power."""

from __future__ import annotations

import cv2

from sspcore.export.device.step_runner import StepError

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


def part_of(path):
    """Name of a video that is being written. After a loss of power it holds what was recorded."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


class Video:
    """A video at `path` that is there when it is whole, `name.part.avi` before; nothing is written before the first picture."""

    def __init__(self, path, fps):
        self.path, self.fps, self.writer, self.size = path, fps, None, None
        self.part = part_of(path)

    def add(self, picture):
        if self.writer is None:
            self.size = picture.shape[1::-1]
            code = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
            self.writer = cv2.VideoWriter(str(self.part), code, self.fps, self.size)
            if not self.writer.isOpened():
                raise StepError(f"{self.path}: no video can be written there; is the folder there and writable?")
        self.writer.write(picture if picture.shape[1::-1] == self.size else cv2.resize(picture, self.size))

    def close(self, whole):
        """Complete it; without `whole` it is thrown away."""
        if self.writer is not None:
            self.writer.release()
            self.part.replace(self.path) if whole else self.part.unlink()
