"""The students that are no transformers models: which there are, and one from its config.json."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeGuard

from torch import nn

from kd_deploy.distill.students import bilstm, seq2seq_lstm, static
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.students.seq2seq_lstm import LstmSeq2Seq, LstmSeq2SeqConfig
from kd_deploy.distill.students.static import Static, StaticConfig

OwnStudent = Bilstm | Static | LstmSeq2Seq
SEQUENCE, TOKEN = "ForSequenceClassification", "ForTokenClassification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of student: its sizes, the model of such sizes, and how transformers would call it with each head."""

    sizes: type[BilstmConfig] | type[StaticConfig] | type[LstmSeq2SeqConfig]
    model: Callable[[Any], OwnStudent]
    suffixes: Mapping[str, str]


FAMILIES = {
    bilstm.MODEL_TYPE: Family(
        sizes=BilstmConfig,
        model=Bilstm,
        suffixes={"text": SEQUENCE, "token": TOKEN, "span": "ForQuestionAnswering"},
    ),
    static.MODEL_TYPE: Family(sizes=StaticConfig, model=Static, suffixes={"text": SEQUENCE, "vector": "Model"}),
    seq2seq_lstm.MODEL_TYPE: Family(
        sizes=LstmSeq2SeqConfig, model=LstmSeq2Seq, suffixes={seq2seq_lstm.HEAD: "ForSeq2SeqLM"}
    ),
}  # by the model_type of config.json


def is_ours(model: nn.Module) -> TypeGuard[OwnStudent]:
    """Whether a model is one of these: it has `sizes` where a transformer has a `config`."""
    return isinstance(model, OwnStudent)


def own_student(config: Mapping[str, Any]) -> OwnStudent:
    """A student with random weights of the kind and the sizes that a config.json names.

    A file from before there was a size, such as the head, means what was built then: its default.

    Raises:
        KeyError: The config names no such kind or head, or lacks one of its sizes.
    """
    family = FAMILIES[config["model_type"]]
    needed = {one.name for one in fields(family.sizes) if one.default is MISSING}
    known = {one.name for one in fields(family.sizes)} & set(config)
    sizes = family.sizes(**{name: config[name] for name in needed | known})
    if sizes.head not in family.suffixes:
        raise KeyError(f"no {config['model_type']} has the head {sizes.head!r}")
    return family.model(sizes)


def own_config(model: OwnStudent) -> dict[str, Any]:
    """What the config.json of one of our students says of its kind and sizes."""
    model_type, family = next(found for found in FAMILIES.items() if found[1].model is type(model))
    return {
        "model_type": model_type,
        "architectures": [f"{type(model).__name__}{family.suffixes[model.sizes.head]}"],
        **model.sizes.to_dict(),
    }
