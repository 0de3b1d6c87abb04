"""A torch model behind the Runner protocol, and a checkpoint that answers as its users would run it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model
from kd_deploy.distill.decisions import logits_of
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.tokenizer_files import pad_id_of, tokenizer_file
from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.runner import Batch, Outputs
from kd_deploy.runtime.predictor import Predictor, heads_of
from kd_deploy.tasks import pieces, text_classification
from kd_deploy.tasks.encoding import Encoded, Encoder, TextInput, batches_by_length, unpadded
from kd_deploy.tasks.heads import MAIN, OUTPUT, Head, lay_out
from kd_deploy.tasks.registry import graph_outputs, task_of
from kd_deploy.tasks.task import Reading, Task

PASS_TOKEN_BUDGET = 4096
PIPELINE = "text-classification"  # what transformers calls all that is said of a text by one head
Progress = Callable[[Sequence[list[int]]], Iterable[list[int]]]


class TorchRunner:
    """A model in evaluation mode."""

    def __init__(self, model: nn.Module, *, device: str = "cpu", heads: Mapping[str, Head] | None = None) -> None:
        """Take the model to a device.

        Args:
            model: With the head of a task.
            device: cpu, cuda, or what else this torch has.
            heads: Its tasks, each with an output of its own where there are several; None: all logits are one output.
        """
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._heads = tuple(heads.values()) if heads else ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the arrays that the model takes."""
        return input_names(self._model)

    @torch.inference_mode()
    def run(self, batch: Batch) -> Outputs:
        """One forward pass over a padded batch [B, S]."""
        arrays = {name: torch.from_numpy(batch[name]).to(self._device) for name in self.input_names}
        shown = self._model(**arrays)
        names = graph_outputs(task_of(self._heads[0].labels)) if self._heads else (OUTPUT,)
        values = {name: getattr(shown, name).float().cpu().numpy() for name in names}
        if len(self._heads) > 1:
            return {head.output: values[OUTPUT][:, head.columns] for head in self._heads}
        return values

    def close(self) -> None:
        """Free the model."""
        del self._model


