"""The Python packages that can run a .tflite, each behind the same three calls."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.config import RuntimeConfig

Arrays = list[NDArray]


class Loaded(Protocol):
    """A model that is ready to run."""

    @property
    def wrapper(self) -> Any:
        """The C++ interpreter's wrapper, through which tensors can be seen; None where there is none."""

    def set_inputs(self, seed: int) -> None:
        """Fill all inputs once: floats and 8-bit integers at random, indices and flags with zeros."""

    def invoke(self) -> None:
        """One inference."""


INTERPRETERS = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite", "tensorflow"),
}
"""Module with `Interpreter`, and the package to install."""


def import_runtime(config: RuntimeConfig) -> Any:
    """The module of the chosen runtime.

    Raises:
        UserError: It is not installed; no other one is taken in its place.
    """
    if config.api == "compiled_model":
        return importlib.import_module("ai_edge_litert.compiled_model")
    module, package = INTERPRETERS[config.runtime]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"--runtime={config.runtime} is not installed ({error}): pip install {package}, or choose another of "
            f"{', '.join(INTERPRETERS)}"
        ) from error


def runtime_name(config: RuntimeConfig) -> str:
    """Package, version and interface, e.g. "ai-edge-litert 2.3.0 Interpreter"."""
    package = INTERPRETERS[config.runtime][1]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    return f"{package} {version} {'CompiledModel' if config.api == 'compiled_model' else 'Interpreter'}"


def load(path: Path, config: RuntimeConfig) -> Loaded:
    """Load a file and allocate its tensors.

    Raises:
        UserError: The runtime refuses the file, or the delegate's library cannot be loaded.
    """
    module = import_runtime(config)
    kind: type[_Compiled | _Interpreted | _Signature] = _Signature if config.signature else _Interpreted
    if config.api == "compiled_model":
        kind = _Compiled
    try:
        return kind(module, path, config)
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{runtime_name(config)} cannot load {path}: {_first_line(error)}") from error


def example(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> NDArray:
    """An input that every model takes: any index or length is valid when it is zero.

    Raises:
        UserError: A text input.
    """
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape).astype(dtype)
    if dtype in (np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    if dtype.kind in "OSU":
        raise UserError("the model takes text, and only numeric inputs can be made up")
    return np.zeros(shape, dtype)


class _Interpreted:
    def __init__(self, module: Any, path: Path, config: RuntimeConfig) -> None:
        options: dict[str, Any] = {"model_path": str(path), "num_threads": config.num_threads}
        if config.delegate not in ("xnnpack", "none"):
            options["experimental_delegates"] = [_load_delegate(module, config.delegate, dict(config.delegate_options))]
        if config.delegate != "xnnpack":
            resolver = _resolver_types(module, config)
            options["experimental_op_resolver_type"] = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = module.Interpreter(**options)
        self._allocate(config)

    def _allocate(self, config: RuntimeConfig) -> None:
        self._interpreter.allocate_tensors()

    @property
    def wrapper(self) -> Any:
        return self._interpreter._interpreter  # not kept: the interpreter refuses to run while anyone else holds it

    def set_inputs(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for detail in self._interpreter.get_input_details():
            shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
            self._interpreter.set_tensor(detail["index"], example(shape, dtype, rng))

    def invoke(self) -> None:
        self._interpreter.invoke()


class _Signature(_Interpreted):
    """One signature; the graphs of others take no arena."""

    def _allocate(self, config: RuntimeConfig) -> None:
        self._runner = self._interpreter.get_signature_runner(config.signature)
        self._graph = self.wrapper.GetSubgraphIndexFromSignature(config.signature)
        self.wrapper.AllocateTensors(self._graph)

    def set_inputs(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for detail in self._runner.get_input_details().values():
            values = example(tuple(detail["shape"]), np.dtype(detail["dtype"]), rng)
            self.wrapper.SetTensor(detail["index"], values, self._graph)

    def invoke(self) -> None:
        self.wrapper.Invoke(self._graph)


class _Compiled:
    @property
    def wrapper(self) -> Any:
        return None

    def __init__(self, module: Any, path: Path, config: RuntimeConfig) -> None:
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import CpuKernelMode, CpuOptions, Options

        cpu = CpuOptions(num_threads=config.num_threads, xnnpack_weight_cache_path=config.weight_cache or "")
        if config.delegate == "none":
            cpu.kernel_mode = CpuKernelMode.BUILTIN
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        self._model = module.CompiledModel.from_file(str(path), options=options)
        self._index = self._model.get_signature_index(config.signature) if config.signature else 0
        self._inputs = self._model.create_input_buffers(self._index)
        self._outputs = self._model.create_output_buffers(self._index)

    def set_inputs(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        signature = self._model.get_signature_by_index(self._index)
        details = self._model.get_input_tensor_details(signature["key"])
        for buffer, name in zip(self._inputs, signature["inputs"], strict=True):
            detail = details[name]
            buffer.write(example(tuple(detail["shape"]), np.dtype(detail["dtype"]), rng))

    def invoke(self) -> None:
        self._model.run_by_index(self._index, self._inputs, self._outputs)


def _load_delegate(module: Any, library: str, options: dict[str, str]) -> Any:
    loader = module.load_delegate if hasattr(module, "load_delegate") else module.experimental.load_delegate
    try:
        return loader(library, options)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"the delegate does not start ({said}): is its device connected, free, and open to this user?"
        ) from error


def _resolver_types(module: Any, config: RuntimeConfig) -> Any:
    types = getattr(module, "OpResolverType", None) or getattr(
        getattr(module, "experimental", None), "OpResolverType", None
    )
    if types is None:
        raise UserError(f"{runtime_name(config)} cannot run without its default delegate: use --delegate=xnnpack")
    return types


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
