"""Adapters through peft: LoRA and AdaLoRA matrices put into a model, and merged into its weights at the end."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback
from transformers.pytorch_utils import Conv1D

from kd_deploy import progress
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.students.pooling import Embedder
from kd_deploy.distill.word_table import accept_gradient
from kd_deploy.errors import MissingExtraError, RecipeError
from kd_deploy.recipe.adapter import Adapter

NAME = "default"  # what peft calls an adapter that nobody named
SURPLUS = 1.5  # AdaLoRA starts with so many times the rank that it is to end with
QUIET_START, QUIET_END = 0.1, 0.3  # shares of the steps in which AdaLoRA's ranks stay as they are
MOST_CUTS = 100
SENSITIVITY, UNCERTAINTY = "adalora.sensitivity.", "adalora.uncertainty."  # before parameter names in a checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Adapters inside a model, which keeps its class and its config; `callbacks` are for its Trainer.

    `fixed` are the parameters that were not to be trained before, such as positions by a formula.
    """

    model: nn.Module
    fixed: frozenset[str]
    callbacks: tuple[TrainerCallback, ...]
    tuner: Any
    hooks: tuple[RemovableHandle, ...]


def with_adapters(model: nn.Module, settings: Adapter, *, steps: int) -> Adapters:
    """The model with adapters in it, its answers unchanged; they and the head alone are left to be trained.

    LoRA: Hu et al. 2022, arXiv 2106.09685. AdaLoRA: Zhang et al. 2023, arXiv 2303.10512; its ranks rest for
    the first tenth of the steps, fall to the mean that is asked for, and rest again for the last three tenths.

    Args:
        model: A transformer with the head of a task; changed in place.
        settings: The adapter section of the recipe.
        steps: Optimiser steps of the whole training, which all processes make together, by which AdaLoRA's ranks
            fall.

    Raises:
        RecipeError: A model that has nothing to adapt.
        MissingExtraError: peft is not installed.
    """
    body = _body(model, settings)
    head = _head(model, body)
    targets = _targets(model, body, which=settings.targets)
    total = sum(one.numel() for one in model.parameters())
    fixed = frozenset(name for name, one in model.named_parameters() if not one.requires_grad)
    tuner = _tuner(model, settings, targets=targets, steps=steps)
    for weight in head:
        weight.requires_grad_(True)
    hooks = accept_gradient(model)
    callbacks = []
    if settings.method == "adalora":
        hooks += _carry_history(model, tuner)
        callbacks.append(_Allocation(tuner))
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    progress.say(f"{settings.method}: {trained} weights are trained beside {total}, in {len(targets)} layers")
    return Adapters(model=model, fixed=fixed, callbacks=tuple(callbacks), tuner=tuner, hooks=tuple(hooks))


def check_adaptable(model: nn.Module, settings: Adapter) -> None:
    """Refuse a model that has nothing to adapt; its weights need not be there.

    Raises:
        RecipeError: As `with_adapters` would later.
    """
    _targets(model, _body(model, settings), which=settings.targets)


def merged(adapters: Adapters) -> nn.Module:
    """The plain model again: the names that it had, each weight with what its adapter adds, as free as it was."""
    for hook in adapters.hooks:
        hook.remove()
    adapters.tuner.merge_and_unload()
    for name, weight in adapters.model.named_parameters():
        weight.requires_grad_(name not in adapters.fixed)
    return adapters.model


class _Allocation(TrainerCallback):  # type: ignore[misc]
    """What AdaLoRA does at every optimiser step: keep its factors orthogonal, and cut ranks to the budget."""

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner

    # The penalty's gradient is added here and not in the loss, so that the loss stays the recipe's objective.
    def on_pre_optimizer_step(self, _args: object, _state: object, _control: object, **_: object) -> None:
        """Pull P and Q of every PΛQ towards orthogonal ones."""
        weights = _adapter_weights(self._tuner)
        penalty = self._tuner.peft_config[NAME].orth_reg_weight * _distance_from_orthogonal(weights)
        gradients = torch.autograd.grad(penalty, list(weights.values()), materialize_grads=True)
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            # An objective that reads a lower layer alone leaves the layers above it without; peft asks for all.
            weight.grad = gradient if weight.grad is None else weight.grad + gradient

    def on_optimizer_step(self, _args: object, state: Any, _control: object, **_: object) -> None:
        """Judge every singular value by weights and gradients, which are not yet zeroed."""
        self._tuner.update_and_allocate(state.global_step + 1)


def _carry_history(model: Any, tuner: Any) -> list[RemovableHandle]:
    """Keep what AdaLoRA knows of the importance of weights in the state dict, where peft does not.

    A training that goes on from a checkpoint then cuts the same ranks.
    """
    return [
        model.register_state_dict_post_hook(functools.partial(_write_history, tuner)),
        model.register_load_state_dict_pre_hook(functools.partial(_read_history, tuner)),
    ]


