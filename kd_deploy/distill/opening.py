"""A checkpoint in torch that answers: over our own road, and as its users would run it without us."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model
from kd_deploy.distill.students.own import is_ours
from kd_deploy.distill.torch_decoders import torch_decoder
from kd_deploy.distill.torch_runner import TorchRunner, open_encoder
from kd_deploy.errors import BenchmarkError, BundleError
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.writer import Writer
from kd_deploy.runtime.loading import heads_of
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks import text_classification
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.heads import MAIN, lay_out
from kd_deploy.tasks.registry import task_of, writes

PIPELINE = "text-classification"  # what transformers calls all that is said of a text by one head


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What `generate` wrote, and its tokens."""

    text: str
    tokens: tuple[int, ...]


class GenerateAnswerer:
    """A Hugging Face checkpoint that writes, through its own `generate`: what a user has before us."""

    via = "transformers generate"
    batch_size = 1

    def __init__(self, predictor: Predictor, model: Any, tokenizer: Any) -> None:
        self._predictor = predictor
        self._model = model
        self._tokenizer = tokenizer
        self._options = generate_options(predictor.writer.settings)
        self._room = predictor.writer.decoder.room

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
        """Tokens that are read at once."""
        return self._predictor.max_length

    @torch.inference_mode()
    def predict(self, inputs: Sequence[TextInput]) -> list[object]:
        """Answer every input, one after the other."""
        return [self._written(str(one)) for one in inputs]

    def _written(self, text: str) -> Answer:
        asked = self._tokenizer(text, truncation=True, max_length=self.max_length, return_tensors="pt")
        given = {name: asked[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        before = 1 if self._model.config.is_encoder_decoder else given["input_ids"].shape[1]
        most = self._options["max_new_tokens"]
        limit = most if self._room is None else min(most, self._room - before)  # beyond it there are no positions
        own = self._model.generate(**given, **{**self._options, "max_new_tokens": limit})[0, before:]
        return Answer(self._tokenizer.decode(own, skip_special_tokens=True), tuple(own.tolist()))


def generate_options(settings: Generation) -> dict[str, Any]:
    """The settings as `generate` of transformers takes them."""
    chance = {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p}
    return {
        "max_new_tokens": settings.max_new_tokens,
        "num_beams": settings.beams,
        "length_penalty": settings.length_penalty,
        "repetition_penalty": settings.repetition_penalty,
        "no_repeat_ngram_size": settings.no_repeat_ngram,
        "do_sample": settings.temperature > 0,
        **(chance if settings.temperature > 0 else {}),
    }


def open_torch(
    checkpoint: str, max_length: int, provider: str, threads: int
) -> Predictor | PipelineAnswerer | GenerateAnswerer:
    """The factory that a benchmark process calls: a checkpoint in torch on `provider` (cpu, cuda)."""
    if provider == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError("this torch has no CUDA device", hint="kd-deploy doctor shows what this machine has")
    torch.set_num_threads(threads)
    folder = find_model(checkpoint)
    model = load_model(folder)
    predictor = over_model(model, folder, max_length=max_length, device=provider)
    written = writes(predictor.labels)
    if is_ours(model) or not (written or task_of(predictor.labels).HEAD == text_classification.HEAD):
        return predictor
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if written:
        return GenerateAnswerer(predictor, model, tokenizer)
    made = pipeline(PIPELINE, model=model, tokenizer=tokenizer, device=torch.device(provider))
    return PipelineAnswerer(predictor, made)


def open_predictor(folder: Path, *, max_length: int, device: str = "cpu") -> Predictor:
    """A checkpoint folder as a predictor in torch, over our own tokenising and batching.

    Raises:
        BundleError: The checkpoint has no head of a task that we know.
    """
    return over_model(load_model(folder), folder, max_length=max_length, device=device)


def over_model(model: nn.Module, folder: Path, *, max_length: int, device: str) -> Predictor:
    """The same over a model that was loaded from the folder."""
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
    encoder = open_encoder(folder, max_length=max_length)
    runner, writer = TorchRunner(model, device=device, heads=heads), None
    if writes(heads[MAIN].labels):
        writer = Writer(torch_decoder(model, encoder, device=device), encoder, how_to_write(folder))
    return Predictor(runner, encoder, heads[MAIN].labels, via="torch", heads=heads, writer=writer)


def how_to_write(folder: Path) -> Generation:
    """How a bundle, or a checkpoint of another's, is to write where nobody says otherwise."""
    settings = Bundle.open(folder).manifest.generation if (folder / MANIFEST).is_file() else None
    return settings or Generation()
