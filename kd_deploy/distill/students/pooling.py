"""Vectors of whole texts: what models of sentence embeddings give, and an encoder of transformers that pools."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput

from kd_deploy.distill.objectives import features
from kd_deploy.errors import BundleError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

MODULES = "modules.json"
POOLING = "1_Pooling"
MODES: Mapping[str, Literal["mean", "cls"]] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
}  # as sentence-transformers calls them, now and in older files
FLAG = "pooling_mode_"  # what the older files' keys begin with, one for each mode
UNUSED = ("max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


@dataclass
class EmbeddingOutput(ModelOutput):  # type: ignore[misc]
    """What a model of sentence embeddings gives: vectors [B, E] under two names, and its states [B, S, E]."""

    logits: Tensor | None = None
    sentence_embedding: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How one vector is made of the states of all tokens."""

    mode: Literal["mean", "cls"] = "mean"
    normalize: bool = True


class Embedder(nn.Module):
    """A base encoder of transformers that gives one vector for each text.

    On disk it is the plain encoder, beside the files that `write_pooling` makes.
    """

    encoder: "PreTrainedModel"

    def __init__(self, encoder: "PreTrainedModel", pooling: Pooling) -> None:
        """Wrap an encoder such as AutoModel gives; `embedder` leaves out the pooling layer that it may have."""
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    @property
    def config(self) -> "PreTrainedConfig":
        """The encoder's config."""
        return self.encoder.config

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's word vectors."""
        table: nn.Module = self.encoder.get_input_embeddings()
        return table

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Give the encoder other word vectors."""
        self.encoder.set_input_embeddings(table)

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder as transformers does; the pooling is not among its files."""
        self.encoder.save_pretrained(folder)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **further: Tensor | bool) -> EmbeddingOutput:
        """Vectors [B, E] of token ids [B, S] under a mask [B, S] of ones and zeros.

        Args:
            input_ids: [B, S].
            attention_mask: [B, S].
            further: What else the encoder takes: token_type_ids [B, S], output_hidden_states.
        """
        shown = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **further)
        vector = pooled(shown.last_hidden_state, attention_mask, pooling=self.pooling)
        return EmbeddingOutput(
            logits=vector,
            sentence_embedding=vector,
            last_hidden_state=shown.last_hidden_state,
            hidden_states=shown.hidden_states,
            attentions=shown.attentions,
        )


def embedder(encoder: "PreTrainedModel", pooling: Pooling) -> Embedder:
    """An encoder that gives sentence vectors, without the pooling layer that some families have for other heads."""
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # it would never learn anything
    return Embedder(encoder, pooling)


def pooled(states: Tensor, attention_mask: Tensor, *, pooling: Pooling) -> Tensor:
    """One vector [B, E] for each text of states [B, S, E]; padding [B, S] on either side does not count."""
    vector = features.pooled(states, attention_mask, how="mean" if pooling.mode == "mean" else "first")
    return F.normalize(vector, dim=-1) if pooling.normalize else vector


def read_pooling(folder: Path) -> Pooling:
    """How the model in a folder pools, as sentence-transformers notes it; the mean, normalised, where nothing does.

    Raises:
        BundleError: A file that cannot be read, a mode besides the mean and cls, or a layer after the pooling.
    """
    modules, config = _read(folder / MODULES, list), _read(folder / POOLING / "config.json", dict)
    kinds = {str(one.get("type")).rpartition(".")[2] for one in modules or [] if isinstance(one, dict)}
    strange = sorted(kinds - {"Transformer", "Pooling", "Normalize"})
    if strange:
        raise BundleError(
            f"{folder / MODULES} names the module {strange[0]}, which we cannot run",
            hint="use a model of a transformer, a pooling and a normalisation alone",
        )
    chosen = _modes(config or {})
    if len(chosen) > 1 or chosen[0] not in MODES:
        raise BundleError(
            f"{folder / POOLING / 'config.json'} pools by {' and '.join(chosen)}",
            hint="use a model that pools by the mean of its tokens, or by the first (cls)",
        )
    return Pooling(mode=MODES[chosen[0]], normalize=modules is None or "Normalize" in kinds)


def _modes(config: dict[str, Any]) -> list[str]:
    older = [key.removeprefix(FLAG) for key in config if key.startswith(FLAG) and config[key]]
    given = config.get("pooling_mode", older)
    chosen = given if isinstance(given, list) else [given]
    return [str(one) for one in chosen] or ["mean"]  # what sentence-transformers does where no mode is chosen


def _read(path: Path, kind: type[Any]) -> Any:
    # None where there is no such file.
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON", hint="save the model again") from error
    if not isinstance(found, kind):
        raise BundleError(f"{path} holds no {kind.__name__}", hint="save the model again")
    return found


def write_pooling(folder: Path, pooling: Pooling, *, width: int, max_length: int) -> None:
    """Note beside a checkpoint how it pools, in the files by which sentence-transformers opens it.

    Args:
        folder: With the plain encoder and its tokenizer.
        pooling: How its vectors are made.
        width: E, the numbers in a vector.
        max_length: Longer texts are cut to this many tokens.
    """
    kinds = [("Transformer", ""), ("Pooling", POOLING)] + [("Normalize", "2_Normalize")] * pooling.normalize
    flags = {"cls_token": pooling.mode == "cls", "mean_tokens": pooling.mode == "mean"} | dict.fromkeys(UNUSED, False)
    config = {"word_embedding_dimension": width} | {FLAG + name: chosen for name, chosen in flags.items()}
    (folder / POOLING).mkdir(exist_ok=True)
    _write_modules(folder, kinds)
    _write(folder / POOLING / "config.json", config)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def write_bag(folder: Path) -> None:
    """Note beside a table of word vectors that their mean, normalised, is that of a text: for sentence-transformers."""
    _write_modules(folder, [("StaticEmbedding", ""), ("Normalize", "1_Normalize")])


def _write_modules(folder: Path, kinds: Sequence[tuple[str, str]]) -> None:
    """The modules that a text goes through, each by its name and its folder, and how vectors are compared."""
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds)
    ]
    _write(folder / MODULES, modules)
    settings: dict[str, object] = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", settings)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
