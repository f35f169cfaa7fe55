"""Run an exported step by TensorRT, or TensorRT for RTX, through libcudart alone."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from sspcore.export.device.step_runner import ENGINE, StepError, StepRunner, import_runtime, read_sidecar

RTX_ENGINES = "engines/step-sm*.engine"


def rtx_engines(folder):
    """Engines of TensorRT for RTX by compute capability ("86"), which `export --compile` wrote."""
    return {path.stem.rpartition("-sm")[2]: path for path in sorted(Path(folder).glob(RTX_ENGINES))}


def compute_capability(cuda):
    """Major and minor compute capability of the GPU: "86"."""
    return "".join(str(cuda.attribute(which)) for which in (75, 76))


def gpu():
    """Compute capability of this machine's GPU; None where there is none."""
    try:
        return compute_capability(CudaRuntime())
    except StepError:
        return None


class EngineRunner(StepRunner):
    """An engine of TensorRT, with two sets of state buffers that change places, and a CUDA graph for each.

    Args:
        folder: the bundle.
        runtime: "tensorrt", whose engine was built on this very device (build_engine.py), or "tensorrt-rtx", whose engines came
            with the bundle, for some compute capabilities.
        keep_logits: whether `outputs` gets the logits too (a slow copy; for comparisons).
    Raises: StepError if the runtime, its engine or CUDA is missing.
    """

    def __init__(self, folder, keep_logits=False, runtime="tensorrt"):
        self.sets, self.name = [], runtime
        super().__init__(read_sidecar(folder))
        trt, self.keep_logits = import_runtime(runtime), keep_logits
        if runtime == "tensorrt" and not (Path(folder) / ENGINE).is_file():
            raise StepError(f"{Path(folder) / ENGINE}: no engine yet: build it on this device with build_engine.py "
                            "(without one: --runtime onnxruntime)")
        self.cuda = CudaRuntime()
        path = Path(folder) / ENGINE if runtime == "tensorrt" else self._compiled(folder)
        self.logger = trt.Logger(trt.Logger.WARNING)
        if hasattr(trt, "init_libnvinfer_plugins"):  # TensorRT for RTX has none
            trt.init_libnvinfer_plugins(self.logger, "")
        self.runtime = trt.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise StepError(f"{path}: not an engine of this device and {runtime} {trt.__version__}; build it again here")
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
                    raise StepError(f"{path}: has no tensor {name}: it was built from another bundle")
        self.now = 0
        self._clear()
        self.graphs = [self._captured(context) for context in self.contexts]

    def _compiled(self, folder):
        number, engines = compute_capability(self.cuda), rtx_engines(folder)
        if number not in engines:
            there = ", ".join(engines) or "none"
            raise StepError(f"{folder}: no engine for compute capability {number} (there: {there}); "
                            f"export it with --compile sm{number}")
        return engines[number]

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
        raise StepError("libcudart is not found: put the CUDA libraries on LD_LIBRARY_PATH, or take --runtime onnxruntime")

    def call(self, function, *arguments):
        """Call by name. Integers are passed in 64 bits, as pointers and sizes need; ints and enums read the lower 32."""
        wide = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]
        status = getattr(self.library, function)(*wide)
        if status:
            raise StepError(f"{function} failed with CUDA error {status}")

    def made(self, function, *arguments):
        """What a call writes into its first argument: a pointer or a handle."""
        made = ctypes.c_void_p()
        self.call(function, ctypes.byref(made), *arguments)
        return made.value

    def attribute(self, number):
        """A property of device 0, by CUDA's number of it."""
        value = ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), number, 0)
        return value.value
