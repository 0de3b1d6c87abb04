"""The students that are no transformers models: which there are, and one from its config.json."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from torch import nn

from kd_deploy.distill.students import bilstm, static
from kd_deploy.distill.students.bilstm import Bilstm, BilstmConfig
from kd_deploy.distill.students.static import Static, StaticConfig

OwnStudent = Bilstm | Static


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of student: its sizes, and the model of such sizes."""

    sizes: type[BilstmConfig] | type[StaticConfig]
    model: Callable[[Any], OwnStudent]


FAMILIES = {
    bilstm.MODEL_TYPE: Family(sizes=BilstmConfig, model=Bilstm),
    static.MODEL_TYPE: Family(sizes=StaticConfig, model=Static),
}  # by the model_type of config.json


def is_ours(model: nn.Module) -> TypeGuard[OwnStudent]:
    """Whether a model is one of these: it has `sizes` where a transformer has a `config`."""
    return isinstance(model, OwnStudent)


def own_student(config: Mapping[str, Any]) -> OwnStudent:
    """A student with random weights of the kind and the sizes that a config.json names.

    Raises:
        KeyError: The config names no such kind, or lacks one of its sizes.
    """
    family = FAMILIES[config["model_type"]]
    return family.model(family.sizes(**{one.name: config[one.name] for one in fields(family.sizes)}))


def own_config(model: OwnStudent) -> dict[str, Any]:
    """What the config.json of one of our students says of its kind and sizes."""
    model_type = next(name for name, family in FAMILIES.items() if family.model is type(model))
    return {
        "model_type": model_type,
        "architectures": [f"{type(model).__name__}ForSequenceClassification"],
        **model.sizes.to_dict(),
    }
