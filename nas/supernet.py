"""The supernet: a network whose layers hold every width of the search space at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

from torch import Tensor, nn

from mixq.models import NetworkModel, StepModel, build_model
from mixq.network_steps import input_names
from mixq.packing import WeightRange
from mixq.quantizers import QuantizerKind, check_quantizer, check_weight_range
from nas.mixtures import ActivationMixture, ImageMixture, Mixture, MixtureConv2d, MixtureLinear, WeightMixture
from nas.space import SearchSpace


class LayerProbabilities(NamedTuple):
    """Probabilities of one layer's weight widths and of its input's widths, each a tensor (widths,)."""

    weight: Tensor
    act: Tensor


class Supernet(StepModel):
    """All networks of a search space at once; its input is ``pixel / 256``, float, of shape (N, C, H, W).

    Submodules have the names and the order of those of `mixq.models.NetworkModel`. A layer's weights are
    ``sum_i p_i * Q_i(w)``, its input is ``sum_j p_j * Q_j(x)``, with ``p`` the softmax of its architecture parameters,
    the image likewise, truncated to each width. All architecture parameters start at 0.01. Weights have the names and,
    where shared, the shapes of the network's, so that its state loads with ``strict=False``.

    Parameters:
        space: the widths of every layer.
        shared: one weight tensor for all widths of a layer, or, stacked in front, one for each.
        quantizer: kind of the quantisers. weight_range: "narrow" where weights of 4 bits or more do without the most
            negative one, or "full".

    Raises:
        TypeError, ValueError: ``space`` is no search space, or one of the others none of its values.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        shared: bool = True,
        quantizer: QuantizerKind = "hwgq",
        weight_range: WeightRange = "narrow",
    ) -> None:
        if not isinstance(space, SearchSpace):
            raise TypeError(f"space must be a SearchSpace, not {space!r}")
        if not isinstance(shared, bool):
            raise TypeError(f"shared must be True or False, not {shared!r}")
        check_quantizer("quantizer", quantizer)
        check_weight_range("weight_range", weight_range)
        super().__init__(space.table, _modules(space, shared, quantizer, weight_range))
        self.space = space
        self._input_names = input_names(space.table)
        self.shared = shared
        self.quantizer: QuantizerKind = quantizer
        self.weight_range: WeightRange = weight_range

    def weight_mixture(self, name: str) -> WeightMixture:
        """Mixture of the weights of the weighted layer ``name``."""
        return self._layer(name).mixture

    def act_mixture(self, name: str) -> Mixture:
        """Mixture of the input of the weighted layer ``name``."""
        index = self.space.names.index(name)
        return cast(Mixture, getattr(self, self._input_names[index]))

    def architecture_parameters(self) -> list[nn.Parameter]:
        """The parameters of all choices of more than one width, the weights' and the input's of each layer in order."""
        choices = [mixture.choice for name in self.space.names for mixture in self._mixtures(name)]
        return [choice.alpha for choice in choices if isinstance(choice.alpha, nn.Parameter)]

    def weight_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""
        architecture = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]

    def probabilities(self) -> tuple[LayerProbabilities, ...]:
        """Probabilities of every weighted layer's widths, differentiable; a single width has probability 1."""
        mixtures = [self._mixtures(name) for name in self.space.names]
        return tuple(
            LayerProbabilities(weight=own.choice.probabilities(), act=before.choice.probabilities())
            for own, before in mixtures
        )

    def argmax(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The most probable weight and activation width of every weighted layer; of equal ones the smallest."""
        mixtures = [self._mixtures(name) for name in self.space.names]
        return (
            tuple(own.choice.argmax() for own, _ in mixtures),
            tuple(before.choice.argmax() for _, before in mixtures),
        )

    @contextmanager
    def fixed(
        self,
        weight_bits: Sequence[int] | None = None,
        act_bits: Sequence[int] | None = None,
        *,
        weights: Mapping[str, int] | None = None,
        acts: Mapping[str, int] | None = None,
    ) -> Iterator[Supernet]:
        """Context in which layers are held to one width each, and what was before is again at its end.

        Parameters:
            weight_bits, act_bits: widths of every layer, as `NetworkTable.resolve_weight_bits` takes them; None leaves
                the mixtures, or what an outer context holds them to.
            weights, acts: widths of single layers by name, which go before those.

        Raises:
            UserError: widths or names that the search space does not have.
        """
        chosen = self._chosen(weight_bits, act_bits, weights or {}, acts or {})
        before = [(mixture.choice, mixture.choice.held) for mixture, _ in chosen]
        try:
            for mixture, index in chosen:
                mixture.choice.held = index
            yield self
        finally:
            for choice, held in before:
                choice.held = held

    def extract(self, weight_bits: Sequence[int] | None = None, act_bits: Sequence[int] | None = None) -> NetworkModel:
        """The network of one width for each layer, with copies of the supernet's weights for these widths.

        It is in the supernet's mode, dtype and place. Running statistics of batch norm are those of the mixture, so
        they are to be measured again, or the network trained on, before its accuracy says much.

        Parameters:
            weight_bits, act_bits: as `NetworkTable.resolve_weight_bits` takes them; None: the most probable ones.

        Raises:
            UserError: widths that the search space does not have.
        """
        likeliest = self.argmax()
        weight_indices = self.space.weight_indices(likeliest[0] if weight_bits is None else weight_bits)
        act_indices = self.space.act_indices(likeliest[1] if act_bits is None else act_bits)
        model = build_model(
            self.table,
            weight_bits=self.space.weight_bits(weight_indices),
            act_bits=self.space.act_bits(act_indices),
            weight_range=self.weight_range,
            quantizer=self.quantizer,
        )
        first = self._layer(self.space.names[0]).weight
        model.to(device=first.device, dtype=first.dtype).load_state_dict(self._state(weight_indices, act_indices))
        return model.train(self.training)

    def _state(self, weight_indices: Sequence[int], act_indices: Sequence[int]) -> dict[str, Tensor]:
        """State of the network that has the widths at these places."""
        state = {}
        mixed = {*self._input_names, *self.space.names}
        for name, module in self.named_children():
            if name not in mixed:
                state.update(_prefixed(name, module))
        for position, name in enumerate(self.space.names):
            layer, own = self._layer(name), self.weight_mixture(name)
            state[f"{name}.weight"] = own.own_weight(layer.weight.detach(), weight_indices[position])
            if layer.bias is not None:
                state[f"{name}.bias"] = layer.bias.detach()
            state.update(_prefixed(f"{name}.weight_quantizer", own.quantizers[weight_indices[position]]))
            before = self.act_mixture(name).quantizers[act_indices[position]]
            state.update(_prefixed(self._input_names[position], before))
        return state

    def _chosen(
        self,
        weight_bits: Sequence[int] | None,
        act_bits: Sequence[int] | None,
        weights: Mapping[str, int],
        acts: Mapping[str, int],
    ) -> list[tuple[Mixture, int]]:
        """Mixtures and the places of the widths that they are to be held to; later ones go before earlier ones."""
        names = self.space.names
        own = [] if weight_bits is None else list(zip(names, self.space.weight_indices(weight_bits), strict=True))
        own += [(name, self.space.index("weight", name, bits)) for name, bits in weights.items()]
        before = [] if act_bits is None else list(zip(names, self.space.act_indices(act_bits), strict=True))
        before += [(name, self.space.index("act", name, bits)) for name, bits in acts.items()]
        return [
            *((self.weight_mixture(name), index) for name, index in own),
            *((self.act_mixture(name), index) for name, index in before),
        ]

    def _layer(self, name: str) -> MixtureConv2d | MixtureLinear:
        return cast("MixtureConv2d | MixtureLinear", getattr(self, name))

    def _mixtures(self, name: str) -> tuple[WeightMixture, Mixture]:
        return self.weight_mixture(name), self.act_mixture(name)


def _prefixed(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


def _modules(
    space: SearchSpace, shared: bool, quantizer: QuantizerKind, weight_range: WeightRange
) -> OrderedDict[str, nn.Module]:
    """The modules of the space's network, with mixtures in place of its quantisers."""
    model = build_model(space.table, weight_bits=None, act_bits=None, weight_range=weight_range, quantizer=quantizer)
    choices = {choices.name: choices for choices in space.layers}
    inputs = dict(zip(input_names(space.table), space.layers, strict=True))
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in model.named_children():
        if name in choices:
            widths = choices[name].weight_widths
            mixture = WeightMixture(widths, shared=shared, quantizer=quantizer, weight_range=weight_range)
            modules[name] = _mixture_layer(module, mixture)
        elif name in inputs:
            widths = inputs[name].act_widths
            modules[name] = ImageMixture(widths) if name == "image" else ActivationMixture(widths, quantizer=quantizer)
        else:
            modules[name] = module
    return modules


def _mixture_layer(layer: nn.Module, mixture: WeightMixture) -> nn.Module:
    """A layer of the same geometry whose weights are a mixture."""
    if isinstance(layer, nn.Linear):
        return MixtureLinear(layer.in_features, layer.out_features, mixture=mixture, bias=layer.bias is not None)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"layer must be a convolution or a dense layer, not {layer!r}")
    return MixtureConv2d(
        layer.in_channels,
        layer.out_channels,
        kernel=layer.kernel_size[0],
        mixture=mixture,
        stride=layer.stride[0],
        padding=int(layer.padding[0]),
        groups=layer.groups,
        dilation=layer.dilation[0],
        bias=layer.bias is not None,
    )
