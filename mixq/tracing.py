"""Follows the data through a training model, by symbolic tracing, and checks that it can be lowered.

The result is the chain of layers in the order of the data, whatever the order in which the module
registers them. What may follow what:

    image quantiser, then one or more of
        [max-pool | flatten]*  QuantConv2d or QuantLinear  [batch norm]  [max-pool | flatten]*  quantiser
    where the last convolution or dense layer is the model's output, with neither norm nor quantiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mixq.errors import UserError
from mixq.layers import QuantConv2d, QuantLinear
from mixq.quantizers import ActivationQuantizerBase, ImageQuantizer

Norm = nn.BatchNorm1d | nn.BatchNorm2d
Pool = tuple[str, nn.MaxPool2d]

_QUANTISED = (QuantConv2d, QuantLinear, ActivationQuantizerBase, ImageQuantizer)
_NO_OPERATION = (nn.Identity, nn.Dropout, nn.Dropout2d)

# State of the tensor that flows, and what each kind of layer makes of it. "codes": quantised; "sums": a
# weighted layer's output; "normed": after batch norm; "pooled": sums or normed values after a max-pool or
# flatten, which batch norm may no longer follow, as it could turn the order of the values round.
_NEXT_STATE = {
    ("pixels", "image"): "codes",
    ("codes", "pool"): "codes",
    ("codes", "flatten"): "codes",
    ("codes", "weighted"): "sums",
    ("sums", "norm"): "normed",
    **{(state, "quantizer"): "codes" for state in ("sums", "normed", "pooled")},
    **{(state, kind): "pooled" for state in ("sums", "normed", "pooled") for kind in ("pool", "flatten")},
}
_HINTS = {
    "pixels": "the first layer must be an ImageQuantizer",
    "codes": "after a quantiser come a max-pool, a flatten, a QuantConv2d or a QuantLinear",
    "sums": "after a convolution or dense layer come batch norm, a max-pool or an ActivationQuantizer",
    "normed": "after batch norm come a max-pool, a flatten or an ActivationQuantizer",
    "pooled": "after a max-pool of unquantised values comes an ActivationQuantizer",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A weighted layer and what stands behind it up to the next one.

    The paths are those of the modules (``features.conv1``); ``norm`` and ``quantizer`` are None, with the
    path "", where there is none, the latter only behind the last layer; ``pools`` holds path and module of
    the max-pools before and behind the quantiser.
    """

    path: str
    layer: QuantConv2d | QuantLinear
    norm_path: str
    norm: Norm | None
    quantizer_path: str
    quantizer: ActivationQuantizerBase | None
    pools: tuple[Pool, ...]


@dataclass(frozen=True, kw_only=True)
class TracedModel:
    """A training model in the order of its data: image quantiser, max-pools of the image, stages."""

    image_path: str
    image: ImageQuantizer
    image_pools: tuple[Pool, ...]
    stages: tuple[Stage, ...]


def trace(model: nn.Module) -> TracedModel:
    """The layers of ``model`` in the order of the data; identities and dropout are left out.

    Raises:
        UserError: an operation that cannot be lowered, a tensor that feeds two layers, a layer that is
            called twice, or an order of layers that the module's docstring does not allow.
    """
    layers = [entry for entry in _layers(trace_module(model)) if not isinstance(entry[1], _NO_OPERATION)]
    paths = [path for path, _ in layers]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"layer {path} is called {paths.count(path)} times; give each call its own layer")
    _check_order(layers)
    groups = [_Group()]
    for path, module in layers:
        if isinstance(module, QuantConv2d | QuantLinear):
            groups.append(_Group())
        groups[-1].add(path, module)
    image = layers[0][1]
    assert isinstance(image, ImageQuantizer)
    return TracedModel(
        image_path=groups[0].path,
        image=image,
        image_pools=tuple(groups[0].pools),
        stages=tuple(group.stage() for group in groups[1:]),
    )


@dataclass
class _Group:
    """Modules from one weighted layer to before the next, the first group those before any."""

    path: str = ""
    modules: dict[str, nn.Module] = field(default_factory=dict)
    pools: list[Pool] = field(default_factory=list)

    def add(self, path: str, module: nn.Module) -> None:
        self.path = self.path or path
        self.modules[path] = module
        if isinstance(module, nn.MaxPool2d):
            self.pools.append((path, module))

    def stage(self) -> Stage:
        layer = self.modules[self.path]
        assert isinstance(layer, QuantConv2d | QuantLinear)
        norm_path, norm = "", None
        quantizer_path, quantizer = "", None
        for path, module in self.modules.items():
            if isinstance(module, Norm):
                norm_path, norm = path, module
            elif isinstance(module, ActivationQuantizerBase):
                quantizer_path, quantizer = path, module
        return Stage(
            path=self.path,
            layer=layer,
            norm_path=norm_path,
            norm=norm,
            quantizer_path=quantizer_path,
            quantizer=quantizer,
            pools=tuple(self.pools),
        )


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
        return isinstance(m, _QUANTISED) or super().is_leaf_module(m, module_qualified_name)