def _write_history(tuner: Any, _model: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    allocator = tuner.rankallocator
    for kind, known in ((SENSITIVITY, allocator.exp_avg_ipt), (UNCERTAINTY, allocator.exp_avg_unc)):
        state.update({f"{prefix}{kind}{name}": value for name, value in known.items()})


def _read_history(tuner: Any, _model: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    allocator, pattern = tuner.rankallocator, {}
    allocator.reset_ipt()
    for name, weight in _adapter_weights(tuner).items():
        if "lora_E" in name:
            pattern[name] = (state[prefix + name] != 0).flatten().tolist()  # what was cut is exactly 0
        if prefix + SENSITIVITY + name in state:
            allocator.exp_avg_ipt[name] = state.pop(prefix + SENSITIVITY + name).to(weight.device)
            allocator.exp_avg_unc[name] = state.pop(prefix + UNCERTAINTY + name).to(weight.device)
            allocator.ipt[name] = torch.zeros_like(weight)
    tuner.peft_config[NAME].rank_pattern = pattern


def _body(model: nn.Module, settings: Adapter) -> nn.Module:
    """All of a transformer but its head."""
    inner: Any = model
    if isinstance(model, Embedder):
        return cast("nn.Module", model.encoder)
    if not is_ours(model):
        body: nn.Module = getattr(model, "base_model", model)
        if body is not model:
            return body
        if inner.config.is_encoder_decoder and hasattr(model, "lm_head"):  # T5 names no body
            return nn.ModuleList([inner.get_encoder(), inner.get_decoder()])
    raise RecipeError(
        f"distill.adapter: {settings.method} needs a transformer with a head, "
        f"the student is a {type(model).__name__.lower()}",
        hint="choose student.architecture: transformer, or leave distill.adapter out",
    )


def _head(model: nn.Module, body: nn.Module) -> list[nn.Parameter]:
    inside = set(body.parameters())
    return [one for one in model.parameters() if one not in inside]


def _targets(model: nn.Module, body: nn.Module, *, which: Literal["attention", "all"]) -> list[str]:
    """The full names of the body's linear layers, or of those in its attention."""
    inside = set(body.modules())
    names = [name for name, one in model.named_modules() if isinstance(one, nn.Linear | Conv1D) and one in inside]
    if which == "attention":
        names = [name for name in names if "attention" in name.lower() or "attn" in name]
    if not names:
        raise RecipeError(
            f"distill.adapter.targets {which}: a {type(model).__name__} has no such linear layers",
            hint="choose targets: all" if which == "attention" else "leave distill.adapter out",
        )
    return names


def _tuner(model: nn.Module, settings: Adapter, *, targets: list[str], steps: int) -> Any:
    peft = load_peft()
    shared: dict[str, Any] = {
        "target_modules": targets,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "fan_in_fan_out": any(isinstance(model.get_submodule(name), Conv1D) for name in targets),
    }
    if settings.method == "lora":
        return peft.LoraModel(model, peft.LoraConfig(r=settings.rank, **shared), NAME)
    config = peft.AdaLoraConfig(
        init_r=math.ceil(SURPLUS * settings.rank),
        target_r=settings.rank,
        total_step=max(2, steps),  # the first cut judges by the step before it
        tinit=int(QUIET_START * steps),
        tfinal=int(QUIET_END * steps),
        deltaT=max(1, steps // MOST_CUTS),
        **shared,
    )
    return peft.AdaLoraModel(model, config, NAME)


def load_peft() -> ModuleType:
    """The package that puts adapters into models.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import peft  # loads for seconds: only where it is used
    except ImportError as error:
        raise MissingExtraError("distill.adapter", extra="distill") from error
    return peft  # type: ignore[no-any-return]


# By peft's names: lora_A [r, in] is the paper's Q, lora_B [out, r] its P, lora_E [r, 1] the singular values.
def _adapter_weights(tuner: Any) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in tuner.model.named_parameters() if ".lora_" in name}


def _distance_from_orthogonal(weights: Mapping[str, nn.Parameter]) -> Tensor:
    """The Frobenius norm of PᵀP - I, or of QQᵀ - I, as a mean over all P and Q, []."""
    rows: list[Tensor] = [weight for name, weight in weights.items() if "lora_A" in name]  # [r, in]
    rows += [weight.T for name, weight in weights.items() if "lora_B" in name]  # [r, out]
    apart = [one @ one.T - torch.eye(len(one), device=one.device) for one in rows]  # [r, r]
    return torch.stack([torch.linalg.matrix_norm(one) for one in apart]).mean()
