"""A graph without the work that nobody asks for: which tokens its end is computed for."""

from pathlib import Path

import onnx

from kd_deploy.export.first_token import keep_first_token
from kd_deploy.export.masked_tokens import keep_masked_tokens
from kd_deploy.export.norms import vectorise_norms
from kd_deploy.export.saving import save_graph


def shorten(source: Path, target: Path, *, mask_id: int | None, norms: bool = False) -> tuple[str, ...]:
    """Write a graph that computes its end for the tokens alone that are asked about.

    Args:
        source: The graph.
        target: The file to write.
        mask_id: The mask token of a model that fills masks; None: a model of another kind.
        norms: Rewrite fused layer norms as well.

    Returns:
        What was done, in words.
    """
    model = onnx.load(source)
    moved = keep_first_token(model) if mask_id is None else keep_masked_tokens(model, mask_id=mask_id)
    if norms:
        vectorise_norms(model)
    save_graph(model, target)
    where = "of the last layer on the first token alone" if mask_id is None else "at the end on mask tokens alone"
    return (f"{moved} operators {where}",) if moved else ()
