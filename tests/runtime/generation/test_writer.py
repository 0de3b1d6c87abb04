import numpy as np
import pytest
from tokenizers import Tokenizer

from kd_deploy.errors import UsageError
from kd_deploy.generation import Generation
from kd_deploy.runtime.generation.writer import Writer
from tests.runtime.generation.fakes import (
    END,
    START,
    Chain,
    Script,
    byte_level,
    encoder_of,
    metaspace,
    random_table,
    words,
)

TEXT = "Grüße, 世界 🙂!"
PLAIN = Generation(max_new_tokens=64)


def scripted(text: str, *, settings: Generation = PLAIN, starts: tuple[int, ...] = ()) -> Writer:
    tokenizer = byte_level()
    ids = list(tokenizer.encode(text).ids)
    return Writer(Script(ids, vocabulary=tokenizer.get_vocab_size()), encoder_of(tokenizer, starts=starts), settings)


def chain(*, settings: Generation = PLAIN, room: int | None = None, budget: int = 2048) -> Writer:
    tokenizer = words()
    return Writer(Chain(random_table(0), room=room), encoder_of(tokenizer), settings, token_budget=budget)


@pytest.mark.parametrize("starts", [(), (START,)])
def test_an_answer_is_the_text_without_its_prompt(starts: tuple[int, ...]) -> None:
    written = scripted(TEXT, starts=starts).write(["abc", "a"])

    assert [one.text for one in written] == [TEXT, TEXT]
    assert written[0].ended
    assert written[0].tokens == tuple(byte_level().encode(TEXT).ids)
    assert -1e-3 < written[0].log_probability < 0


def test_pieces_are_whole_characters_and_join_to_the_answer() -> None:
    pieces = list(scripted(TEXT).stream("abc"))

    assert pieces == list(TEXT)


@pytest.mark.parametrize("text", ["one\n\ntwo", "one\n\n", "one", "\n\n", "one\n", "one\nt\n\n"])
def test_an_answer_ends_before_a_stop_text(text: str) -> None:
    writer = scripted(text, settings=Generation(stop=("\n\n",)))

    written, pieces = writer.write(["x"])[0], list(writer.stream("x"))

    expected = text.partition("\n\n")[0]
    assert written.text == expected
    assert "".join(pieces) == expected
    assert written.tokens == tuple(byte_level().encode(expected).ids)
    assert written.ended


def test_beams_end_before_a_stop_text_too() -> None:
    writer = scripted("one\n\ntwo", settings=Generation(stop=("\n\n",), beams=3))

    assert writer.write(["x"])[0].text == "one"
    assert list(writer.stream("x")) == ["one"]


def test_answers_stand_in_the_order_of_the_inputs_whatever_the_batches() -> None:
    inputs = ["w3", "w4 w5 w6 w7", "w5", "w6 w3 w3", "w7 w8"]
    settings = Generation(max_new_tokens=9, temperature=0.8, seed=3)

    at_once, one_by_one = chain(settings=settings).write(inputs), chain(settings=settings, budget=1).write(inputs)

    assert at_once == one_by_one
    assert len({one.tokens for one in at_once}) == len(inputs)
    assert dict(chain(settings=settings).write_each(inputs)) == dict(enumerate(at_once))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("text", ["w3", "w4 w9"])
def test_a_stream_is_the_answer(text: str, temperature: float) -> None:
    writer = chain(settings=Generation(max_new_tokens=20, temperature=temperature))

    assert "".join(writer.stream(text)) == writer.write([text])[0].text


def test_chance_goes_by_the_place_of_a_text_however_the_texts_come() -> None:
    texts, settings = ["w3"] * 4, Generation(max_new_tokens=9, temperature=1.0, seed=3)
    writer = chain(settings=settings)

    together = [one.text for one in writer.write(texts)]
    apart = [one.text for one in (*writer.write(texts[:1]), *writer.write(texts[1:], first=1))]
    streamed = ["".join(writer.stream(text, place=place)) for place, text in enumerate(texts)]

    assert together == apart == streamed
    assert len(set(together)) > 1


def test_the_space_before_a_continuation_stays() -> None:
    tokenizer = metaspace()
    ids = [tokenizer.token_to_id(one) for one in ("▁sea", "shore")]
    decoder = Script(ids, vocabulary=tokenizer.get_vocab_size())

    assert Writer(decoder, encoder_of(tokenizer), PLAIN).write(["▁the"])[0].text == " seashore"
    assert Writer(decoder, encoder_of(tokenizer, starts=(START,)), PLAIN).write(["▁the"])[0].text == "seashore"


def test_settings_of_a_call_come_before_those_of_the_writer() -> None:
    assert len(chain().write(["w3"], Generation(max_new_tokens=2))[0].tokens) <= 2


def test_writing_ends_where_positions_end() -> None:
    table = np.zeros((12, 12), dtype=np.float32)
    table[:, 5] = 9.0
    writer = Writer(Chain(table, room=10), encoder_of(words()), PLAIN)

    short, long = writer.write(["w3", "w3 w4 w5 w6 w7 w8 w9 w3 w4"])

    assert (len(short.tokens), len(long.tokens)) == (9, 1)
    assert not short.ended
    assert not long.ended


@pytest.mark.parametrize("limit", [4, 64])
def test_a_prompt_without_room_is_refused_with_its_real_length(limit: int) -> None:
    writer = Writer(Chain(random_table(0), room=8), encoder_of(words(), max_length=limit), PLAIN)

    with pytest.raises(UsageError, match="a prompt has 11 tokens, and the model has room for 7 before"):
        writer.write(["w3", " ".join(["w4"] * 11)])
    with pytest.raises(UsageError, match="a prompt has 8 tokens"):
        writer.stream(" ".join(["w4"] * 8))


def test_a_prompt_beyond_the_length_of_training_is_not_cut() -> None:
    table = np.zeros((12, 12), dtype=np.float32)
    table[9, 6], table[6, END] = 9.0, 9.0
    writer = Writer(Chain(table, room=40), encoder_of(words(), max_length=4), PLAIN)

    assert writer.write(["w3 w4 w5 w6 w7 w9"])[0].tokens == (6,)


def test_a_source_is_cut_as_everywhere() -> None:
    table = np.zeros((12, 12), dtype=np.float32)
    table[6, 7], table[7, END] = 9.0, 9.0
    writer = Writer(Chain(table, room=4), encoder_of(words(), max_length=4, starts=(START,)), PLAIN)

    assert writer.write(["w3 w4 w5 w6 w7 w9"])[0].tokens == (7,)


def test_inputs_that_cannot_be_gone_on_with_are_refused() -> None:
    with pytest.raises(UsageError, match="an empty text gives nothing"):
        chain().write(["w3", ""])
    with pytest.raises(UsageError, match="a pair of texts is no prompt"):
        chain().write([("w3", "w4")])
    with pytest.raises(UsageError, match="3 beams follow the likeliest texts"):
        chain().write(["w3"], Generation(beams=3, temperature=0.5))


def test_nothing_asked_nothing_written() -> None:
    assert chain().write([]) == []


def decoded(tokenizer: Tokenizer, tokens: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(tokens)))


def test_special_tokens_are_left_out_of_the_text() -> None:
    tokenizer = words()
    writer = Writer(Script([5, START, 6], vocabulary=12), encoder_of(tokenizer, starts=(START,)), PLAIN)

    written = writer.write(["w3"])[0]

    assert written.text == "w5 w6" == decoded(tokenizer, written.tokens)
    assert written.tokens == (5, START, 6)
