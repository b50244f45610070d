"""One runtime in a process and an environment of its own: it needs torch, timm and the runtime, nothing of ours.

    python peer_worker.py make FORMAT model.json FILE    writes what the runtime loads
    python peer_worker.py serve RUNTIME model.json FILE THREADS

`serve` answers requests, one JSON object a line: {"do": "start"}, {"do": "run", "runs": 10, "secs": 1.0},
{"do": "logits", "images": "images.npy", "logits": "logits.npy"}. `model.json` says which timm model it is, where its
weights are, and where calibration images are. Images are normalized already, `float32 [N, 3, H, W]`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

KIBIBYTE = 1024


def torch_model(spec: dict[str, Any]) -> Any:
    """timm's, with the weights that every runtime gets."""
    import timm
    from safetensors.torch import load_file

    model = timm.create_model(spec["model"], **spec["options"])
    model.load_state_dict(load_file(spec["weights"]))
    return model.eval().requires_grad_(False)


def calibration(spec: dict[str, Any]) -> Any:
    return np.load(spec["calibration"], mmap_mode="r")


# What a runtime loads, from a torch model.


def make_nothing(spec: dict[str, Any], path: Path) -> None:
    """torch reads the weights as they are."""


def make_onnx(spec: dict[str, Any], path: Path) -> None:
    import torch

    image = torch.zeros(1, 3, *spec["size"])
    torch.onnx.export(torch_model(spec), (image,), path, input_names=["image"], dynamo=True, external_data=False)


def make_onnx_int8(spec: dict[str, Any], path: Path) -> None:
    """As ONNX Runtime's documentation does it for transformers on CPUs: dynamic, after its own preparation."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = path.with_suffix(".plain"), path.with_suffix(".prepared")
    make_onnx(spec, plain)
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    quantize_dynamic(str(prepared), str(path), weight_type=QuantType.QInt8)
    plain.unlink()
    prepared.unlink()


def make_openvino(spec: dict[str, Any], path: Path) -> None:
    import openvino

    plain = path.with_suffix(".onnx")
    make_onnx(spec, plain)
    openvino.save_model(openvino.convert_model(plain), path, compress_to_fp16=False)
    plain.unlink()


def make_openvino_int8(spec: dict[str, Any], path: Path) -> None:
    import nncf
    import openvino

    plain = path.with_suffix(".onnx")
    make_onnx(spec, plain)
    images = calibration(spec)
    dataset = nncf.Dataset([image[None] for image in images])
    quantized = nncf.quantize(
        openvino.convert_model(plain), dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(images)
    )
    openvino.save_model(quantized, path, compress_to_fp16=False)
    plain.unlink()


def make_executorch(spec: dict[str, Any], path: Path) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(torch_model(spec), (torch.zeros(1, 3, *spec["size"]),))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(program.buffer)


def make_executorch_int8(spec: dict[str, Any], path: Path) -> None:
    """As ExecuTorch's XNNPACK page does it: static activations, symmetric weights for each channel."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = (torch.zeros(1, 3, *spec["size"]),)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(torch_model(spec), inputs).module(), quantizer)
    for image in calibration(spec):
        prepared(torch.from_numpy(np.array(image[None])))
    exported = torch.export.export(convert_pt2e(prepared), inputs)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(program.buffer)


MAKE = {
    "torch": make_nothing,
    "onnx": make_onnx,
    "onnx_int8": make_onnx_int8,
    "openvino": make_openvino,
    "openvino_int8": make_openvino_int8,
    "executorch": make_executorch,
    "executorch_int8": make_executorch_int8,
}

# What runs it. Each is made without its model; `load` gives a function from an image to logits.


