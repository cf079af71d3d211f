"""Follows the data through a float module: which layers it is made of, which each reads, and what has no integer form.

The module is traced as a training model is (`mixq.tracing`), and run once on images of zeros, so that sizes which its
code computes (``x.view(x.size(0), -1)``, ``F.avg_pool2d(x, x.shape[2:])``) are numbers here.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from mixq.errors import UserError
from mixq.float_layers import Layer, Refusal, Sizes, float_layer, refusal
from mixq.operations import OPERATIONS
from mixq.tracing import INPUT, needed_nodes, read_nodes, step_paths, trace_module

UNKNOWN = "unknown"
"""Kind of a step that has no integer form."""

_RESHAPES = ("view", "reshape", torch.reshape, "flatten", torch.flatten, "squeeze", torch.squeeze, operator.getitem)
_COPIES = ("contiguous", "clone", torch.clone)
_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class FloatStep:
    """A layer of a float module: its path or name, its kind, the module that does the same, the paths of what it reads,
    and the shape of its output without the batch."""

    path: str
    kind: str
    module: nn.Module
    reads: tuple[str, ...]
    shape: Sizes

    @property
    def label(self) -> str:
        """Path and type, for an error's line."""
        return f"{self.path} ({type(self.module).__name__})"


@dataclass(frozen=True, kw_only=True)
class FloatTrace:
    """The layers of a float module in the order of the data, and a line for each that has no integer form."""

    steps: tuple[FloatStep, ...]
    output: str
    problems: tuple[str, ...]


def trace_float(module: nn.Module, input_shape: tuple[int, int, int]) -> FloatTrace:
    """The layers of ``module`` for images (C, H, W); identities and dropout are left out.

    Raises:
        UserError: it cannot be traced, does not run on such images, or has several inputs or outputs.
    """
    own = copy.deepcopy(module).cpu().float().eval()
    traced = _traced(own)
    nodes = list(traced.graph.nodes)
    output = nodes[-1].args[0]
    if not isinstance(output, fx.Node):
        raise UserError("the model must return one tensor, the output of its last layer; return that one alone")
    inputs = [node for node in nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise UserError(f"the model must take one tensor, the image, not {len(inputs)} arguments")
    follower = _Follower(traced, _recorded(traced, input_shape))
    needed = needed_nodes(output)
    for node in nodes:
        if node in needed and node.op != "output":
            follower.follow(node)
    return FloatTrace(steps=tuple(follower.steps), output=follower.names[output], problems=tuple(follower.problems))


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        return trace_module(module)
    except UserError:
        raise
    except Exception as error:  # the user's code runs here
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the model cannot be traced ({type(error).__name__}: {reason}); write its forward without branches on data"
        ) from error


def _recorded(traced: fx.GraphModule, shape: tuple[int, int, int]) -> dict[fx.Node, Any]:
    """What each node gives for images of zeros: shape of a tensor, batch included, or the value of something else."""
    found: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            found[n] = _Shape(value.shape) if isinstance(value, Tensor) else value
            return value

    try:
        with torch.no_grad():
            Recorder(traced).run(torch.zeros(_BATCH, *shape))
    except Exception as error:  # the user's code runs here, too
        reason = (" ".join(str(error).split()) or type(error).__name__).split(" While executing")[0][:200]
        given = ",".join(map(str, shape))
        raise UserError(f"the model does not run on images of the shape {given} ({reason}); set input_shape") from None
    return found


class _Shape(tuple[int, ...]):
    """Shape of a tensor, told apart from the sizes that a model computes with."""


