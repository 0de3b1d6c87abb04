from itertools import pairwise

import numpy as np

from kd_deploy.generation import Generation
from kd_deploy.tasks.encoding import Encoder
from tests.runtime.generation.fakes import END, Chain, encoder_of, random_table, words
from tests.runtime.generation.models import ours

PROMPTS = ([3], [4, 5], [6], [7, 8, 9])


def path(*tokens: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    # Each of these tokens is followed by the next one.
    table = np.zeros((12, 12), dtype=np.float32)
    for before, after in pairwise(tokens):
        table[before, after] = 9.0
    return table


def encoder() -> Encoder:
    return encoder_of(words())


def test_a_text_ends_with_its_end_token() -> None:
    draft = ours(Chain(path(3, 4, 5, END)), encoder(), prompts=[[3]])[0]

    assert draft.tokens == [4, 5]
    assert draft.ended
    expected = 3 * (9 - np.log(np.exp(9) + 11))
    np.testing.assert_allclose(draft.log_probability, expected, rtol=1e-6)


def test_a_text_without_an_end_stops_at_its_limit() -> None:
    draft = ours(Chain(path(3, 4, 3)), encoder(), prompts=[[3]], settings=Generation(max_new_tokens=5))[0]

    assert draft.tokens == [4, 3, 4, 3, 4]
    assert not draft.ended


def test_who_is_over_leaves_the_batch() -> None:
    decoder = Chain(path(9, 8, 7, 6, 5, 4, 3, END))

    drafts = ours(decoder, encoder(), prompts=[[3], [5], [9], [4]])

    assert [len(draft.tokens) for draft in drafts] == [0, 2, 6, 1]
    assert decoder.rows == [4, 3, 2, 1, 1, 1, 1]


def test_chance_is_each_rows_own() -> None:
    decoder, settings = Chain(random_table(0)), Generation(max_new_tokens=20, temperature=1.0, seed=5)

    together = [draft.tokens for draft in ours(decoder, encoder(), settings=settings, prompts=PROMPTS)]
    again = [draft.tokens for draft in ours(decoder, encoder(), settings=settings, prompts=PROMPTS)]
    first = [draft.tokens for draft in ours(decoder, encoder(), settings=settings, prompts=PROMPTS[:1])]
    other = ours(decoder, encoder(), settings=settings.model_copy(update={"seed": 6}), prompts=PROMPTS)

    assert again == together
    assert first == together[:1]
    assert [draft.tokens for draft in other] != together


def test_a_prompt_counts_as_written_where_repetition_is_judged() -> None:
    table = np.zeros((12, 12), dtype=np.float32)
    table[:, 5], table[:, 6] = 2.0, 1.5

    plain = ours(Chain(table), encoder(), prompts=[[5]], settings=Generation(max_new_tokens=1))
    judged = ours(Chain(table), encoder(), prompts=[[5]], settings=Generation(max_new_tokens=1, repetition_penalty=2.0))

    assert [plain[0].tokens, judged[0].tokens] == [[5], [6]]
