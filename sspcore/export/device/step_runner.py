"""Run an exported step over a video: state in, state out, one frame a call.

Needs NumPy and one of onnxruntime, OpenVINO, TensorRT, TensorRT for RTX.

    runner = OnnxRunner("bundle")                                     # or engine_runner.EngineRunner("bundle")
    class_map = runner.step(frame)                                    # first frame, or after a scene cut
    class_map = runner.step(frame, sampling_homography(H_prev_to_cur))

Frames are uint8 RGB (H, W, 3) of the size in bundle.json; `resized` brings others to it. H_prev_to_cur maps pixel
coordinates of the frame before into the current one, the centre of the upper left pixel being (0, 0); the network wants
its inverse.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np

SIDECAR = "bundle.json"
ONNX = "step.onnx"
ENGINE = "step.plan"
GOLDEN = "golden.npz"
# of a runtime: the modules that may hold it, in order, and how it is installed
MODULES = {
    "onnxruntime": (("onnxruntime",), "pip install onnxruntime"),
    "openvino": (("openvino",), "pip install openvino"),
    "tensorrt": (("tensorrt",), "it comes with JetPack: sudo apt install nvidia-jetpack"),
    "tensorrt-rtx": (("tensorrt_rtx", "tensorrt_rtx_bindings"), "pip install tensorrt_rtx"),
}


class StepError(RuntimeError):
    """What a person can put right, in one line: a runtime or a file that is missing, an engine of another device."""


def import_runtime(name):
    """The Python module of a runtime of MODULES. Raises: StepError that says how it is installed."""
    modules, advice = MODULES[name]
    for module in modules:
        try:
            if module == "tensorrt_rtx_bindings":
                import_module("tensorrt_rtx_libs")  # loads the libraries that the bindings want
            return import_module(module)
        except ImportError as error:
            problem = error
    raise StepError(f"{name} cannot be imported ({problem}): {advice}")


def required(path, folder=False):
    """The path of a file (or folder) of the bundle. Raises: StepError where there is none."""
    path = Path(path)
    if not (path.is_dir() if folder else path.is_file()):
        raise StepError(f"{path}: no such {'folder' if folder else 'file'}: copy the whole bundle, or name it with --bundle")
    return path


def sampling_homography(H_prev_to_cur):
    """The inverse in float64 with |[2, 2]| scaled to one, as float32: where a current pixel lay in the frame before."""
    inverse = np.linalg.inv(np.asarray(H_prev_to_cur, np.float64))
    return (inverse / abs(inverse[2, 2])).astype(np.float32)


def read_sidecar(folder):
    """The bundle's description."""
    return json.loads(required(Path(folder) / SIDECAR).read_text(encoding="utf-8"))


def content_size(frame, description):
    """(h, w) that a frame of any aspect takes in the network's: `class_map[:h, :w]` is what belongs to it."""
    factor = min(side / given for side, given in zip(description["size"], frame.shape[:2], strict=True))
    return tuple(max(1, round(factor * given)) for given in frame.shape[:2])


def resized(frame, description):
    """A uint8 RGB frame of any size at the network's, scaled as `description` (bundle.json) says, as in training.

    It keeps its aspect, in the upper left corner (`content_size`), where pixels have the same coordinates with and without
    the margin; that mirrors it. "bilinear" needs Pillow, "area" and "cubic" need OpenCV. OpenCV's own bilinear is another:
    it skips pixels.
    """
    scaled = _scaled(frame, content_size(frame, description), description.get("interpolation", "area"))
    below, right = (side - has for side, has in zip(description["size"], scaled.shape[:2], strict=True))
    return np.pad(scaled, ((0, below), (0, right), (0, 0)), "reflect") if below or right else scaled


def _scaled(frame, size, how):
    height, width = size
    if frame.shape[:2] == (height, width):
        return frame
    if how == "bilinear":
        try:
            from PIL import Image
        except ImportError as error:
            raise StepError(f"{SIDECAR} asks for Pillow's bilinear: apt install python3-pil, or pip install Pillow") from error
        return np.array(Image.fromarray(frame).resize((width, height), Image.BILINEAR))
    import cv2

    if how == "cubic":
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
    # sides that shrink are averaged first: OpenCV averages only where none grows
    least = min(width, frame.shape[1]), min(height, frame.shape[0])
    if least != frame.shape[1::-1]:
        frame = cv2.resize(frame, least, interpolation=cv2.INTER_AREA)
    return frame if least == (width, height) else cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)


