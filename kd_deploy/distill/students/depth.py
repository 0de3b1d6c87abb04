"""Students of transformers that write: the teacher's family with fewer layers in its encoder, its decoder, or both."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from kd_deploy.distill.students.transformer import keep_kinds, spread
from kd_deploy.distill.students.units import thinned
from kd_deploy.errors import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Part = Literal["encoder", "decoder"]
Size = Literal["layers", "heads", "inner"]

# What configs call their sizes: of models that are a decoder alone, and of each half of the others.
ALONE: Mapping[Size, tuple[str, ...]] = {
    "layers": ("n_layer", "num_hidden_layers", "num_layers"),
    "heads": ("n_head", "num_attention_heads", "num_heads"),
    "inner": ("n_inner", "intermediate_size", "ffn_dim"),
}
ENCODER: Mapping[Size, tuple[str, ...]] = {
    "layers": ("encoder_layers", "num_layers"),
    "heads": ("encoder_attention_heads", "num_heads"),
    "inner": ("encoder_ffn_dim", "d_ff"),
}
DECODER: Mapping[Size, tuple[str, ...]] = {
    "layers": ("decoder_layers", "num_decoder_layers"),
    "heads": ("decoder_attention_heads", "num_heads"),
    "inner": ("decoder_ffn_dim", "d_ff"),
}
WIDTH = ("n_embd", "d_model", "hidden_size")
HEAD_WIDTH = ("d_kv", "head_dim")
SHARED_HEADS = "num_key_value_heads"
FIELDS: Mapping[Part, str] = {"encoder": "encoder_layers", "decoder": "layers"}  # as recipes call them
INNER_TO_WIDTH = 4  # where a config leaves the inner width out, as GPT-2's does


@dataclass(frozen=True, slots=True, kw_only=True)
class Depths:
    """The sizes of a student that writes.

    Left out: the encoder as deep as the teacher's, and half of the decoder's layers, which is where the time goes
    (Shleifer & Rush 2020, arXiv 2010.13002); widths as the teacher's, or in its proportions.
    """

    encoder_layers: int | None = None
    decoder_layers: int | None = None
    hidden_size: int | None = None
    attention_heads: int | None = None
    intermediate_size: int | None = None


def writer_config(teacher: "PreTrainedConfig", settings: Depths) -> "PreTrainedConfig":
    """The teacher's config with the student's sizes.

    Raises:
        RecipeError: A width that the heads do not divide, encoder layers for a model without an encoder, or a config
            that does not name its sizes.
    """
    if settings.encoder_layers and not teacher.is_encoder_decoder:
        raise RecipeError(
            f"student.encoder_layers {settings.encoder_layers}, but a {teacher.model_type} teacher has no encoder",
            hint="leave encoder_layers out",
        )
    config = copy.deepcopy(teacher)
    width = _key(teacher, WIDTH)
    setattr(config, width, settings.hidden_size or getattr(teacher, width))
    for part in _parts(teacher):
        _set_layers(config, teacher, part, settings=settings)
        _set_inner(config, teacher, part, wanted=settings.intermediate_size)
        _set_heads(config, teacher, part, wanted=settings.attention_heads)
    return config


def takes_layers(student: "PreTrainedConfig", teacher: "PreTrainedConfig") -> bool:
    """Whether a student of this config can start from such a teacher's layers: as wide, and within no wider."""
    fits = all(_inner(student, part) <= _inner(teacher, part) for part in _parts(teacher))
    return _widths(student) == _widths(teacher) and fits


def copied_depths(student: "PreTrainedConfig", teacher: "PreTrainedConfig") -> dict[Part, tuple[int, ...]]:
    """The teacher layer that each layer of a student of this config starts from, evenly spread with both ends.

    Raises:
        RecipeError: More layers than the teacher has.
    """
    chosen = {}
    for part in _parts(teacher):
        wanted, have = _depth(student, part), _depth(teacher, part)
        if wanted > have:
            raise RecipeError(
                f"student.{FIELDS[part]} {wanted} is more than the teacher's {have}",
                hint="choose fewer layers, or student.init: random",
            )
        chosen[part] = spread(wanted, over=have)
    return chosen


def copied_writer(student: nn.Module, teacher: nn.Module) -> dict[Part, tuple[int, ...]]:
    """Fill the student with the teacher's weights: word vectors, head, and layers as `copied_depths` says.

    Narrower feed-forward parts have those of the teacher's inner units that weigh most (`units.thinned`).

    Returns:
        The teacher layer that each layer started from, of the decoder and, where there is one, of the encoder.

    Raises:
        RecipeError: More layers than the teacher has, or weights of other shapes.
    """
    own, theirs = _config_of(student), _config_of(teacher)
    layers = copied_depths(own, theirs)
    places = {_layer_list(teacher, part): chosen for part, chosen in layers.items()}
    source, wanted = teacher.state_dict(), student.state_dict()
    theirs_by_name = {name: source.get(_source_name(name, places)) for name in wanted}
    filled = {}
    for name, found in thinned(theirs_by_name, wanted, lists=places).items():
        value = wanted[name]
        if found is None or found.shape != value.shape:
            has = "no such weight" if found is None else str(list(found.shape))
            raise RecipeError(
                f"student.init: teacher, but {name} is {list(value.shape)} in the student, {has} in the teacher",
                hint="leave hidden_size and attention_heads out, or choose student.init: random",
            )
        filled[name] = found
    with torch.no_grad():
        student.load_state_dict(filled)  # into the student's own tensors: what is tied stays tied
    return layers


