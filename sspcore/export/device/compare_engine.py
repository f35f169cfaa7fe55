"""Compare the engine of this bundle with the trained model, over the golden rollout.

    python3 compare_engine.py [--runtime onnxruntime] [--least-identical 0.99]

State is fed back as on the drone, so errors of the warps add up over the frames: a wrong sampling mode or a float16 grid
shows here and not in a comparison of single frames. Exit status 1 if a frame agrees on fewer pixels than asked.
"""

from __future__ import annotations

import json

from sspcore.export.device.script import add_runtime, need, open_runner, parser_of, read_golden, run_script

np = need("numpy")

from sspcore.export.device.step_runner import StepError


def compare(runner, golden):
    """One row a frame: share of identical pixels of the class map, largest difference of the (thinned) logits."""
    rows = []
    stride = int(golden["logits_stride"])
    for k in range(len(golden["frames"])):
        H = golden["H_cur_to_prev"][k] if golden["past_valid"][k] else None
        class_map = runner.step(golden["frames"][k], H)
        logits = np.asarray(runner.outputs["logits"][0, :, ::stride, ::stride], np.float32)
        rows.append({
            "frame": k, "identical": float((class_map == golden["class_map"][k]).mean()),
            "logits_max_difference": float(np.abs(logits - golden["logits"][k]).max()),
        })
    return rows


def main():
    parser = parser_of(__doc__)
    add_runtime(parser)
    parser.add_argument("--least-identical", type=float, default=0.99, help="share of pixels (default: 0.99)")
    options = parser.parse_args()
    runner = open_runner(options, keep_logits=True)
    rows = compare(runner, read_golden(options.bundle))
    for row in rows:
        print("frame {frame:3d}  identical {identical:.5f}  logits differ by {logits_max_difference:.2e}".format(**row))
    identical = [row["identical"] for row in rows]
    print(json.dumps({
        "runtime": runner.name, "frames": len(rows),
        "identical_min": min(identical), "identical_mean": float(np.mean(identical)),
        "logits_max_difference": max(row["logits_max_difference"] for row in rows),
    }))
    if min(identical) < options.least_identical:
        raise StepError(
            f"a frame agrees on {min(identical):.5f} of its pixels, {options.least_identical:.5f} are asked for"
        )


if __name__ == "__main__":
    run_script(main)
