"""What a model shows of a batch besides its logits: layer outputs, queries, keys and values, by name.

A signal is a mapping from names to tensors: `logits` [B, C], or [B, S, C] of tokens; `embedding` [B, S, E], what the
first layer takes; `hidden.2` [B, S, H], what the third layer gives (of a decoder beside an encoder, for its tokens);
`query.2`, `key.2`, `value.2` [B, S, H], all heads side by side.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kd_deploy.distill.decisions import logits_of
from kd_deploy.distill.objectives.attention import attention_scores
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2SeqConfig
from kd_deploy.distill.students.transformer import depth_of, heads_of, sees_ahead, width_of
from kd_deploy.distill.torch_runner import input_names

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Signal = Mapping[str, Tensor]
# What the three linear maps of an attention block are called, family by family.
PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))
PROBE_TOKENS = 5
PROBE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of what a model can show; `heads` is None where its attention cannot be read.

    `first_token` says whether a text begins with a token that stands for all of it, as that of encoders does.
    """

    name: str
    depth: int
    width: int
    embedding_width: int
    heads: int | None
    first_token: bool = False

    @property
    def vector_width(self) -> int:
        """The numbers in a vector that it makes of a text: as many as its top layer has, or its word vectors."""
        return self.width or self.embedding_width

    @property
    def layer_signals(self) -> tuple[str, ...]:
        """What each of its layers shows."""
        return ("hidden", *(PROJECTIONS[0] if self.heads else ())) if self.depth else ()

    def shows(self, name: str) -> bool:
        """Whether it can be observed under a name."""
        kind, _, layer = name.partition(".")
        of_layer = kind in self.layer_signals and layer.isdecimal() and int(layer) < self.depth
        return name in ("logits", "embedding") or of_layer


def shape_of(model: nn.Module) -> Shape:
    """What a model can show, found by asking it once."""
    if is_ours(model):
        return ours(type(model).__name__, model.sizes)
    config: PreTrainedConfig = model.config
    shape = shape_of_config(config)
    if "decoder_input_ids" in input_names(model):  # there are three kinds of attention in it
        return replace(shape, heads=None)
    return shape if _attention_is_plain(model, shape) else replace(shape, heads=None)


def shape_of_config(config: "PreTrainedConfig") -> Shape:
    """What a transformer of this config can show, as far as the config says."""
    width = width_of(config)
    return Shape(
        name=str(config.model_type),
        depth=depth_of(config),
        width=width,
        embedding_width=width,
        heads=heads_of(config),
        first_token=sees_ahead(config.to_dict()),
    )


def ours(name: str, sizes: Any) -> Shape:
    """What one of our students of these sizes can show."""
    both_directions = not isinstance(sizes, LstmSeq2SeqConfig)  # else the decoder's, which has one
    width = (1 + both_directions) * getattr(sizes, "hidden_size", 0)
    return Shape(name=name, depth=1 if width else 0, width=width, embedding_width=sizes.embedding_size, heads=None)


def observe(model: nn.Module, arrays: Mapping[str, Tensor], *, names: Collection[str] = ()) -> Signal:
    """One forward pass, and what it shows under `names`; the logits are always there.

    Args:
        model: A classifier.
        arrays: What its forward takes, [B, S] each.
        names: As the module says.
    """
    options = {}
    if not is_ours(model) and any(_kind(name) in ("hidden", "embedding") for name in names):
        options["output_hidden_states"] = True
    with _listening(model, names) as heard:
        shown = model(**arrays, **options)
    signal: dict[str, Tensor] = {"logits": logits_of(shown), **heard}
    layers: Any = getattr(shown, "decoder_hidden_states", None) or getattr(shown, "hidden_states", None)
    for name in names:
        if name == "embedding":
            signal[name] = layers[0]
        elif _kind(name) == "hidden":
            signal[name] = layers[1 + layer_of(name)]
    return signal


def word_vectors(model: nn.Module) -> nn.Embedding:
    """The table that turns token ids into vectors."""
    table: nn.Embedding = model.embedding if is_ours(model) else model.get_input_embeddings()  # type: ignore[operator]
    return table


def layer_of(name: str) -> int:
    """The layer that a name such as `hidden.2` speaks of."""
    return int(name.partition(".")[2])


def _kind(name: str) -> str:
    return name.partition(".")[0]


@contextlib.contextmanager
def _listening(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    heard: dict[str, Tensor] = {}
    hooks = []
    for name in names:
        if _kind(name) in PROJECTIONS[0]:
            module = _projection(model, layer_of(name), _kind(name))
            assert module is not None, name  # noqa: S101 - a term that asks for it was refused before
            hooks.append(module.register_forward_hook(_keep(heard, name)))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _keep(heard: dict[str, Tensor], name: str) -> Any:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        heard[name] = output

    return hook


def _projection(model: nn.Module, layer: int, kind: str) -> nn.Module | None:
    depth = depth_of(model.config)
    stacks = [one for one in model.modules() if isinstance(one, nn.ModuleList) and len(one) == depth]
    if not stacks:
        return None
    wanted = [names[PROJECTIONS[0].index(kind)] for names in PROJECTIONS]
    found = [one for path, one in stacks[0][layer].named_modules() if path.rpartition(".")[2] in wanted]
    return found[0] if len(found) == 1 else None


@torch.no_grad()
def _attention_is_plain(model: nn.Module, shape: Shape) -> bool:
    """Whether softmax(QK/√d) of what we hear is the attention of the model: no positions mixed in, no windows."""
    if shape.heads is None or any(_projection(model, 0, kind) is None for kind in PROJECTIONS[0]):
        return False
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    ids = torch.arange(1, PROBE_TOKENS + 1, device=device)[None]  # [1, S]
    with _listening(model, ("query.0", "key.0")) as heard:
        given = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True)
        given = getattr(given, "attentions", None)  # an encoder-decoder has three of them, by other names
    model.train(was_training)
    queries, keys = heard["query.0"], heard["key.0"]
    if not given or given[0] is None or queries.dim() != 3 or queries.shape != keys.shape:  # noqa: PLR2004
        return False
    computed = attention_scores(queries, keys, heads=shape.heads).softmax(dim=-1)
    return computed.shape == given[0].shape and bool((computed - given[0]).abs().max() < PROBE_TOLERANCE)
