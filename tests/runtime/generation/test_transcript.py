import pytest
from tokenizers import Tokenizer, decoders

from kd_deploy.runtime.generation.transcript import Reader, Transcript
from tests.runtime.generation.fakes import END, byte_level, metaspace, words

TEXT = "Grüße, 世界 🙂!"


def growth(
    tokens: list[int], tokenizer: Tokenizer, *, prompt: tuple[int, ...] = (), stop: tuple[str, ...] = ()
) -> list[str]:
    transcript, texts = Transcript.after(prompt, Reader.of(tokenizer), stop=stop), []
    for token in tokens:
        transcript = transcript.add(token)
        texts.append(transcript.text[: transcript.safe])
    return [*texts, transcript.finish().answer]


def ids(text: str) -> list[int]:
    return list(byte_level().encode(text).ids)


def test_bytes_become_whole_characters() -> None:
    texts = growth(ids(TEXT), byte_level())

    assert texts[-1] == TEXT
    assert all(TEXT.startswith(one) for one in texts)
    assert sorted(set(texts)) == sorted({TEXT[:k] for k in range(len(TEXT) + 1)} - {""})


def test_a_character_that_stays_half_is_shown_at_the_end_alone() -> None:
    texts = growth(ids("a🙂")[:-1], byte_level())

    assert texts == ["a", "a", "a", "a", "a\ufffd"]


def test_bytes_that_are_no_text_do_not_hold_the_rest_up() -> None:
    half = ids("é")[0]

    assert growth([half, *ids("ab")], byte_level())[-1] == "\ufffdab"


def test_a_space_before_the_first_word_joins_it_to_a_prompt_alone() -> None:
    tokenizer = metaspace()
    the, sea, shore, dot = (tokenizer.token_to_id(one) for one in ("▁the", "▁sea", "shore", "."))

    assert growth([the, sea, shore, dot], tokenizer)[-1] == "the seashore."
    assert growth([sea, shore], tokenizer, prompt=(the,))[-1] == " seashore"
    assert growth([shore], tokenizer, prompt=(the, sea))[-1] == "shore"


@pytest.mark.parametrize("length", [1, 3, 30])
def test_the_text_is_what_the_whole_decodes_to_behind_its_prompt(length: int) -> None:
    tokenizer = words()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    prompt, answer = [3 + place % 9 for place in range(length)], [5, 5, 11, 4]

    whole = tokenizer.decode([*prompt, *answer])

    assert growth(answer, tokenizer, prompt=tuple(prompt))[-1] == whole.removeprefix(tokenizer.decode(prompt))


def test_special_tokens_are_nothing() -> None:
    tokenizer = metaspace()
    the, sea = tokenizer.token_to_id("▁the"), tokenizer.token_to_id("▁sea")

    assert growth([END, the, END, sea], tokenizer, prompt=(END,))[-1] == "the sea"


def test_no_part_of_a_stop_text_is_shown() -> None:
    texts = growth(ids("one\n\ntwo"), byte_level(), stop=("\n\n", "two"))

    assert texts == ["o", "on", "one", "one", "one", "one", "one", "one", "one"]


def test_what_only_looked_like_a_stop_text_is_shown() -> None:
    assert growth(ids("a\nb"), byte_level(), stop=("\n\n",)) == ["a", "a", "a\nb", "a\nb"]


def test_of_two_stop_texts_the_first_place_counts() -> None:
    assert growth(ids("xyz"), byte_level(), stop=("z", "yz"))[-1] == "x"
