"""The tasks that there are, by name."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from kd_deploy.recipe.fitting import OWN_LABELS, WITHOUT_LABELS, WRITING
from kd_deploy.tasks import (
    fill_mask,
    question_answering,
    sentence_embedding,
    sentence_similarity,
    text2text,
    text_classification,
    text_generation,
    token_classification,
)
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.masking import find_mask_id
from kd_deploy.tasks.pieces import AT_ONCE, Shorten
from kd_deploy.tasks.task import Examples, LabelSpace, Prediction, Task

_ALL: tuple[Task, ...] = (
    text_classification,
    token_classification,
    question_answering,
    sentence_similarity,
    sentence_embedding,
    fill_mask,
    text2text,
    text_generation,
)
TASKS: dict[str, Task] = {task.NAME: task for task in _ALL}

STATES = "last_hidden_state"
LOGITS_AT_ONCE = 1 << 27  # numbers, 512 MiB
SLICES = 16  # of a long text, each of which keeps a row of logits


def task_of(labels: LabelSpace) -> Task:
    """The task whose answers these are."""
    return TASKS[labels.task]


def scores(predictions: Sequence[Prediction], examples: Examples) -> dict[str, float]:
    """What predictions of examples are worth, metric by metric."""
    task = task_of(examples.labels)
    return task.metrics(task.statistics(predictions, task.references(examples), examples.labels))


def hides(labels: LabelSpace) -> bool:
    """Whether the task is to fill in tokens of the vocabulary that a text does not show."""
    return labels.task == fill_mask.NAME


def mask_filled(tokenizer: Tokenizer, labels: LabelSpace) -> int | None:
    """The token that a model of the task fills; None: it fills none, or its tokenizer has another name for it."""
    return find_mask_id(tokenizer) if hides(labels) else None


def names_tokens(labels: LabelSpace) -> bool:
    """Whether what is decided about a token is which entry of the vocabulary stands there, or comes next."""
    return hides(labels) or writes(labels)


def writes(labels: LabelSpace) -> bool:
    """Whether the answers are texts that a model writes token by token."""
    return labels.task in WRITING


def is_its_own_label(labels: LabelSpace) -> bool:
    """Whether a text says by itself what is right: its hidden words, or the words that come next."""
    return labels.task in OWN_LABELS


def is_plain(task: Task) -> bool:
    """Whether a row of the task is a text alone, and nothing is said of it that a model is to learn."""
    return task.NAME in WITHOUT_LABELS or (task.REQUIRED == task.INPUTS and not task.OPTIONAL)


def judged_by_what_is_written(task: Task) -> bool:
    """Whether a model is judged by the texts that it writes; else by what it shows of texts that are there."""
    return task.NAME == text2text.NAME


def at_once(task: Task, *, vocabulary_size: int) -> int:
    """How many examples may be read before what was read of them is scored.

    Args:
        task: Where something is kept of every entry of the vocabulary, few.
        vocabulary_size: Of the model's tokenizer.
    """
    if task.NAME != text_generation.NAME:
        return AT_ONCE
    return max(1, min(AT_ONCE, LOGITS_AT_ONCE // (vocabulary_size * SLICES)))


def shortening(task: Task) -> Shorten | None:
    """What is kept of the logits of a piece, where all of them would be too many; None: all."""
    ways: dict[str, Shorten] = {
        text_generation.NAME: text_generation.shortened,
        fill_mask.NAME: fill_mask.shortened,
    }
    return ways.get(task.NAME)


def as_asked(inputs: Sequence[TextInput], task: Task) -> tuple[TextInput, ...]:
    """Inputs of rows as a user gives them.

    A vector is asked for of one text, even where pairs are judged; a language model gets the beginning of a text.
    """
    if task.NAME == text_generation.NAME:
        return tuple(text_generation.prompt_of(str(one)) for one in inputs)
    if task.ANSWERS != "vector":
        return tuple(inputs)
    return tuple(text for one in inputs for text in ((one,) if isinstance(one, str) else one))


def graph_outputs(task: Task) -> tuple[str, ...]:
    """What a graph gives: the logits, and for vectors the states of the tokens, for tools that pool them themselves."""
    return (*task.OUTPUTS, *((STATES,) if task.ANSWERS == "vector" else ()))


def outputs_of_tokens(task: Task) -> frozenset[str]:
    """Which outputs of a graph are a row for each token, [batch, sequence, ...]; the others are one for each text."""
    return frozenset({STATES}) if task.LEVEL == "text" else frozenset(task.OUTPUTS)


def main_metric(examples: Examples) -> str:
    """The metric by which models are chosen and judged on such examples."""
    return task_of(examples.labels).main_metric(examples)
