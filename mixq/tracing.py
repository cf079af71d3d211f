"""Follows the data through a training model, by symbolic tracing: which layer reads which.

The result is a list of steps in the order of the data, whatever the order in which the module registers them, each a
layer of a kind that is known here, and what it reads. Operations written as functions (``x + y``, ``torch.cat``,
``F.relu``) become the module that does the same. Whether layers may follow each other, `mixq.expressions` knows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from mixq.errors import UserError
from mixq.layers import Add, Concat, QuantConv2d, QuantLinear, SpaceToDepth
from mixq.operations import OPERATIONS, kind_of, rewrite_of
from mixq.quantizers import ActivationQuantizerBase, ImageQuantizer

INPUT = ""
"""What a step reads that reads the model's input."""

_LEAVES = (QuantConv2d, QuantLinear, ActivationQuantizerBase, ImageQuantizer, SpaceToDepth, Concat, Add)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One layer: the path of its module (``features.conv1``), or the name of the operation; its kind, one of those of
    `mixq.operations`; the module; the paths of the steps that it reads, `INPUT` for the model's input."""

    path: str
    kind: str
    module: nn.Module
    reads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TracedModel:
    """A training model in the order of its data. ``output`` is the path of the last step."""

    steps: tuple[Step, ...]
    output: str

    def step(self, path: str) -> Step:
        """The step of a path; KeyError where there is none."""
        for step in self.steps:
            if step.path == path:
                return step
        raise KeyError(path)

    @property
    def weighted(self) -> tuple[Step, ...]:
        """The convolutions and dense layers, in order."""
        return tuple(step for step in self.steps if step.kind == "weighted")

    def readers(self, path: str) -> tuple[Step, ...]:
        """The steps that read a step."""
        return tuple(step for step in self.steps if path in step.reads)

    def label(self, path: str) -> str:
        """A step for an error's line: path and type."""
        return "the input" if path == INPUT else f"{path} ({type(self.step(path).module).__name__})"


def trace(model: nn.Module) -> TracedModel:
    """The layers of ``model`` in the order of the data; identities and dropout are left out.

    Raises:
        UserError: operations that are not known, all of them in one line with what to write instead; a layer that is
            called twice; several inputs or outputs.
    """
    traced = trace_module(model)
    nodes = list(traced.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise UserError(f"the model must take one tensor, the image, not {len(inputs)} arguments")
    output = nodes[-1].args[0]
    if not isinstance(output, fx.Node):
        raise UserError("the model must return one tensor, the output of its last layer; return that one alone")
    needed = needed_nodes(output)
    names: dict[fx.Node, str] = {inputs[0]: INPUT}
    paths = step_paths(traced)
    steps: list[Step] = []
    unknown: list[str] = []
    for node in nodes:
        if node.op in ("placeholder", "output") or node not in needed:
            continue
        module = _module_of(traced, node)
        kind = "" if module is None else kind_of(module)
        if not kind:
            unknown.append(_refusal(traced, node))
            names[node] = INPUT  # whatever reads it is not looked at
        elif kind == "identity":
            names[node] = names[node.all_input_nodes[0]]
        else:
            assert module is not None
            names[node] = paths[node]
            reads = tuple(names[source] for source in read_nodes(node))
            steps.append(Step(path=names[node], kind=kind, module=module, reads=reads))
    if unknown:
        raise UserError(f"these operations cannot be lowered: {'; '.join(unknown)}")
    _check_steps(steps)
    return TracedModel(steps=tuple(steps), output=names[output])


def trace_module(model: nn.Module) -> fx.GraphModule:
    """Symbolic trace of ``model`` in which our layers and those of `torch.nn` are single nodes.

    Raises:
        UserError: the model's Python code depends on the values that flow through it.
    """
    try:
        graph = _LayerTracer().trace(model)
    except (fx.proxy.TraceError, TypeError) as error:
        raise UserError(f"the model cannot be traced ({error}); write its forward without branches on data") from None
    return fx.GraphModule(model, graph)


class _LayerTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


def needed_nodes(output: fx.Node) -> set[fx.Node]:
    """The nodes that the output depends on."""
    found: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def step_paths(traced: fx.GraphModule) -> dict[fx.Node, str]:
    """A path for every node, each another: of a module its own, with a number behind it where it is called again."""
    found: dict[fx.Node, str] = {}
    modules = {path for path, _ in traced.named_modules()}
    taken: set[str] = set()
    for node in traced.graph.nodes:
        path = base = str(node.target) if node.op == "call_module" else node.name
        count = 1
        while path in taken or (node.op != "call_module" and path in modules):
            count += 1
            path = f"{base}:{count}"
        found[node] = path
        taken.add(path)
    return found


def read_nodes(node: fx.Node) -> list[fx.Node]:
    """The tensors that a node reads, in order, one that is read twice twice."""
    found: list[fx.Node] = []

    def add(source: fx.Node) -> fx.Node:
        found.append(source)
        return source

    fx.map_arg((node.args, node.kwargs), add)
    return found


def _module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that does what ``node`` does, None where none is known."""
    if not node.all_input_nodes:
        return None
    if node.op == "call_module":
        return traced.get_submodule(str(node.target))
    make = OPERATIONS.get(node.target)
    if make is None:
        return None
    try:
        given = inspect.signature(make).bind(*node.args, **node.kwargs)
        return make(*given.args, **given.kwargs)
    except (TypeError, ValueError):
        return None  # arguments that the module has no counterpart of


def _refusal(traced: fx.GraphModule, node: fx.Node) -> str:
    """An operation that is not known, with what to write instead where that is known."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return f"{node.target} ({type(module).__name__}): {rewrite_of(module)}"
    if node.op == "get_attr":
        return f"{node.target} (a tensor of the model): only layers hold numbers"
    return f"{node.name} ({getattr(node.target, '__name__', node.target)}): {rewrite_of(node.target)}"


def _check_steps(steps: list[Step]) -> None:
    modules = [step.module for step in steps]
    for step in steps:
        if step.kind in ("weighted", "quantizer", "norm") and modules.count(step.module) > 1:
            count = modules.count(step.module)
            raise UserError(f"layer {step.path} is called {count} times; give each call its own layer")


def image_shape(model: nn.Module, given: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The shape (C, H, W) of an image: the one given, or else the model's attribute ``input_shape``, if it has one."""
    shape = given if given is not None else getattr(model, "input_shape", None)
    return None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2]))


def traced_sizes(
    model: nn.Module, traced: TracedModel, shape: tuple[int, int, int] | None
) -> dict[str, tuple[int, ...]] | None:
    """Shape of each step's output for one image, without the batch, where a step needs it; else None."""
    means = [step for step in traced.steps if step.kind == "average_pool" and not isinstance(step.module, nn.AvgPool2d)]
    if shape is None or not means:
        return None
    sizes: dict[str, tuple[int, ...]] = {}
    graph = trace_module(model)
    paths = step_paths(graph)

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                sizes[paths[n]] = tuple(value.shape[1:])
            return value

    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        like = next(model.parameters(), torch.zeros(1))
        with torch.no_grad():
            Recorder(graph).run(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    finally:
        for module in training:
            module.training = True
    return sizes
