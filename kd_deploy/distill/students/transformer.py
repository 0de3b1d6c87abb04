"""The transformer student: the teacher's family with fewer layers or other widths."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kd_deploy.distill.students.dropout import set_dropout
from kd_deploy.distill.students.units import thinned
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import TransformerStudent

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Of an encoder-decoder the decoder's: T5 calls the encoder's plainly num_layers.
LAYER_COUNT_KEYS = (
    *("decoder_layers", "num_decoder_layers"),
    *("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
)
HEAD_COUNT_KEYS = ("decoder_attention_heads", "num_attention_heads", "n_heads", "n_head", "num_heads")
WIDTH_KEYS = ("hidden_size", "dim", "n_embd", "d_model")
INNER_KEYS = ("intermediate_size", "hidden_dim")
OF_LAYERS = ("layer_types", "attention_window", "no_rope_layers", "mlp_layer_types")  # lists with an entry for each


def student_config(teacher: "PreTrainedConfig", settings: TransformerStudent) -> "PreTrainedConfig":
    """The teacher's config with the student's sizes.

    Raises:
        RecipeError: More layers than the teacher has to copy, or a width that the heads do not divide.
    """
    config = copy.deepcopy(teacher)
    depth, heads, width = _key(config, LAYER_COUNT_KEYS), _key(config, HEAD_COUNT_KEYS), _key(config, WIDTH_KEYS)
    inner = _key(config, INNER_KEYS)
    teacher_width = getattr(teacher, width)
    head_width = teacher_width // getattr(teacher, heads)
    new_width = settings.hidden_size or teacher_width
    setattr(config, depth, settings.layers or max(1, getattr(teacher, depth) // 2))
    places = settings.teacher_layers or spread(getattr(config, depth), over=getattr(teacher, depth))
    keep_kinds(config, places=places, depth=getattr(teacher, depth))
    setattr(config, width, new_width)
    setattr(config, inner, settings.intermediate_size or getattr(teacher, inner) * new_width // teacher_width)
    setattr(config, heads, settings.attention_heads or max(1, new_width // head_width))
    if new_width % getattr(config, heads):
        raise RecipeError(
            f"student.hidden_size {new_width} cannot be shared by {getattr(config, heads)} attention heads",
            hint="choose student.attention_heads that divide student.hidden_size",
        )
    set_dropout(config, settings.dropout)
    return config


def copied_layers(settings: TransformerStudent, *, teacher_depth: int, student_depth: int) -> tuple[int, ...]:
    """The teacher layer that each student layer starts from: given by hand, or evenly spread with both ends.

    Raises:
        RecipeError: A layer that the teacher does not have, or another number of layers than the student's.
    """
    chosen = settings.teacher_layers
    if chosen is None:
        if student_depth > teacher_depth:
            raise RecipeError(
                f"student.layers {student_depth} is more than the teacher's {teacher_depth}",
                hint="choose fewer layers, or student.init: random",
            )
        return spread(student_depth, over=teacher_depth)
    if len(chosen) != student_depth or max(chosen) >= teacher_depth:
        raise RecipeError(
            f"student.teacher_layers {list(chosen)} does not name {student_depth} of the teacher's layers "
            f"0 to {teacher_depth - 1}",
            hint="give one teacher layer for each student layer",
        )
    return chosen


def keep_kinds(config: "PreTrainedConfig", *, places: Sequence[int], depth: int) -> None:
    """Let each layer keep what the one that it starts from is by itself, as in `layer_types` or `attention_window`.

    Args:
        config: Changed.
        places: The layers of before that are kept.
        depth: How many there were.
    """
    for name in OF_LAYERS:
        value = getattr(config, name, None)
        if isinstance(value, list) and len(value) == depth:
            setattr(config, name, [value[place] for place in places if place < depth])


def sees_ahead(config: Mapping[str, Any]) -> bool:
    """Whether a config is of an encoder, whose tokens look at those behind them too, and whose first stands for all."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    is_decoder = config.get("is_decoder") or config.get("is_encoder_decoder")
    return not is_decoder and config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def spread(count: int, *, over: int) -> tuple[int, ...]:
    """So many places among `over`, evenly spread with both ends."""
    return tuple(round(i * (over - 1) / max(1, count - 1)) for i in range(count))


def copy_weights(student: nn.Module, teacher: nn.Module, layers: tuple[int, ...]) -> None:
    """Fill the student with the teacher's weights: embeddings, head, and the chosen layers.

    Narrower feed-forward parts have those of the teacher's inner units that weigh most (`units.thinned`). Where the
    student has more classes, those of further tasks, the teacher's stand first in its head, and the others keep the
    weights that they have.

    Raises:
        RecipeError: The widths differ, so that no weight fits.
    """
    prefix = layer_list(teacher)
    source = teacher.state_dict()
    wanted = student.state_dict()
    own, theirs = (int(_config_of(model).num_labels) for model in (student, teacher))
    found = {name: source.get(_source_name(name, prefix, layers)) for name in wanted}
    found = thinned(found, wanted, lists=[prefix])
    filled = {name: _with_more_classes(value, wanted[name], classes=(own, theirs)) for name, value in found.items()}
    unfit = [name for name, value in filled.items() if value is None or value.shape != wanted[name].shape]
    if unfit:
        raise RecipeError(
            f"student.init: teacher, but {unfit[0]} of the student has another shape than the teacher's",
            hint="leave hidden_size and attention_heads out, or choose student.init: random",
        )
    with torch.no_grad():
        student.load_state_dict(filled)


def _config_of(model: nn.Module) -> "PreTrainedConfig":
    config: PreTrainedConfig = model.config
    return config


def _with_more_classes(value: Tensor | None, wanted: Tensor, *, classes: tuple[int, int]) -> Tensor | None:
    if value is None or (len(wanted), len(value)) != classes or value.shape[1:] != wanted.shape[1:]:
        return value
    return torch.cat([value, wanted[len(value) :]])


def depth_of(config: "PreTrainedConfig") -> int:
    """How many layers a model of this config has."""
    return int(getattr(config, _key(config, LAYER_COUNT_KEYS)))


def width_of(config: "PreTrainedConfig") -> int:
    """The width of its layers."""
    return int(getattr(config, _key(config, WIDTH_KEYS)))


def heads_of(config: "PreTrainedConfig") -> int:
    """How many attention heads each of its layers has."""
    return int(getattr(config, _key(config, HEAD_COUNT_KEYS)))


def inner_of(config: "PreTrainedConfig") -> int:
    """How many inner units the feed-forward part of each of its layers has."""
    return int(getattr(config, _key(config, INNER_KEYS)))


def _key(config: "PreTrainedConfig", candidates: tuple[str, ...]) -> str:
    fields = config.to_dict()
    for name in candidates:
        if name in fields:
            return name
    raise RecipeError(
        f"a {config.model_type} teacher names none of {', '.join(candidates)} in its config",
        hint="use an encoder of the BERT kind, or student.architecture: bilstm",
    )


def layer_list(model: nn.Module) -> str:
    """What the names of the weights of its layers begin with.

    Raises:
        RecipeError: There is no list of as many modules as it has layers.
    """
    depth = depth_of(model.config)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return f"{name}."
    raise RecipeError(
        f"a {type(model).__name__} has no list of {depth} layers to copy from", hint="choose student.init: random"
    )


def _source_name(name: str, prefix: str, layers: tuple[int, ...]) -> str:
    if not name.startswith(prefix):
        return name
    index, rest = name.removeprefix(prefix).split(".", 1)
    return f"{prefix}{layers[int(index)]}.{rest}"
