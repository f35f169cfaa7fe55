"""Run an exported step over a video: state in, state out, one frame a call. Needs NumPy and one of TensorRT, onnxruntime.

    runner = EngineRunner("bundle")                                   # or OnnxRunner("bundle")
    class_map = runner.step(frame)                                    # first frame, or after a scene cut
    class_map = runner.step(frame, sampling_homography(H_prev_to_cur))

Frames are uint8 RGB (H, W, 3) of the size in bundle.json; `resized` brings others to it. H_prev_to_cur maps pixel
coordinates of the frame before into the current one, the centre of the upper left pixel being (0, 0); the network wants
its inverse.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np

SIDECAR = "bundle.json"
ONNX = "step.onnx"
ENGINE = "step.plan"
GOLDEN = "golden.npz"


def sampling_homography(H_prev_to_cur):
    """The inverse in float64 with |[2, 2]| scaled to one, as float32: where a current pixel lay in the frame before."""
    inverse = np.linalg.inv(np.asarray(H_prev_to_cur, np.float64))
    return (inverse / abs(inverse[2, 2])).astype(np.float32)


def read_sidecar(folder):
    """The bundle's description."""
    return json.loads((Path(folder) / SIDECAR).read_text(encoding="utf-8"))


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
            raise RuntimeError(f"{SIDECAR} asks for Pillow's bilinear: install Pillow (apt: python3-pil)") from error
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
    """onnxruntime, on the CPU unless other providers are named."""

    def __init__(self, folder, threads=0, providers=("CPUExecutionProvider",)):
        super().__init__(read_sidecar(folder))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(Path(folder) / ONNX), options, providers=list(providers))
        self.names = [output.name for output in self.session.get_outputs()]

    def network(self, inputs):
        return dict(zip(self.names, self.session.run(self.names, inputs), strict=True))


class EngineRunner(StepRunner):
    """A TensorRT engine with two sets of state buffers that change places, and a CUDA graph for each.

    Args:
        folder: the bundle; its engine was built on this very device (engine.py build).
        keep_logits: whether `outputs` gets the logits too (a slow copy; for comparisons).
    """

    def __init__(self, folder, keep_logits=False, engine=ENGINE):
        import tensorrt as trt

        self.cuda, self.keep_logits, self.sets = CudaRuntime(), keep_logits, []
        super().__init__(read_sidecar(folder))
        self.logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(self.logger, "")
        self.runtime = trt.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine((Path(folder) / engine).read_bytes())
        if self.engine is None:
            raise RuntimeError(f"{engine}: not an engine of this device and TensorRT {trt.__version__}; build it here")
        self.stream = self.cuda.made("cudaStreamCreate")
        self.host = {v["name"]: np.zeros(v["shape"], v["dtype"]) for v in self.sidecar["outputs"]}
        state = self.sidecar["state"]
        given = {name: np.zeros(*kind).nbytes for name, kind in self._shapes.items() if name not in state.values()}
        self.inputs = {name: self.cuda.made("cudaMalloc", size) for name, size in given.items()}
        self.sets = [{n: self.cuda.made("cudaMalloc", array.nbytes) for n, array in self.host.items()} for _ in range(2)]
        self.contexts = [self.engine.create_execution_context() for _ in range(2)]
        for now, context in enumerate(self.contexts):
            addresses = {**self.inputs, **self.sets[now]}
            addresses.update({before: self.sets[1 - now][name] for name, before in state.items()})
            for name, address in addresses.items():
                if not context.set_tensor_address(name, address):
                    raise RuntimeError(f"the engine has no tensor {name}: it was built from another bundle")
        self.now = 0
        self._clear()
        self.graphs = [self._captured(context) for context in self.contexts]

    def _captured(self, context):
        context.execute_async_v3(self.stream)  # the first enqueue may allocate, which a capture forbids
        self.wait()
        self.cuda.call("cudaStreamBeginCapture", self.stream, 1)  # 1: this thread's calls only
        context.execute_async_v3(self.stream)
        graph = ctypes.c_void_p()
        self.cuda.call("cudaStreamEndCapture", self.stream, ctypes.byref(graph))
        # not cudaGraphInstantiate, whose arguments changed with CUDA 12
        return self.cuda.made("cudaGraphInstantiateWithFlags", graph, 0)

    def _clear(self):
        for buffers in self.sets:
            for name, array in self.host.items():
                self.cuda.call("cudaMemset", buffers[name], 0, array.nbytes)

    def _run(self, inputs):
        for name, array in inputs.items():
            self.cuda.call("cudaMemcpyAsync", self.inputs[name], array.ctypes.data, array.nbytes, 1, self.stream)
        self.launch()
        for name, array in self.host.items():
            if self.keep_logits or name == "class_map":
                source = self.sets[1 - self.now][name]
                self.cuda.call("cudaMemcpyAsync", array.ctypes.data, source, array.nbytes, 2, self.stream)
        self.wait()
        self.outputs = self.host
        return self.host["class_map"][0].copy()

    def launch(self):
        """One step on whatever lies in the input buffers, without copies and without waiting."""
        self.cuda.call("cudaGraphLaunch", self.graphs[self.now], self.stream)
        self.now = 1 - self.now

    def wait(self):
        """Until all that was launched is done."""
        self.cuda.call("cudaStreamSynchronize", self.stream)


class CudaRuntime:
    """The few calls of libcudart that a stream of frames needs, without pycuda or torch. Pointers are Python integers."""

    def __init__(self):
        for name in ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"):
            try:
                self.library = ctypes.CDLL(name)
                return
            except OSError:
                continue
        raise RuntimeError("libcudart is not found: put the CUDA libraries on LD_LIBRARY_PATH")

    def call(self, function, *arguments):
        """Call by name. Integers are passed in 64 bits, as pointers and sizes need; ints and enums read the lower 32."""
        wide = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]
        status = getattr(self.library, function)(*wide)
        if status:
            raise RuntimeError(f"{function} failed with CUDA error {status}")

    def made(self, function, *arguments):
        """What a call writes into its first argument: a pointer or a handle."""
        made = ctypes.c_void_p()
        self.call(function, ctypes.byref(made), *arguments)
        return made.value
