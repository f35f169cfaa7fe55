"""What the scripts of a bundle share: options, the choice of a runtime, and errors of one line. The standard library alone."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
_ADVICE = "on a Jetson sudo apt install python3-{0}, elsewhere pip install {1}"
_PACKAGES = {"numpy": ("numpy", "numpy"), "cv2": ("opencv", "opencv-python")}


def need(module):
    """A module that a script cannot do without; where it is missing the script ends."""
    try:
        return import_module(module)
    except ImportError as error:
        sys.exit(f"error: {module} cannot be imported ({error}): {_ADVICE.format(*_PACKAGES[module])}")


def run_script(main):
    """Run a script's `main`. What a person can put right ends it in one line and with status 1, Ctrl-C with status 130."""
    from sspcore.export.device.step_runner import StepError

    try:
        sys.exit(main())
    except (StepError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def parser_of(text):
    """A parser of options with --bundle; `text` is the script's own."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path(__file__).resolve().parent, help="default: where this script lies")
    return parser


def add_runtime(parser):
    """The options --runtime and --threads, for `open_runner`."""
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto",
                        help="auto: TensorRT where its engine was built, else TensorRT for RTX where it is installed and an "
                        "engine is for this GPU, else onnxruntime; not where TensorRT and a GPU wait for an engine")
    parser.add_argument("--threads", type=int, default=0, help="of onnxruntime and OpenVINO (default: one a core)")


def open_runner(options, keep_logits=False):
    """The runner that --runtime asks for. Raises: StepError if the runtime, its engine or the bundle is missing."""
    from sspcore.export.device.engine_runner import EngineRunner, gpu, rtx_engines
    from sspcore.export.device.step_runner import ENGINE, MODULES, OnnxRunner, OpenVinoRunner, StepError, required

    folder, runtime = required(options.bundle, folder=True), options.runtime
    if runtime == "auto":
        found = {name: any(map(find_spec, modules)) for name, (modules, _) in MODULES.items()}
        if (folder / ENGINE).is_file():
            runtime = "tensorrt"
        elif found["tensorrt-rtx"] and gpu() in rtx_engines(folder):
            runtime = "tensorrt-rtx"
        else:  # with a GPU for TensorRT, its engine is missing: the CPU must not silently do its work
            runtime = "tensorrt" if found["tensorrt"] and gpu() else "onnxruntime"
    on_cpu = {"onnxruntime": OnnxRunner, "openvino": OpenVinoRunner}
    try:
        runner = on_cpu[runtime](folder, options.threads) if runtime in on_cpu else EngineRunner(folder, keep_logits, runtime)
    except StepError:
        raise
    except Exception as error:  # the runtimes' errors share no base but this
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise StepError(f"{folder}: {runtime} cannot start ({problem})") from error
    print(f"{runner.sidecar['system']}, {'x'.join(map(str, runner.size))}, by {runtime}", file=sys.stderr)
    return runner


def read_golden(folder):
    """The golden rollout: arrays by name."""
    from sspcore.export.device.step_runner import GOLDEN, np, required

    with np.load(required(folder / GOLDEN), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