def _parts(config: "PreTrainedConfig") -> tuple[Part, ...]:
    return ("encoder", "decoder") if config.is_encoder_decoder else ("decoder",)


def _names(config: "PreTrainedConfig", part: Part) -> Mapping[Size, tuple[str, ...]]:
    if not config.is_encoder_decoder:
        return ALONE
    return ENCODER if part == "encoder" else DECODER


def _set_layers(config: "PreTrainedConfig", teacher: "PreTrainedConfig", part: Part, *, settings: Depths) -> None:
    depth = _depth(teacher, part)
    usual = depth if part == "encoder" else max(1, depth // 2)
    chosen = (settings.encoder_layers if part == "encoder" else settings.decoder_layers) or usual
    setattr(config, _key(teacher, _names(teacher, part)["layers"]), chosen)
    if not teacher.is_encoder_decoder:
        keep_kinds(config, places=spread(chosen, over=depth), depth=depth)


def _set_inner(config: "PreTrainedConfig", teacher: "PreTrainedConfig", part: Part, *, wanted: int | None) -> None:
    name, width = _key(teacher, _names(teacher, part)["inner"]), _key(teacher, WIDTH)
    if wanted or getattr(teacher, name) is not None:
        proportional = _inner(teacher, part) * getattr(config, width) // getattr(teacher, width)
        setattr(config, name, wanted or proportional)


def _set_heads(config: "PreTrainedConfig", teacher: "PreTrainedConfig", part: Part, *, wanted: int | None) -> None:
    name, width = _key(teacher, _names(teacher, part)["heads"]), _key(teacher, WIDTH)
    fields, new_width = teacher.to_dict(), getattr(config, width)
    heads = wanted or max(1, new_width * fields[name] // fields[width])
    setattr(config, name, heads)
    stated = next((one for one in HEAD_WIDTH if fields.get(one)), None)
    if stated is None or fields[stated] * fields[name] == fields[width]:  # else heads have a width of their own
        if new_width % heads:
            raise RecipeError(
                f"student.hidden_size {new_width} cannot be shared by {heads} attention heads",
                hint="choose student.attention_heads that divide student.hidden_size",
            )
        if stated:
            setattr(config, stated, new_width // heads)
    if fields.get(SHARED_HEADS):
        shared = max(1, fields[SHARED_HEADS] * heads // fields[name])
        setattr(config, SHARED_HEADS, math.gcd(shared, heads))


def _inner(config: "PreTrainedConfig", part: Part) -> int:
    found = getattr(config, _key(config, _names(config, part)["inner"]))
    return int(found or INNER_TO_WIDTH * getattr(config, _key(config, WIDTH)))


def _widths(config: "PreTrainedConfig") -> tuple[object, ...]:
    fields = config.to_dict()
    heads = [fields[_key(config, _names(config, part)["heads"])] for part in _parts(config)]
    return (fields[_key(config, WIDTH)], *heads, *(fields.get(name) for name in (*HEAD_WIDTH, SHARED_HEADS)))


def _key(config: "PreTrainedConfig", candidates: tuple[str, ...]) -> str:
    fields = config.to_dict()
    for name in candidates:
        if name in fields:
            return name
    raise RecipeError(
        f"the {config.model_type} teacher's config names none of {', '.join(candidates)}",
        hint="use a teacher of the GPT-2, Llama, BART, Marian or T5 kind",
    )


def _config_of(model: nn.Module) -> "PreTrainedConfig":
    config: PreTrainedConfig = model.config
    return config


def _depth(config: "PreTrainedConfig", part: Part) -> int:
    return int(getattr(config, _key(config, _names(config, part)["layers"])))


def _layer_list(model: nn.Module, part: Part) -> str:
    # What the names of a model's layers begin with; modules come from the outside in, the list before what it holds.
    config = _config_of(model)
    depth = _depth(config, part)
    for name, module in model.named_modules():
        inside = not config.is_encoder_decoder or part in name.split(".")
        if inside and isinstance(module, nn.ModuleList) and len(module) == depth:
            return f"{name}."
    raise RecipeError(
        f"the {part} of a {type(model).__name__} has no list of {depth} layers to copy from",
        hint="choose student.init: random",
    )


def _source_name(name: str, places: Mapping[str, tuple[int, ...]]) -> str:
    for prefix, layers in places.items():
        if name.startswith(prefix):
            index, rest = name.removeprefix(prefix).split(".", 1)
            return f"{prefix}{layers[int(index)]}.{rest}"
    return name
