"""A masked language model as a teacher of models that write: it fills in a target beside its source.

Chen et al. 2020, "Distilling knowledge learned in BERT for text generation", arXiv 1911.03829 (C-MLM). It says of each
token of a target what might stand there given the source and the other tokens, those that follow among them: more
than a student knows who writes from left to right. It cannot write by itself.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import Seq2SeqLMOutput

from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.checkpoints import find_model, load_model
from kd_deploy.distill.decisions import logits_of
from kd_deploy.distill.students.writers import ANY_LENGTH
from kd_deploy.distill.tokenizer_files import max_positions
from kd_deploy.distill.torch_runner import input_names, open_encoder
from kd_deploy.distill.vocabulary_head import only_at
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Recipe
from kd_deploy.tasks import fill_mask, text2text
from kd_deploy.tasks.configs import task_in
from kd_deploy.tasks.masking import mask_id_of
from kd_deploy.tasks.registry import task_of
from kd_deploy.tasks.task import LabelSpace

FILLS = LabelSpace(task=fill_mask.NAME, names=fill_mask.NAMES, problem_type="single_label_classification")
PARTS = 4  # passes over a target, in each of which a quarter of its tokens is hidden


class ConditionalMaskedLM(nn.Module):
    """A masked language model that is asked as an encoder-decoder is.

    Source and target are joined as `[CLS] source [SEP] target [SEP]`, and in each of `PARTS` passes other tokens of
    the target are hidden: in training by chance, else every fourth. The end mark is one of the tokens to be said.
    """

    input_names = ("input_ids", "attention_mask", "decoder_input_ids")

    def __init__(self, model: nn.Module, *, mask_id: int, end_id: int, pad_id: int) -> None:
        """Take the model and the marks of its tokenizer."""
        super().__init__()
        self.model: Any = model
        self._mask_id, self._end_id, self._pad_id = mask_id, end_id, pad_id

    @property
    def config(self) -> Any:
        """The sizes of the masked language model."""
        return self.model.config

    def get_input_embeddings(self) -> nn.Embedding:
        """Its word vectors."""
        table: nn.Embedding = self.model.get_input_embeddings()
        return table

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Seq2SeqLMOutput:
        """Logits [B, T, V] of each token of the targets, each from the source and from tokens on both sides of it.

        Args:
            input_ids: Sources [B, S] with their marks.
            attention_mask: [B, S].
            decoder_input_ids: [B, T], the first mark and the targets without their end mark, as a decoder reads
                them; padding on the right.
        """
        batch, longest = decoder_input_ids.shape
        targets, inside = self._targets(decoder_input_ids)
        place = torch.arange(longest, device=targets.device)
        part = (torch.randperm(longest, device=place.device) if self.training else place) % PARTS  # [T]
        hidden = (part == torch.arange(PARTS, device=targets.device)[:, None])[:, None] & inside  # [P, B, T]
        given = torch.where(hidden, self._mask_id, targets).flatten(0, 1)  # [P * B, T]
        source = input_ids.repeat(PARTS, 1)
        ids = torch.cat([source, given], dim=1)  # [P * B, S + T]
        mask = torch.cat([attention_mask, inside.long()], dim=1).repeat(PARTS, 1)
        second = torch.cat([torch.zeros_like(source), torch.ones_like(given)], dim=1)
        asked = torch.cat([torch.zeros_like(source).bool(), hidden.flatten(0, 1)], dim=1)
        order = (1 - mask).argsort(dim=1, stable=True)  # tokens first, padding behind them
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": second * mask}
        arrays = {name: arrays[name].gather(1, order) for name in input_names(self.model)}
        with only_at(self.model, asked.gather(1, order)):
            said = logits_of(self.model(**arrays))[0]  # [N, V]: part by part, row by row, in the order of the tokens
        logits = said.new_zeros(batch, longest, said.shape[-1])
        _, row, column = hidden.nonzero(as_tuple=True)
        return Seq2SeqLMOutput(logits=logits.index_put((row, column), said))

    def _targets(self, given: Tensor) -> tuple[Tensor, Tensor]:
        # The targets with their end mark [B, T], and where they have tokens.
        batch, longest = given.shape
        behind = torch.full((batch, 1), self._pad_id, dtype=given.dtype, device=given.device)
        ahead = torch.cat([given[:, 1:], behind], dim=1)
        lengths = (given[:, 1:] != self._pad_id).sum(dim=1) + 1  # [B]
        place = torch.arange(longest, device=given.device)
        return ahead.masked_fill(place == lengths[:, None] - 1, self._end_id), place < lengths[:, None]


def fills_pairs(folder: Path, task: str) -> bool:
    """Whether a checkpoint is a masked language model where one that writes from a source is asked for."""
    return task == text2text.NAME and task_in(check_checkpoint(folder)) == fill_mask.NAME


def filling_teacher(recipe: Recipe) -> str | None:
    """The teacher of a recipe, where it is one; else None."""
    name = recipe.teacher.first if recipe.teacher and recipe.task == text2text.NAME else None
    return name if name and fills_pairs(find_model(name), recipe.task) else None


def open_teacher(folder: Path, labels: LabelSpace, *, new_head: bool = False) -> nn.Module:
    """The model in a folder as a teacher of a task.

    Args:
        folder: A checkpoint.
        labels: The answers of the task.
        new_head: Whether it is to learn these answers, rather than to have learned them.

    Raises:
        BundleError: It does not load, or its tokenizer has no mask token.
    """
    if not fills_pairs(folder, labels.task):
        return load_model(folder, labels=labels if new_head or task_of(labels).ANSWERS == "vector" else None)
    encoder = open_encoder(folder, max_length=ANY_LENGTH)
    mask_id, end_id = mask_id_of(encoder.tokenizer), encoder.marks.ends[0]
    return ConditionalMaskedLM(load_model(folder), mask_id=mask_id, end_id=end_id, pad_id=encoder.pad_id).eval()


def check_filling(recipe: Recipe) -> None:
    """Refuse what a teacher that fills in cannot do.

    Raises:
        RecipeError: A student of its family, targets that it is to write, or texts too long for its positions.
    """
    name = filling_teacher(recipe)
    if name is None:
        return
    if recipe.student.architecture != "lstm":
        raise RecipeError(
            f"student.architecture: {recipe.student.architecture} starts from the teacher's decoder, and "
            f"{name} is a masked language model, which has none",
            hint="choose student.architecture: lstm",
        )
    if any(stage.sequences for stage in recipe.stages):
        raise RecipeError(
            f"distill.sequences: {name} is a masked language model, which fills in and cannot write targets",
            hint="leave sequences out",
        )
    room = max_positions(find_model(name))
    if room is not None and 2 * recipe.data.max_length > room:
        raise RecipeError(
            f"data.max_length {recipe.data.max_length}: {name} reads source and target together, and has "
            f"{room} positions for both",
            hint=f"set data.max_length to {room // 2} or less",
        )