class StepRunner:
    """What all implementations of a step share: the state of one video, and what the network is given for a frame.

    After each step `outputs` holds the network's outputs by name, as far as they were asked for. `description` is a
    bundle's side-car, or its `size`, `inputs`, `state` and, for float frames, `normalisation`. A subclass has
    `network(inputs)`: arrays by name in, all outputs by name out.
    """

    def __init__(self, description):
        self.sidecar = description
        self.size = tuple(description["size"])
        self.outputs = {}
        self._shapes = {v["name"]: (v["shape"], np.dtype(v["dtype"])) for v in description["inputs"]}
        self._clear()

    def step(self, frame, H_cur_to_prev=None):
        """Class map (H, W) uint8 of the next frame; without a homography a new video starts."""
        image = self._prepared(frame)
        if not self.sidecar["state"]:
            return self._run({"frame": image})
        fresh = H_cur_to_prev is None
        if fresh:
            self._clear()
        H = np.eye(3) if fresh else np.asarray(H_cur_to_prev)
        if H.shape != (3, 3) or not np.isfinite(H).all():
            raise ValueError(f"H_cur_to_prev is {H.tolist()}: give a finite 3x3 matrix, or None where there is none")
        motion, valid = np.ascontiguousarray(H[None], np.float32), np.array([0.0 if fresh else 1.0], np.float32)
        return self._run({"frame": image, "H_cur_to_prev": motion, "past_valid": valid})

    def _prepared(self, frame):
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ValueError(f"frame is {frame.dtype} {frame.shape}: give uint8 RGB of {self.size[0]}x{self.size[1]}")
        if self._shapes["frame"][1] == np.uint8:
            return np.ascontiguousarray(frame[None])
        mean, std = (np.array(self.sidecar["normalisation"][key], np.float32) for key in ("mean", "std"))
        return np.ascontiguousarray(((frame.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None])

    def _clear(self):
        self.state = {name: np.zeros(*self._shapes[name]) for name in self.sidecar["state"].values()}

    def _run(self, inputs):
        self.outputs = self.network({**inputs, **self.state})
        self.state = {previous: self.outputs[name] for name, previous in self.sidecar["state"].items()}
        return self.outputs["class_map"][0]


class OnnxRunner(StepRunner):
    """onnxruntime, on the CPU unless other execution providers are named, each by onnxruntime's name or as (name, settings).

    Raises: StepError if the first of them does not start: onnxruntime would take the CPU instead, with a warning.
    """

    name = "onnxruntime"

    def __init__(self, folder, threads=0, providers=("CPUExecutionProvider",)):
        super().__init__(read_sidecar(folder))
        onnxruntime = import_runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        first, settings = providers[0] if isinstance(providers[0], tuple) else (providers[0], {})
        chosen = {"providers": list(providers)}
        if first not in onnxruntime.get_available_providers():
            # those of a plug-in are devices; onnxruntime before 1.22 has none
            devices = [device for device in getattr(onnxruntime, "get_ep_devices", list)() if device.ep_name == first]
            if not devices:
                raise StepError(f"onnxruntime {onnxruntime.__version__} has no {first}, or no device for it")
            options.add_provider_for_devices(devices, settings)
            chosen = {}
        graph = str(required(Path(folder) / ONNX))
        self.session = onnxruntime.InferenceSession(graph, options, enable_fallback=0, **chosen)
        if first != "CPUExecutionProvider":
            self.name = f"onnxruntime, {first}"
        if first not in self.session.get_providers():
            raise StepError(f"onnxruntime cannot start {first}: are its driver and its libraries installed?")
        self.names = [output.name for output in self.session.get_outputs()]

    def network(self, inputs):
        return dict(zip(self.names, self.session.run(self.names, inputs), strict=True))


class OpenVinoRunner(StepRunner):
    """OpenVINO on the CPU, in float32; with `lower_precision` in bfloat16 where the processor has it."""

    name = "openvino"

    def __init__(self, folder, threads=0, lower_precision=False):
        super().__init__(read_sidecar(folder))
        openvino = import_runtime("openvino")
        settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
        if not lower_precision:  # OpenVINO takes bfloat16 by itself
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        self.model = openvino.Core().compile_model(str(required(Path(folder) / ONNX)), "CPU", settings)
        self.names = [value["name"] for value in self.sidecar["outputs"]]

    def network(self, inputs):
        outputs = self.model(inputs)
        return {name: outputs[name] for name in self.names}
