"""A checkpoint in torch that answers: over our own road, and as its users would run it without us."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_deploy.bundle import MANIFEST, Bundle
from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model
from kd_deploy.distill.precision import usual_device
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

Answering = Callable[[Sequence[TextInput]], list[object]]
MARKS = (  # what a checkpoint says of the tokens around a text
    *("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id"),
    *("forced_bos_token_id", "bad_words_ids"),
)
PIPELINE = "text-classification"  # what transformers calls all that is said of a text by one head


class AsUsed:
    """A Hugging Face checkpoint as its users run it: what they have before us."""

    batch_size = 1

    def __init__(self, predictor: Predictor, answer: Answering, *, via: str) -> None:
        """Join our own predictor over the model with the road that its users take.

        Args:
            predictor: Knows the bare model, its vocabulary and its length.
            answer: Gives the answers, in the order of the inputs.
            via: What the road is called.
        """
        self._predictor = predictor
        self._answer = answer
        self.via = via

    @property
    def runner(self) -> Any:
        """The bare model."""
        return self._predictor.runner

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below this number."""
        return self._predictor.vocabulary_size

    @property
    def mask_id(self) -> int | None:
        """The token that it fills; None: it fills none."""
        return self._predictor.mask_id

    @property
    def max_length(self) -> int:
        """Tokens that are read at once: longer inputs are cut to them."""
        return self._predictor.max_length

    def predict(self, inputs: Sequence[TextInput]) -> list[object]:
        """Answer every input, one after the other: a pipeline's default, and its fastest on a CPU."""
        return self._answer(inputs)


def _by_pipeline(pipeline: Any, *, max_length: int) -> Answering:
    def answer(inputs: Sequence[TextInput]) -> list[object]:
        asked = [one if isinstance(one, str) else {"text": one[0], "text_pair": one[1]} for one in inputs]
        options = {"truncation": True, "max_length": max_length}
        if len(asked) == 1:  # a list of one would pay for a data loader
            return [pipeline(asked[0], **options)]
        return list(pipeline(asked, **options))

    return answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What `generate` wrote, and its tokens."""

    text: str
    tokens: tuple[int, ...]


def _by_generate(model: Any, tokenizer: Any, writer: Writer, *, max_length: int) -> Answering:
    from transformers import GenerationConfig

    # The texts that are judged: a checkpoint's own ways, the least length among them, would make it another job.
    model.generation_config = GenerationConfig(**{name: getattr(model.generation_config, name, None) for name in MARKS})
    options, room = generate_options(writer.settings), writer.decoder.room
    if writer.settings.stop:
        options |= {"stop_strings": list(writer.settings.stop), "tokenizer": tokenizer}

    marks = set(tokenizer.all_special_ids)

    @torch.inference_mode()
    def written(text: str) -> Answer:
        asked = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        given = {name: asked[name].to(model.device) for name in ("input_ids", "attention_mask")}
        before = 1 if model.config.is_encoder_decoder else given["input_ids"].shape[1]
        most = options["max_new_tokens"]
        limit = most if room is None else min(most, room - before)  # beyond it there are no positions
        own = model.generate(**given, **{**options, "max_new_tokens": limit})[0, before:]
        of_text = tuple(one for one in own.tolist() if one not in marks)  # as our own are counted
        return Answer(tokenizer.decode(own, skip_special_tokens=True), of_text)

    return lambda inputs: [written(str(one)) for one in inputs]


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


def open_torch(checkpoint: str, max_length: int, provider: str, threads: int) -> Predictor | AsUsed:
    """The factory that a benchmark process calls: a checkpoint in torch on `provider` (cpu, cuda)."""
    if provider == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError("this torch has no CUDA device", hint="kd-deploy doctor shows what this machine has")
    torch.set_num_threads(threads)
    folder = find_model(checkpoint)
    model = with_usual_attention(load_model(folder))
    predictor = over_model(model, folder, max_length=max_length, device=provider)
    written = writes(predictor.labels)
    if is_ours(model) or not (written or task_of(predictor.labels).HEAD == text_classification.HEAD):
        return predictor
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if written:
        answer = _by_generate(model, tokenizer, predictor.writer, max_length=predictor.max_length)
        return AsUsed(predictor, answer, via="transformers generate")
    made = pipeline(PIPELINE, model=model, tokenizer=tokenizer, device=torch.device(provider))
    answer = _by_pipeline(made, max_length=predictor.max_length)
    return AsUsed(predictor, answer, via="transformers pipeline")


def with_usual_attention(model: nn.Module) -> nn.Module:
    """The model with the attention that transformers takes where nobody asks for another.

    `load_model` asks for the plain form, which shows its probabilities and exports; on long texts it takes half as much
    time again, and would flatter whatever is compared with it.
    """
    from transformers import PreTrainedModel

    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part._supports_sdpa:  # noqa: SLF001 - nothing else tells
            part.set_attn_implementation("sdpa")
            break
    return model


def open_predictor(folder: Path, *, max_length: int) -> Predictor:
    """A checkpoint folder as a predictor in torch, over our own tokenising and batching; on the GPU where there is one.

    Raises:
        BundleError: The checkpoint has no head of a task that we know.
    """
    return over_model(
        with_usual_attention(load_model(folder)), folder, max_length=max_length, device=str(usual_device())
    )


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