class Torch:
    compiled = False

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.version = f"torch {torch.__version__}"

    def load(self, spec: dict[str, Any], path: Path) -> Any:
        import torch

        model = torch_model(spec)
        if self.compiled:
            model = torch.compile(model)

        def run(image: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return np.asarray(model(torch.from_numpy(image)))

        return run


class Compiled(Torch):
    compiled = True


class OnnxRuntime:
    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._library, self._threads = onnxruntime, threads
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def load(self, spec: dict[str, Any], path: Path) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        session = self._library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda image: session.run(None, {name: image})[0]


class OpenVino:
    def __init__(self, threads: int) -> None:
        import openvino

        self._library, self._threads = openvino, threads
        self.version = f"openvino {openvino.__version__.split('-')[0]}"

    def load(self, spec: dict[str, Any], path: Path) -> Any:
        options = {"INFERENCE_NUM_THREADS": self._threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled = self._library.Core().compile_model(str(path), "CPU", options)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.version += f" computing in {precision}"  # by default BF16 on processors that have it
        request = compiled.create_infer_request()
        return lambda image: request.infer({0: image})[0]


class ExecuTorch:
    """Takes as many threads as this process has cores."""

    def __init__(self, threads: int) -> None:
        from importlib.metadata import version

        from executorch.runtime import Runtime

        self._runtime = Runtime.get()
        self.version = f"executorch {version('executorch')}"

    def load(self, spec: dict[str, Any], path: Path) -> Any:
        import torch

        method = self._runtime.load_program(path).load_method("forward")
        return lambda image: np.asarray(method.execute([torch.from_numpy(image)])[0])


RUNTIMES = {
    "torch": Torch,
    "torch_compile": Compiled,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "executorch": ExecuTorch,
}


class Server:
    """Answers requests about one model."""

    def __init__(self, runtime: str, spec: dict[str, Any], path: Path, threads: int) -> None:
        self._runtime, self._spec, self._path = RUNTIMES[runtime](threads), spec, path
        self._run: Any = None
        self._image = np.random.default_rng(0).standard_normal((1, 3, *spec["size"])).astype(np.float32)

    def start(self) -> dict[str, Any]:
        """Load the model and run it once; memory is over what the runtime's own library took."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        idle = _status()
        begin = time.perf_counter()
        self._run = self._runtime.load(self._spec, self._path)
        startup_ms = 1e3 * (time.perf_counter() - begin)
        begin = time.perf_counter()
        self._run(self._image)
        first_ms = 1e3 * (time.perf_counter() - begin)
        now = _status()
        anonymous, file = now["RssAnon"] - idle["RssAnon"], now["RssFile"] - idle["RssFile"]
        return {
            "startup_ms": startup_ms,
            "first_ms": first_ms,
            "peak_bytes": now["VmHWM"] - idle["RssAnon"] - idle["RssFile"],
            "anonymous_bytes": anonymous,
            "file_bytes": file,
            "version": self._runtime.version,
        }

    def run(self, runs: int, secs: float) -> dict[str, Any]:
        """At least so many inferences and seconds."""
        samples: list[float] = []
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        begin = time.perf_counter()
        while len(samples) < runs or time.perf_counter() - begin < secs:
            start = time.perf_counter()
            self._run(self._image)
            samples.append(1e3 * (time.perf_counter() - start))
        return {
            "samples_ms": samples,
            "preemptions": resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before,
        }

    def logits(self, images: str, logits: str) -> dict[str, Any]:
        """Of every image, one at a time."""
        found = [np.array(self._run(np.array(image[None]))[0]) for image in np.load(images, mmap_mode="r")]
        np.save(logits, np.stack(found))
        return {}


def _status() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * KIBIBYTE for name in ("VmHWM", "RssAnon", "RssFile")}


def serve(runtime: str, spec: dict[str, Any], path: Path, threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    server = Server(runtime, spec, path, threads)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(server, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


def main(command: str, what: str, spec: str, path: str, *rest: str) -> None:
    described = json.loads(Path(spec).read_text())
    if command == "make":
        MAKE[what](described, Path(path))
    else:
        serve(what, described, Path(path), int(rest[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
