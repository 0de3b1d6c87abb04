"""What a model in training is worth on rows with labels."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from kd_deploy.distill.passes import read_all
from kd_deploy.distill.precision import Format, autocast
from kd_deploy.distill.rows import TrainingData
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.tasks.pieces import predicted
from kd_deploy.tasks.registry import at_once, judged_by_what_is_written, scores, task_of

WRITTEN_ROWS = 500


def evaluate_model(
    model: nn.Module, data: TrainingData, *, number_format: Format, columns: slice = slice(None)
) -> dict[str, float]:
    """The scores of a model on the rows of a task, whose logits lie at `columns` among all.

    Where it is judged by what it writes, it writes greedily for as many rows as that takes little time for.
    """
    examples, device = data.examples, next(model.parameters()).device
    task, context = task_of(examples.labels), autocast(number_format, device)
    if judged_by_what_is_written(task):
        return _of_written(model, data, context=context)
    reading = partial(read_all, model, data.encoder, task=task, columns=columns, context=context)
    encoder = data.encoder
    some = at_once(task, vocabulary_size=encoder.tokenizer.get_vocab_size(), max_length=encoder.max_length)
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
