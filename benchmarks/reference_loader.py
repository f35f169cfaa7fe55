"""What the reference's own loader feeds its networks: run by reference_clips.py, which puts the reference's checkout in front.

python benchmarks/reference_loader.py DATASET FOLDER HEIGHT WIDTH OUT

FOLDER holds what the reference's tools made of a data set: data/, train.txt and val.txt. Of every pair (frame before a label,
labelled frame) one file OUT/<split>/<clip>_<name of the labelled frame>.npz is written: `frames` (2, 3, H, W) float32, the
frame before first, normalised, and `label` (H, W) uint8, ids as the network's loss has them. Nothing is augmented.
"""

import sys
from pathlib import Path

import numpy as np
from data.dataset_prep import prep_video_dataset  # of the reference


def main() -> None:
    dataset, folder, height, width, out = sys.argv[1:]
    settings = {"dataset": dataset, "path": folder, "crop_size": (int(height), int(width)), "adjacent_frames": [-1]}
    for split, samples in zip(("train", "val"), prep_video_dataset(settings)[:2], strict=True):
        (Path(out) / split).mkdir(parents=True)
        for k, (name, _, (video, _)) in enumerate(samples.samples):
            frame, before, label, _ = samples[k]
            target = Path(out) / split / f"{samples.video_names[video]}_{Path(name).stem}.npz"
            np.savez(target, frames=np.stack([before[0].numpy(), frame.numpy()]), label=label.numpy().astype(np.uint8))


if __name__ == "__main__":
    main()
