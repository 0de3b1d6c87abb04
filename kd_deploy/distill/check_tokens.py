"""What tokenizers alone know to fail: texts that are too long, marks that are missing, vocabularies apart."""

from pathlib import Path

from kd_deploy.distill.adopt import check_fits
from kd_deploy.distill.checkpoints import find_model
from kd_deploy.distill.parting import parting
from kd_deploy.distill.students.build import own_start
from kd_deploy.distill.tokenizer_files import tokenizer_file
from kd_deploy.distill.transfer import mask_in
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import Recipe
from kd_deploy.recipe.fitting import WRITING
from kd_deploy.tasks.encoding import open_tokenizer


def check_tokens(recipe: Recipe) -> None:
    """Refuse what the tokenizers of one task's teachers and start do not allow.

    Raises:
        RecipeError: Texts longer than they have positions for, words to be masked or replaced by what they lack, or a
            student that they do not tell two texts apart for.
    """
    _check_lengths(recipe)
    _check_augment(recipe)
    _check_segments(recipe)


def check_entries(recipe: Recipe) -> None:
    """Refuse a student whose vocabulary is not its teacher's where the teacher is to say its entries.

    Raises:
        RecipeError: The vocabularies are apart.
    """
    start, first = own_start(recipe.student), recipe.teacher.first if recipe.teacher else None
    if start is None or first is None or recipe.task not in ("fill-mask", *WRITING):
        return
    if all(term.term == "hard_labels" for stage in recipe.stages for term in stage.objective):
        return
    apart = parting(start, find_model(first))
    if apart:
        learns = "learn by distill.sequences and hard_labels alone, which compare texts"
        raise RecipeError(
            f"student.init {start} and teacher.model {first} have different vocabularies: {apart}",
            hint=learns if recipe.task == "text2text" else "start from a checkpoint with the teacher's tokenizer",
        )


def first_teacher(recipe: Recipe) -> Path | None:
    """The folder of a recipe's teacher, of several the first; None for one from scratch."""
    first = recipe.teacher.first if recipe.teacher else None
    return None if first is None else find_model(first)


def _check_lengths(recipe: Recipe) -> None:
    """Refuse texts longer than one of the checkpoints has positions for."""
    several = recipe.teacher.several if recipe.teacher else ()
    start = own_start(recipe.student)
    for folder in (*(find_model(one.model) for one in several), *((start,) if start else ())):
        check_fits(folder, max_length=recipe.data.max_length)


def _check_augment(recipe: Recipe) -> None:
    """Refuse to replace words by what the teacher cannot say: near ones where its vectors are random, or a mask."""
    if recipe.untrained and any(stage.augment and stage.augment.replace for stage in recipe.stages):
        raise RecipeError(
            "distill.augment.replace goes by the teacher's word vectors, and those of teacher.scratch are random",
            hint="set replace: 0, or name a checkpoint in teacher.model",
        )
    masking = next((stage.augment for stage in recipe.stages if stage.augment and stage.augment.mask), None)
    folder = first_teacher(recipe)
    if masking and folder is not None:
        mask_in(open_tokenizer(tokenizer_file(folder)), masking, checkpoint=folder)


def _check_segments(recipe: Recipe) -> None:
    """Refuse a BiLSTM that finds spans over a tokenizer that does not tell it which tokens are of the question."""
    folder = first_teacher(recipe)
    if recipe.task != "question-answering" or recipe.student.architecture != "bilstm" or folder is None:
        return
    if not any(open_tokenizer(tokenizer_file(folder)).encode("a", "b").type_ids):
        raise RecipeError(
            f"student.architecture: bilstm tells a question from its context by token_type_ids, and the tokenizer of "
            f"{folder} gives both the same",
            hint="choose student.architecture: transformer, or a teacher with a tokenizer such as BERT's",
        )
