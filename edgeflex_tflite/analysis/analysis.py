"""Everything that a .tflite says about itself before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.analysis.compilers import Compilers
from edgeflex_tflite.analysis.edgetpu import EdgeTpuForecast, forecast
from edgeflex_tflite.analysis.inventory import Inventory, take_inventory
from edgeflex_tflite.analysis.kernels import Placement, place_ops
from edgeflex_tflite.analysis.macs import Arithmetic, MacCount, count_macs
from edgeflex_tflite.analysis.surprises import Surprise, find_surprises
from edgeflex_tflite.analysis.versions import RuntimeNeeds, release, runtime_needs
from edgeflex_tflite.files import sha256_of_file
from edgeflex_tflite.memory import ArenaPlan
from edgeflex_tflite.memory.control import adapt_callees
from edgeflex_tflite.memory.planner import plan_graph
from edgeflex_tflite.parse import load_file


@dataclass(frozen=True)
class GraphAnalysis:
    """One subgraph.

    Attributes:
        index: Position in the file.
        name: In the file.
        op_names: Each op's name, in order.
        op_versions: Each op's version.
        macs: Its multiply-accumulate operations.
        arena: The arena that the runtime plans for it with its own kernels.
        placement: What runs each op on a CPU with the default delegate.
    """

    index: int
    name: str
    op_names: tuple[str, ...]
    op_versions: tuple[int, ...]
    macs: MacCount
    arena: ArenaPlan
    placement: Placement


@dataclass(frozen=True)
class Analysis:
    """A whole file.

    Attributes:
        file: Path as it was given.
        sha256: Of its content.
        inventory: What is in it.
        graphs: All subgraphs, the primary one first; a graph that another one runs is planned in there too.
        runtime: The oldest runtime that runs it.
        surprises: What will fail or surprise.
        edgetpu: What the Edge TPU compiler is forecast to make of the primary graph.
        compilers: What the vendors' compilers make of it; None where they were not asked.
    """

    file: str
    sha256: str
    inventory: Inventory
    graphs: tuple[GraphAnalysis, ...]
    runtime: RuntimeNeeds
    surprises: tuple[Surprise, ...]
    edgetpu: EdgeTpuForecast
    compilers: Compilers | None = None

    @property
    def main(self) -> GraphAnalysis:
        """The primary graph."""
        return self.graphs[0]

    @property
    def integer_share(self) -> float | None:
        """Share of the primary graph's MACs in integer arithmetic; None without MACs."""
        shares = self.main.macs.shares
        if not shares:
            return None
        return shares.get(Arithmetic.INTEGER, 0.0) + shares.get(Arithmetic.DYNAMIC, 0.0)


def analyze_file(file: str | Path, *, num_threads: int = 1, runtime: str | None = None) -> Analysis:
    """Read a .tflite file and say what it will cost and where it will run, without running it.

    Args:
        file: Its path.
        num_threads: Threads of the interpreter; some kernels ask for other scratch memory with more than one.
        runtime: A TensorFlow Lite release that the file has to run on, e.g. "2.13.0", or None.

    Raises:
        UserError: There is no such file, it is not a .tflite flatbuffer, or `runtime` is no release.
    """
    if runtime is not None:
        release(runtime)
    model = load_file(file)
    macs = [count_macs(graph) for graph in model.graphs]
    placements = [place_ops(graph) for graph in model.graphs]
    adapted = adapt_callees(model.graphs)
    plans = [plan_graph(adapted, graph.index, num_threads=num_threads) for graph in model.graphs]
    return Analysis(
        file=str(file),
        sha256=sha256_of_file(Path(file)),
        inventory=take_inventory(model),
        graphs=tuple(
            GraphAnalysis(
                index=graph.index,
                name=graph.name,
                op_names=tuple(op.name for op in graph.ops),
                op_versions=tuple(op.version for op in graph.ops),
                macs=count,
                arena=plan,
                placement=placement,
            )
            for graph, count, plan, placement in zip(model.graphs, macs, plans, placements, strict=True)
        ),
        runtime=runtime_needs(model.graphs),
        surprises=find_surprises(model, macs, plans, placements, runtime),
        edgetpu=forecast(model.graphs[0]),
    )