class _Follower:
    """The steps while they grow. ``names``: the step, or `INPUT`, whose value a node gives."""

    def __init__(self, traced: fx.GraphModule, recorded: Mapping[fx.Node, Any]) -> None:
        self.traced, self.recorded = traced, recorded
        self.paths = step_paths(traced)
        self.names: dict[fx.Node, str] = {}
        self.steps: list[FloatStep] = []
        self.problems: list[str] = []
        self._called: set[str] = set()

    def follow(self, node: fx.Node) -> None:
        """The step of a node; none of one that gives sizes, or what it reads."""
        if node.op == "placeholder":
            self.names[node] = INPUT
            return
        if not self.is_tensor(node):
            return
        sources = [source for source in read_nodes(node) if self.is_tensor(source)]
        found = self.layer(node, sources)
        if isinstance(found, Layer) and found.kind == "identity":
            self.names[node] = self.names[sources[0]]
            return
        kind, module = (found.kind, found.module) if isinstance(found, Layer) else (UNKNOWN, self.module(node))
        self.names[node] = self.paths[node]
        step = FloatStep(
            path=self.paths[node],
            kind=kind,
            module=module,
            reads=tuple(self.names[source] for source in sources),
            shape=self.shape(node),
        )
        self.steps.append(step)
        if isinstance(found, Refusal):
            self.problems.append(f"{self.label(node)}: {found}")
        elif kind in ("weighted", "norm") and str(node.target) in self._called:
            self.problems.append(f"{self.label(node)}: it is called again, give each call its own layer")
        self._called.add(str(node.target))

    def layer(self, node: fx.Node, sources: list[fx.Node]) -> Layer | Refusal:
        """What a node becomes."""
        if not node.all_input_nodes:
            return Refusal("it is a tensor of the model's own", "only layers hold numbers")
        if not sources:
            return refusal(node.target)
        before, after = self.shape(sources[0]), self.shape(node)
        if node.op == "call_module":
            return float_layer(self.module(node), before, after)
        if node.target in _COPIES:
            return Layer("identity", nn.Identity())
        if node.target in _RESHAPES:
            return self.reshaped(node, sources[0])
        if node.target is F.interpolate:
            return float_layer(self.interpolation(node), before, after)
        if node.target is F.pixel_unshuffle:
            factor = self.value(node.args[1] if len(node.args) > 1 else node.kwargs["downscale_factor"])
            return float_layer(nn.PixelUnshuffle(factor), before, after)
        made = self.operation(node)
        return refusal(node.target) if made is None else float_layer(made, before, after)

    def reshaped(self, node: fx.Node, source: fx.Node) -> Layer | Refusal:
        """A change of shape that leaves all of an image's values in one row, or everything as it was."""
        before, after = self.recorded[source], self.recorded[node]
        if after == before:
            return Layer("identity", nn.Identity())
        if after == (_BATCH, math.prod(before[1:])):
            return Layer("flatten", nn.Flatten())
        return Refusal(f"it makes {_sizes(before)} of the shape {_sizes(after)}", "use torch.flatten(x, 1)")

    def interpolation(self, node: fx.Node) -> nn.Module:
        """``F.interpolate`` as a module; what it does to the shape is known without its sizes."""
        mode = node.kwargs.get("mode", node.args[3] if len(node.args) > 3 else "nearest")
        return nn.Upsample(scale_factor=1.0, mode=str(mode))

    def operation(self, node: fx.Node) -> nn.Module | None:
        """The module that does what a function or method does, None where none is known."""
        make = OPERATIONS.get(node.target)
        if make is None:
            return None
        arguments = fx.map_arg((node.args, node.kwargs), lambda own: own if self.is_tensor(own) else self.value(own))
        try:
            return make(*arguments[0], **arguments[1])
        except (TypeError, ValueError):
            return None  # arguments that the module has no counterpart of

    def value(self, argument: Any) -> Any:
        """A size that the model computes, as a number."""
        found = self.recorded[argument] if isinstance(argument, fx.Node) else argument
        return tuple(found) if isinstance(found, torch.Size) else found

    def module(self, node: fx.Node) -> nn.Module:
        """The module that a node calls; an identity where it calls none."""
        return self.traced.get_submodule(str(node.target)) if node.op == "call_module" else nn.Identity()

    def label(self, node: fx.Node) -> str:
        """A node for an error's line: path and type, or name and function."""
        if node.op == "call_module":
            return f"{node.target} ({type(self.module(node)).__name__})"
        if node.op == "get_attr":
            return str(node.target)
        return f"{node.name} ({getattr(node.target, '__name__', node.target)})"

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether a node gives a tensor."""
        return isinstance(self.recorded.get(node), _Shape)

    def shape(self, node: fx.Node) -> Sizes:
        """Shape of a node's tensor without the batch."""
        return tuple(self.recorded[node][1:])


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(["N", *map(str, shape[1:])])
