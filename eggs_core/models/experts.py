"""Mixtures whose experts lie in one tensor: each expert's product as a linear layer of its own.

`open_experts` puts a small module for each expert beside the tensor, which stays where it is, under its own name in
files and exports. From then on hooks, masks and packed layers see an expert as they see any linear layer.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import TypeIs

from eggs_core.heavy import nn, torch

if TYPE_CHECKING:  # it imports torch at once
    from eggs_core.models.expert_linear import ExpertLinear

Model = TypeVar("Model", bound="nn.Module")


@dataclass(frozen=True, slots=True)
class Mixture:
    """How a class of experts keeps its tensors, and how it computes with one module for each expert instead.

    `tensors` are the names of its shared tensors, in the order of use. `transposed` are those with one matrix as (in,
    out) for each expert. `forward(experts, …)` stands in for the class's own.
    """

    tensors: tuple[str, ...]
    transposed: tuple[str, ...]
    forward: Callable[..., torch.Tensor]


def _routed(
    self: nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Hidden states (tokens, hidden), each through its experts, (tokens, k), and added up by their weights."""
    shape, width = hidden_states.shape, hidden_states.shape[-1]
    hidden_states = hidden_states.reshape(-1, width)
    total = torch.zeros_like(hidden_states)
    for number in top_k_index.unique().tolist():
        token, place = torch.where(top_k_index == number)
        output = _expert_output(self, number, hidden_states[token])
        if output is not None:
            total.index_add_(0, token, (output * top_k_weights[token, place, None]).to(total.dtype))
    return total.view(shape)


def _expert_output(self: Any, number: int, x: torch.Tensor) -> torch.Tensor | None:
    """What one expert makes of its tokens; None beyond the last, where routers send what no expert takes."""
    expert = self._modules.get(str(number))
    if expert is None:
        return x if hasattr(self, "identity_expert") else None
    first, *others = expert.children()
    if len(others) == 2:  # gate and up apart
        x = self.mlp.activation_fn(first(x)) * others[0](x)
    elif getattr(self, "has_gate", True):
        x = self._apply_gate(first(x)) if hasattr(self, "_apply_gate") else _gated(self.act_fn, first(x))
    else:
        x = self.act_fn(first(x))
    x = others[-1](x)
    return self.post_expert_norm(x) if getattr(self, "has_post_expert_norm", False) else x


def _gated(act: Callable[[torch.Tensor], torch.Tensor], gate_up: torch.Tensor) -> torch.Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return act(gate) * up


def _weighed(self: Any, hidden_states: torch.Tensor, gammas: torch.Tensor) -> torch.Tensor:
    """Hidden states (…, hidden) through every expert, each by its own factor of gammas (…, experts)."""
    x = hidden_states.reshape(-1, hidden_states.shape[-1])
    gammas = gammas.reshape(len(x), -1)
    total = torch.zeros_like(x, dtype=torch.float32)
    for number in range(gammas.shape[1]):
        gate, up, down = self.get_submodule(str(number)).children()
        total += down(self.act_fn(gate(x)) * up(x) * gammas[:, number, None]).float()
    return total.to(x.dtype).view(hidden_states.shape)


def _sorted(self: nn.Module, inputs: torch.Tensor, expert_size: list[int]) -> torch.Tensor:
    """Inputs (tokens, in), sorted by expert, `expert_size` tokens for each."""
    parts = inputs.split(expert_size, dim=0)
    layers = [next(self.get_submodule(str(i)).children()) for i in range(len(parts))]
    return torch.cat([layer(part) for layer, part in zip(layers, parts, strict=True) if len(part)])


