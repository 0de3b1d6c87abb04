"""A student with fewer vocabulary entries: the kept rows of its tables, under new ids."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kd_deploy.distill.students.own import OwnStudent, is_ours
from kd_deploy.errors import RecipeError

ID_KEYS = "_token_id"  # what the keys of a config that hold a token end with
TABLES = ("embedding.weight", "weight.weight")  # of our own students, a row for each entry


def with_entries(model: nn.Module, kept: NDArray[np.int64]) -> nn.Module:
    """The same model over the entries that are kept; entry `kept[i]` has the id i.

    Args:
        model: A student over the whole vocabulary; it may be changed.
        kept: Old ids, [K], ascending; the pad token is among them.

    Raises:
        RecipeError: The model reads positions off its pad id, and that id would change.
    """
    new_ids = {int(old): new for new, old in enumerate(kept)}
    rows = torch.as_tensor(kept)
    return _own(model, rows, new_ids) if is_ours(model) else _transformer(model, rows, new_ids)


def _own(model: OwnStudent, rows: torch.Tensor, new_ids: dict[int, int]) -> nn.Module:
    sizes: Any = replace(model.sizes, vocab_size=len(rows), pad_token_id=new_ids[model.sizes.pad_token_id])
    if left_out := getattr(sizes, "left_out", ()):
        sizes = replace(sizes, left_out=[new_ids[one] for one in left_out])
    smaller: nn.Module = type(model)(sizes)
    state = model.state_dict()
    smaller.load_state_dict({name: value[rows] if name in TABLES else value for name, value in state.items()})
    return smaller.train(model.training)


def _transformer(model: nn.Module, rows: torch.Tensor, new_ids: dict[int, int]) -> nn.Module:
    config: Any = model.config
    table = model.get_input_embeddings()  # type: ignore[operator]
    pad = table.padding_idx
    if (
        pad is not None
        and new_ids[pad] != pad
        and any(getattr(module, "padding_idx", None) == pad and module is not table for module in model.modules())
    ):
        # RoBERTa and its kin count positions from the pad id on.
        raise RecipeError(
            f"student.vocabulary: a {config.model_type} counts positions from its pad id {pad}, which would change",
            hint="set student.vocabulary: full",
        )
    smaller = nn.Embedding(len(rows), table.embedding_dim, padding_idx=None if pad is None else new_ids[pad])
    with torch.no_grad():
        smaller.weight.copy_(table.weight[rows])
    model.set_input_embeddings(smaller)  # type: ignore[operator]
    for key, value in config.to_dict().items():
        if key.endswith(ID_KEYS) and isinstance(value, int):
            setattr(config, key, new_ids.get(value))
    config.vocab_size = len(rows)
    return model
