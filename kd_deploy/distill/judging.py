"""What a model in training is worth on rows with labels."""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kd_deploy.distill.conditional_mlm import ConditionalMaskedLM
from kd_deploy.distill.passes import PASS_TOKEN_BUDGET, read_all
from kd_deploy.distill.precision import Format, autocast
from kd_deploy.distill.rows import Collate, Rows, TrainingData
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.tasks.encoding import batches_by_length
from kd_deploy.tasks.pieces import predicted
from kd_deploy.tasks.registry import at_once, judged_by_what_is_written, main_metric, scores, task_of
from kd_deploy.tasks.task import NO_DECISION

WRITTEN_ROWS = 500
FOUND = "masked_accuracy"


def chosen_by(model: nn.Module, data: TrainingData) -> str:
    """The metric by which the best epoch of a model is chosen."""
    return FOUND if isinstance(model, ConditionalMaskedLM) else main_metric(data.examples)


def evaluate_model(
    model: nn.Module, data: TrainingData, *, number_format: Format, columns: slice = slice(None)
) -> dict[str, float]:
    """The scores of a model on the rows of a task, whose logits lie at `columns` among all.

    Where it is judged by what it writes, it writes greedily for as many rows as that takes little time for. One that
    fills in targets is judged by the share of their tokens that it finds, and by the perplexity of these.
    """
    examples, device = data.examples, next(model.parameters()).device
    task, context = task_of(examples.labels), autocast(number_format, device)
    if isinstance(model, ConditionalMaskedLM):
        return _of_filled(model, data, context=context)
    if judged_by_what_is_written(task):
        return _of_written(model, data, context=context)
    reading = partial(read_all, model, data.encoder, task=task, columns=columns, context=context)
    encoder = data.encoder
    some = at_once(task, vocabulary_size=encoder.tokenizer.get_vocab_size())
    return scores(predicted(examples, task=task, reading=reading, at_once=some), examples)


def _of_written(model: nn.Module, data: TrainingData, *, context: Any) -> dict[str, float]:
    rows = np.linspace(0, len(data.examples) - 1, num=min(WRITTEN_ROWS, len(data.examples))).astype(int)
    some, was_training = data.examples.some(rows.tolist()), model.training
    model.eval()
    decoder = torch_decoder(model, data.encoder, device=str(next(model.parameters()).device))
    greedy = data.generation.model_copy(update={"beams": 1, "temperature": 0.0})
    with context:
        written = Writer(decoder, data.encoder, greedy).write([str(one) for one in some.inputs])
    model.train(was_training)
    return scores(tuple(one.text for one in written), some)


@torch.inference_mode()
def _of_filled(model: ConditionalMaskedLM, data: TrainingData, *, context: Any) -> dict[str, float]:
    rows, collate = Rows(data), Collate(data.encoder, model.input_names)
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    found, surprise, tokens = 0, 0.0, 0
    for batch in batches_by_length(rows.lengths, token_budget=PASS_TOKEN_BUDGET):
        arrays = {name: value.to(device) for name, value in collate([rows[row] for row in batch]).items()}
        targets = arrays.pop("targets")
        kept = targets != NO_DECISION  # [B, T]
        with context:
            logits = model(**arrays).logits[kept].float()  # [N, V]
        aims = targets[kept]
        found += int((logits.argmax(dim=-1) == aims).sum())
        surprise += float(F.cross_entropy(logits, aims, reduction="sum"))
        tokens += len(aims)
    model.train(was_training)
    return {FOUND: found / max(tokens, 1), "pseudo_perplexity": float(np.exp(surprise / max(tokens, 1)))}