def _scaled(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """Every token for every expert, (experts · tokens, hidden), zero where the router did not choose it."""
    width = hidden_states.shape[-1]
    states = hidden_states.view(self.num_experts, -1, width)
    total = torch.zeros_like(states)
    for number in range(self.num_experts):
        token = states[number].any(-1).nonzero()[:, 0]
        if len(token):
            gate_up, down = self.get_submodule(str(number)).children()
            gate, up = gate_up(states[number, token]).chunk(2, dim=-1)
            total[number, token] = down(up * self.act_fn(gate)).to(total.dtype)
    return total.view(-1, width)


PER_TOKEN = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_top_k")
FUSED = ("gate_up_proj", "down_proj")
# Classes of experts that transformers gives no common interface, by name.
KNOWN = {
    "LongcatFlashExperts": Mixture(FUSED, (), _routed),
    "Step3p7Experts": Mixture(FUSED, (), _routed),
    "Llama4TextExperts": Mixture(FUSED, FUSED, _scaled),
    "DbrxExperts": Mixture(("mlp.w1", "mlp.v1", "mlp.w2"), ("mlp.w2",), _routed),
    "InklingSharedExperts": Mixture(("gate_proj", "up_proj", "down_proj"), (), _weighed),
    "JetMoeParallelExperts": Mixture(("weight",), (), _sorted),
}


def mixture_of(module: nn.Module) -> Mixture | None:
    """How a module keeps its experts in one tensor; None if it does not, or in a way that is unknown here."""
    if (known := KNOWN.get(type(module).__name__)) is not None:
        return known
    if not hasattr(module, "is_transposed") or not hasattr(module, "has_gate"):  # transformers' experts interface
        return None
    tensors = FUSED if module.has_gate else ("up_proj", "down_proj")
    return Mixture(tensors, tensors if module.is_transposed else (), _routed)


def is_expert(module: nn.Module) -> TypeIs[ExpertLinear]:
    """Is the module one expert's layer, whose weight lies in a tensor that all experts share?"""
    from eggs_core.models.expert_linear import ExpertLinear

    return isinstance(module, ExpertLinear)


def open_experts(model: Model) -> Model:
    """Give each expert that lies in a shared tensor linear layers of its own, in place; returns the model.

    They are named by the expert's number and the tensor: experts.3.gate_up_proj. Nothing is copied.
    """
    from eggs_core.models.expert_linear import ExpertLinear

    for module in list(model.modules()):
        found = mixture_of(module)
        if found is None or "0" in module._modules or module._parameters.get(found.tensors[0], 0) is None:
            continue
        last = module.get_parameter(found.tensors[-1])
        count = last.shape[0] if last.dim() == 3 else cast(int, module.num_experts)
        for index in range(count):
            expert = nn.Module()
            for tensor in found.tensors:
                layer = ExpertLinear(module, tensor, index, count, tensor in found.transposed)
                expert.add_module(tensor.rpartition(".")[2], layer)
            module.add_module(str(index), expert)
        module.forward = types.MethodType(found.forward, module)
    return model


def expert_of(projection: str) -> tuple[str, int] | None:
    """A projection without its expert's number, and the number; None for one that belongs to no expert.

    >>> expert_of("mlp.experts.17.gate_up_proj")
    ('mlp.experts.*.gate_up_proj', 17)
    """
    parts = projection.split(".")
    for place, part in enumerate(parts[1:-1], 1):
        before, behind = parts[:place], parts[place + 1 :]
        number = part.isdecimal() and part.isascii() and len(part) < 7 and str(int(part)) == part
        # Only opened experts have a layer that is called weight.
        if number and ("expert" in ".".join(before) or behind == ["weight"]):
            return ".".join([*before, "*", *behind]), int(part)
    return None


def experts_in(module: nn.Module) -> int | None:
    """How many experts a module holds that were opened, or that are modules in a list; None for any other module."""
    if mixture_of(module) is not None or (isinstance(module, nn.ModuleList) and len(module) > 1):
        return sum(name.isdigit() for name in module._modules) or None
    return None


def experts_per_token(config: object) -> int | None:
    """How many experts of a mixture a token is sent to, by the names that configurations have for it."""
    parts = (config, getattr(config, "ffn_config", None))  # as DBRX keeps it
    found = (getattr(part, name, None) for part in parts for name in PER_TOKEN)
    return next((count for count in found if isinstance(count, int) and count > 0), None)


def read_share(name: str, module: nn.Module, config: object) -> float:
    """The share of a module's weights that one token needs: of routed experts those that it is sent to, else all."""
    found, count = mixture_of(module), experts_in(module)
    listed = isinstance(module, nn.ModuleList) and "expert" in name.rpartition(".")[2]
    if not count or not (listed or (found is not None and found.forward is not _weighed)):
        return 1.0
    return min(1.0, (experts_per_token(config) or count) / count)


def read_shares(model: nn.Module, config: object) -> Callable[[str], float]:
    """A function from a module's or layer's name in the model to the share of its weights that one token needs."""
    shares = {f"{n}.": share for n, m in model.named_modules() if (share := read_share(n, m, config)) < 1}
    return lambda name: next((share for path, share in shares.items() if f"{name}.".startswith(path)), 1.0)


def release_experts(model: nn.Module) -> None:
    """Give up, in place, each shared tensor of which an expert was replaced; others get a weight of their own."""
    for module in model.modules():
        found = mixture_of(module)
        for tensor in found.tensors if found else ():
            places = _places(module, tensor)
            left = [(expert, name) for expert, name in places if is_expert(cast(nn.Module, expert._modules[name]))]
            if not places or len(left) == len(places):
                continue
            for expert, name in left:
                expert.add_module(name, _apart(cast("ExpertLinear", expert._modules[name])))
            owner, _, last = tensor.rpartition(".")
            module.get_submodule(owner)._parameters[last] = None
            module._parameters.pop(f"{tensor}_bias", None)


def _places(module: nn.Module, tensor: str) -> list[tuple[nn.Module, str]]:
    """Where the layers of a shared tensor are: each expert of a mixture, and the layer's name in it."""
    name = tensor.rpartition(".")[2]
    return [(expert, name) for number, expert in module._modules.items() if number.isdigit() and expert is not None]


def _apart(layer: ExpertLinear) -> nn.Linear:
    weight, bias = layer.weight.detach(), layer.bias
    own = nn.Linear(layer.in_features, layer.out_features, bias=bias is not None, device="meta", dtype=weight.dtype)
    own.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        own.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return own


def shared_again(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put experts' own weights and biases in a state back, in place, into the tensors that files keep them in."""
    for path, module in model.named_modules():
        found = mixture_of(module)
        for tensor in found.tensors if found else ():
            names = [f"{path}.{number}.{tensor.rpartition('.')[2]}" for number in module._modules if number.isdigit()]
            if not names or f"{names[0]}.weight" not in state:
                continue
            weights = [state.pop(f"{name}.weight") for name in names]
            whole = torch.stack([w.T if found and tensor in found.transposed else w for w in weights])
            if rows := getattr(module, "total_experts", len(names)) - len(names):  # places of experts that only hand on
                whole = torch.cat([whole, whole.new_zeros(rows, *whole.shape[1:])]) if tensor == FUSED[0] else whole
            state[f"{path}.{tensor}"] = whole.flatten(0, 1) if "." in tensor else whole
            if f"{names[0]}.bias" in state:
                state[f"{path}.{tensor}_bias"] = torch.stack([state.pop(f"{name}.bias") for name in names])