def _layers(traced: fx.GraphModule) -> list[tuple[str, nn.Module]]:
    """Every node between input and output as path and module, in the order of the data."""
    nodes = list(traced.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise UserError(f"the model must take one tensor, the image, not {len(inputs)} arguments")
    for node in nodes:
        if len(node.users) > 1:
            users = ", ".join(_label(user) for user in node.users)
            raise UserError(f"{_label(node)} feeds {users}; only a chain of layers can be lowered")
    calls = [node for node in nodes if node.op not in ("placeholder", "output")]
    layers: list[tuple[str, nn.Module]] = []
    unsupported: list[str] = []
    for node in calls:
        module = _module_of(traced, node)
        if module is None:
            unsupported.append(_label(node))
        else:
            layers.append((str(node.target) if node.op == "call_module" else node.name, module))
    if unsupported:
        raise UserError(f"these operations cannot be lowered: {', '.join(unsupported)}; {_supported()}")
    _check_connected(inputs[0], calls, nodes[-1])
    return layers


def _module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that does what ``node`` does, None where there is none that can be lowered."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return module if isinstance(module, _NO_OPERATION) or _kind(module) else None
    equivalents: dict[Any, Callable[..., nn.Module]] = {
        "flatten": nn.Flatten,
        torch.flatten: nn.Flatten,
        F.max_pool2d: nn.MaxPool2d,
        torch.max_pool2d: nn.MaxPool2d,
    }
    make = equivalents.get(node.target)
    if make is None:
        return None
    if make is nn.Flatten and len(node.args) + len(node.kwargs) < 2:
        return None  # torch.flatten starts at the batch by default, nn.Flatten behind it
    module = make(*node.args[1:], **{key: value for key, value in node.kwargs.items() if key != "input"})
    return module if _kind(module) else None


def _kind(module: nn.Module) -> str:
    if isinstance(module, ImageQuantizer):
        return "image"
    if isinstance(module, (QuantConv2d, QuantLinear)):
        return "weighted"
    if isinstance(module, ActivationQuantizerBase):
        return "quantizer"
    if isinstance(module, Norm) and module.track_running_stats:
        return "norm"
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        return "flatten"
    if isinstance(module, nn.MaxPool2d) and _is_plain_pool(module):
        return "pool"
    return ""


def _is_plain_pool(pool: nn.MaxPool2d) -> bool:
    """Whether the pool is square, without padding, dilation and rounding up."""
    plain = pool.padding in (0, (0, 0)) and pool.dilation in (1, (1, 1))
    square = all(isinstance(size, int) or size[0] == size[1] for size in (pool.kernel_size, pool.stride))
    return plain and square and not pool.ceil_mode and not pool.return_indices


def _check_order(layers: Iterable[tuple[str, nn.Module]]) -> None:
    state, last, flat = "pixels", "the input", False
    for path, module in layers:
        if isinstance(module, QuantLinear) and not flat:
            raise UserError(f"{path} (QuantLinear) reads an image; put an nn.Flatten before it")
        if isinstance(module, QuantConv2d | nn.MaxPool2d) and flat:
            raise UserError(f"{path} ({type(module).__name__}) reads flattened values; move the flatten")
        flat = flat or isinstance(module, nn.Flatten)
        following = _NEXT_STATE.get((state, _kind(module)))
        if following is None:
            raise UserError(f"{path} ({type(module).__name__}) cannot follow {last}: {_HINTS[state]}")
        state, last = following, path
    if state != "sums":
        raise UserError(
            f"the model ends with {last}; its output must be that of a convolution or dense layer, "
            "with neither batch norm, pooling nor quantiser behind it"
        )


def _check_connected(image: fx.Node, calls: list[fx.Node], output: fx.Node) -> None:
    """Check that every call reads the call before it; nothing else can stand in a chain."""
    previous = image
    for node in calls:
        if node.all_input_nodes != [previous]:
            read = ", ".join(_label(other) for other in node.all_input_nodes) or "nothing"
            fix = f"each layer must read the one before it, {_label(previous)}"
            raise UserError(f"{_label(node)} reads {read}; {fix}")
        previous = node
    if output.args != (previous,):
        raise UserError(f"the model must return one tensor, the output of its last layer, {_label(previous)}")


def _label(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "the input"
    if node.op == "output":
        return "the output"
    if node.op == "call_module":
        module = node.graph.owning_module
        kind = type(module.get_submodule(str(node.target))).__name__ if module is not None else "module"
        return f"{node.target} ({kind})"
    return f"{node.name} ({getattr(node.target, '__name__', node.target)})"


def _supported() -> str:
    return (
        "use ImageQuantizer, QuantConv2d, QuantLinear, ActivationQuantizer, batch norm with running "
        "statistics, square max-pooling without padding, flatten from dimension 1, dropout"
    )