def input_names(model: nn.Module) -> tuple[str, ...]:
    """The arrays that a model's forward takes from an encoder of texts."""
    if is_ours(model):
        return model.input_names
    segments = getattr(model.config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", "token_type_ids") if segments else ("input_ids", "attention_mask")


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model has learned."""
    return sum(parameter.numel() for parameter in model.parameters())


class PipelineAnswerer:
    """A Hugging Face checkpoint answering through `transformers.pipeline`: what a user has before us."""

    via = "transformers pipeline"
    batch_size = 1

    def __init__(self, predictor: Predictor, pipeline: Any) -> None:
        self._predictor = predictor
        self._pipeline = pipeline

    @property
    def runner(self) -> Any:
        """The bare model."""
        return self._predictor.runner

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this number."""
        return self._predictor.vocabulary_size

    @property
    def max_length(self) -> int:
        """Tokens that are read at once: longer inputs are cut to them."""
        return self._predictor.max_length

    def predict(self, inputs: Sequence[TextInput]) -> list[object]:
        """Answer every input, one after the other: the pipeline's default, and its fastest on a CPU."""
        asked = [one if isinstance(one, str) else {"text": one[0], "text_pair": one[1]} for one in inputs]
        options = {"truncation": True, "max_length": self.max_length}
        if len(asked) == 1:  # a list of one would pay for a data loader
            return [self._pipeline(asked[0], **options)]
        return list(self._pipeline(asked, **options))


def open_torch(checkpoint: str, max_length: int, provider: str, threads: int) -> Predictor | PipelineAnswerer:
    """The factory that a benchmark process calls: a checkpoint in torch on `provider` (cpu, cuda)."""
    if provider == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError("this torch has no CUDA device", hint="kd-deploy doctor shows what this machine has")
    torch.set_num_threads(threads)
    folder = find_model(checkpoint)
    predictor = open_predictor(folder, max_length=max_length, device=provider)
    model = predictor.runner._model  # type: ignore[attr-defined]  # noqa: SLF001
    if is_ours(model) or task_of(predictor.labels).HEAD != text_classification.HEAD:
        return predictor
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    made = pipeline(PIPELINE, model=model, tokenizer=tokenizer, device=torch.device(provider))
    return PipelineAnswerer(predictor, made)


def open_predictor(folder: Path, *, max_length: int, device: str = "cpu") -> Predictor:
    """A checkpoint folder as a predictor in torch, over our own tokenising and batching.

    Raises:
        BundleError: The checkpoint has no head of a task that we know.
    """
    if (folder / MANIFEST).is_file():
        heads = heads_of(Bundle.open(folder))
    else:
        labels = labels_of(folder)
        if labels is None:
            kind = (check_checkpoint(folder).get("architectures") or ["unknown"])[0]
            raise BundleError(
                f"{folder} is a {kind}, and has no head of a task", hint="fine-tune it first: kd-deploy finetune"
            )
        heads = lay_out(labels, {})
    runner = TorchRunner(load_model(folder), device=device, heads=heads)
    encoder = open_encoder(folder, max_length=max_length)
    return Predictor(runner, encoder, heads[MAIN].labels, via="torch", heads=heads)


def open_encoder(folder: Path, *, max_length: int) -> Encoder:
    """The encoder of a checkpoint folder."""
    return Encoder.from_file(tokenizer_file(folder), max_length=max_length, pad_id=pad_id_of(folder))


def passes(
    model: nn.Module, encoder: Encoder, encoded: Sequence[Encoded], *, progress: Progress = iter
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Batches of like length on the model's device: which rows, and the arrays [B, S] that the model takes.

    Args:
        model: Whose arrays and whose device.
        encoder: The tokenizer that encoded the rows.
        encoded: All rows.
        progress: Wraps the list of batches.
    """
    device = next(model.parameters()).device
    batches = list(batches_by_length([len(one) for one in encoded], token_budget=PASS_TOKEN_BUDGET))
    for rows in progress(batches):
        arrays = encoder.collate([encoded[row] for row in rows], input_names=input_names(model))
        yield rows, {name: torch.from_numpy(value).to(device) for name, value in arrays.items()}


def all_logits(model: nn.Module, encoder: Encoder, inputs: Sequence[TextInput], *, context: Any) -> NDArray[np.float32]:
    """The logits [N, C] of every input, in the order of the inputs, of a model that decides one thing about a text.

    Args:
        model: In evaluation mode or not; it is put back as it was.
        encoder: The tokenizer of this model.
        inputs: Texts or pairs.
        context: What `precision.autocast` gave, entered around every pass.
    """
    found = dict(_logits_of_all(model, encoder, encoder.encode_all(inputs), context=context))
    return np.stack([found[row] for row in range(len(inputs))])


def read_all(
    model: nn.Module,
    encoder: Encoder,
    inputs: Sequence[TextInput],
    *,
    task: Task,
    columns: slice = slice(None),
    context: Any,
) -> list[list[Reading]]:
    """What a model shows of every input, piece by piece; the arguments are those of `all_logits`.

    Args:
        model: Whose task, or one of whose tasks, it is.
        encoder: The tokenizer of this model.
        inputs: Texts or pairs.
        task: Says how inputs are cut.
        columns: Where the logits of the task lie among all.
        context: Entered around every pass.
    """

    def show(encoded: Sequence[Encoded]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for row, logits in _logits_of_all(model, encoder, encoded, context=context):
            yield row, logits[..., columns]

    return pieces.read(inputs, encoder, task=task, show=show)


@torch.inference_mode()
def _logits_of_all(
    model: nn.Module, encoder: Encoder, encoded: Sequence[Encoded], *, context: Any
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The number of every input and its logits [C], or [S, C] without padding, in length-sorted batches."""
    was_training = model.training
    model.eval()
    for rows, arrays in passes(model, encoder, encoded):
        with context:
            logits = logits_of(model(**arrays))
        values = logits.float().cpu().numpy()
        of_texts = values.ndim == 2  # noqa: PLR2004 - [B, C]
        yield from zip(rows, values if of_texts else unpadded(values, [encoded[row] for row in rows]), strict=True)
    model.train(was_training)
