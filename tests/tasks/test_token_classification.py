"""Tagged words to aims of tokens, logits to tags of words and to entities in a text, entities to scores."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from kd_deploy.data.table import Table
from kd_deploy.errors import DataError, UsageError
from kd_deploy.tasks import token_classification as task
from kd_deploy.tasks.encoding import Encoder
from kd_deploy.tasks.pieces import whole
from kd_deploy.tasks.tagging import Span, spans
from kd_deploy.tasks.task import NO_DECISION, UNKNOWN, Classes, Examples, LabelSpace, Piece, Reading, Tagged

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
LABELS = LabelSpace(task="token-classification", names=NAMES, problem_type="single_label_classification")
WORDS = (("Ada", "O'Neil", "left", "New", "York", "."), ("U.S.", "trains", "reached", "Łódź", "today"))
TAGS = (("B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"), ("B-LOC", "O", "O", "B-LOC", "O"))
CHINESE = (tuple("叶老桂去北京。"), tuple("2010年北京"))
CHINESE_TAGS = (("B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"), ("O",) * 5 + ("B-LOC", "I-LOC"))
SPECIAL = ["[UNK]", "[CLS]", "[SEP]"]


def table(*, label_names: tuple[str, ...] = (), **columns: Sequence[object]) -> Table:
    count = len(next(iter(columns.values()), ()))
    places = range(2, count + 2)  # a header stands on line 1
    return Table(
        source="rows.csv", columns=dict(columns), places=places, unit="line", sha256="0" * 64, label_names=label_names
    )


def read(words: Sequence[object] = WORDS, tags: Sequence[object] = TAGS) -> Examples:
    rows = table(tokens=words, tags=tags)
    return task.read_examples(rows, task.find_labels(rows))


def wordpiece() -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordPiece({SPECIAL[0]: 0}, unk_token=SPECIAL[0]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)


def byte_level() -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=265, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )


def unigram() -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=60, unk_token=SPECIAL[0], special_tokens=SPECIAL, show_progress=False
    )


KINDS = {"wordpiece": wordpiece, "byte-level": byte_level, "unigram": unigram}


def encoder(kind: str = "wordpiece", *, max_length: int = 64) -> Encoder:
    tokenizer, trainer = KINDS[kind]()
    texts = [" ".join(words) for words in WORDS] + ["".join(words) for words in CHINESE] + list("abcdefghijklmnop")
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in SPECIAL[1:]]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.enable_truncation(max_length)
    return Encoder(tokenizer=tokenizer, max_length=max_length, pad_id=0)


def aimed(examples: Examples, pieces: Sequence[Piece], by: Encoder) -> list[list[Reading]]:
    """What a model shows that has learned all its aims."""
    encoded = by.encode_all([str(one.input) for one in pieces], places=True)
    found: list[list[Reading]] = [[] for _ in examples.inputs]
    for piece, one, aim in zip(pieces, encoded, task.aims(examples, pieces, encoded, encoder=encoder()), strict=True):
        found[piece.row].append(Reading(piece, one, logits(aim, len(examples.labels.names))))
    return found


def logits(classes: NDArray[np.generic] | Sequence[int], count: int = len(NAMES)) -> NDArray[np.float32]:
    chosen = np.arange(count) == np.asarray(classes)[:, None]
    return np.where(chosen, np.float32(8), np.float32(0))


def reading(text: str, classes: Sequence[int], *, start: int = 0, by: Encoder | None = None) -> Reading:
    """A piece whose tokens, special ones left out, are of these classes."""
    encoded = (by or encoder()).encode_all([text], places=True)[0]
    assert len(encoded) == len(classes) + 2
    return Reading(Piece(0, text, start), encoded, logits([0, *classes, 0]))


def ids(tags: str, names: Sequence[str] = NAMES) -> Classes:
    return tuple(names.index(tag) for tag in tags.split())


def test_tags_become_ids_with_both_tags_of_every_type() -> None:
    examples = read([["in", "Łódź"], ["Ada", "slept"]], [["O", "B-LOC"], ["I-PER", "O"]])

    assert examples.labels == LABELS
    assert examples.inputs == ("in Łódź", "Ada slept")
    assert examples.targets == (Tagged(((0, 2), (3, 7)), (0, 1)), Tagged(((0, 3), (4, 9)), (4, 0)))


def test_single_chinese_characters_are_joined_without_spaces() -> None:
    examples = read(CHINESE, CHINESE_TAGS)

    assert examples.inputs == ("叶老桂去北京。", "2010年北京")
    assert examples.targets[0] == Tagged(tuple((k, k + 1) for k in range(7)), ids("B-PER I-PER I-PER O B-LOC I-LOC O"))


@pytest.mark.parametrize(
    "tokens",
    [
        [["a", "b"], ["c"]],
        [["北京", "a"], ["c"]],
        [["Ada", "北", "slept"], ["北京", "北"]],
        [["group", "A", "B", "won"], ["北京", "北"]],  # another row's characters have nothing to do with it
    ],
)
def test_other_words_are_joined_by_spaces(tokens: list[list[str]]) -> None:
    assert task.read_inputs(table(tokens=tokens)) == tuple(" ".join(row) for row in tokens)


def test_a_longer_word_stands_apart_from_single_chinese_characters_and_does_not_part_them() -> None:
    words = [[*"叶老桂用", "iPhone", *"去北京"], list("去北京"), ["北京", "Ada"]]
    tags = [["O"] * len(row) for row in words]
    tags[0][-2:] = ["B-LOC", "I-LOC"]

    examples = read(words, tags)

    assert examples.inputs == ("叶老桂用 iPhone 去北京", "去北京", "北京 Ada")
    for row, text, target in zip(words, examples.inputs, examples.targets, strict=True):
        assert [str(text)[start:end] for start, end in target.words] == row
    assert task.read_inputs(table(tokens=words)) == examples.inputs


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [("in  Łódź", "O B-LOC"), (("in", "Łódź"), ("O", "B-LOC")), (np.array(["in", "Łódź"]), np.array(["O", "B-LOC"]))],
)
def test_lists_may_be_texts_with_spaces_tuples_or_arrays(tokens: object, tags: object) -> None:
    assert read([tokens], [tags]).targets == (Tagged(((0, 2), (3, 7)), (0, 1)),)


def test_numbers_are_tags_where_the_table_has_their_names() -> None:
    rows = table(tokens=[["Ada", "slept"]], tags=[[1, np.int64(0)]], label_names=("O", "B-PER", "I-PER", "B-LOC"))
    labels = task.find_labels(rows)

    assert labels.names == NAMES
    assert task.read_examples(rows, labels).targets == (Tagged(((0, 3), (4, 9)), (3, 0)),)


def test_inputs_are_texts_or_else_words_joined() -> None:
    assert task.read_inputs(table(text=["Ada slept"], tokens=[["x"]])) == ("Ada slept",)
    assert task.read_inputs(table(tokens=[["Ada", "slept"]])) == ("Ada slept",)
    with pytest.raises(DataError, match=r"rows\.csv has no column text or tokens"):
        task.read_inputs(table(tags=[["O"]]))


ROW = {"tokens": ["a"], "tags": ["B-X"]}
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "tokens that are null": ({"tokens": None}, "line 3: tokens is None, not a list"),
    "tokens that are a number": ({"tokens": 7}, "line 3: tokens is 7, not a list"),
    "tags that are null": ({"tags": None}, "line 3: tags is None, not a list"),
    "no tokens": ({"tokens": [], "tags": []}, "line 3: tokens is empty"),
    "a text of spaces": ({"tokens": "  "}, "line 3: tokens is empty"),
    "an empty word": ({"tokens": ["a", ""], "tags": ["O", "O"]}, "line 3: token 2 is '', not a word"),
    "a word of spaces": ({"tokens": [" "]}, "line 3: token 1 is ' ', not a word"),
    "a word that is a number": ({"tokens": [3]}, "line 3: token 1 is 3, not a word"),
    "too few tags": ({"tokens": ["a", "b"]}, "line 3: 2 tokens and 1 tags"),
    "too many tags": ({"tags": ["O", "O"]}, "line 3: 1 tokens and 2 tags"),
    "a tag without a prefix": ({"tags": ["PER"]}, "line 3: tag 'PER' is not BIO"),
    "a tag without a type": ({"tags": ["B-"]}, "line 3: tag 'B-' is not BIO"),
    "a tag of another scheme": ({"tags": ["S-PER"]}, "line 3: tag 'S-PER' is not BIO"),
    "a tag that is null": ({"tags": [None]}, "line 3: tag None is not BIO"),
    "a tag that is a number": ({"tags": [1]}, "line 3: tag 1 is not BIO"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_bad_row_is_named_with_its_line(fault: str) -> None:
    changed, message = FAULTS[fault]
    bad = ROW | changed

    with pytest.raises(DataError, match=message) as caught:
        read([ROW["tokens"], bad["tokens"]], [ROW["tags"], bad["tags"]])
    assert caught.value.hint


@pytest.mark.parametrize("number", [-1, 2, True])
def test_a_number_that_names_no_tag_is_refused(number: object) -> None:
    with pytest.raises(DataError, match=f"tag {number} is not BIO"):
        task.find_labels(table(tokens=[["a"]], tags=[[number]], label_names=("O", "B-PER")))


def test_training_needs_an_entity() -> None:
    with pytest.raises(DataError, match=r"rows\.csv has no entity"):
        read([["a", "b"]], [["O", "O"]])


def test_a_tag_that_training_never_saw_is_named() -> None:
    rows = table(tokens=[["a"], ["b"]], tags=[["O"], ["B-ORG"]])

    with pytest.raises(DataError, match=r"line 3: tag 'B-ORG' is not one of 'O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER'"):
        task.read_examples(rows, LABELS)


def test_the_teachers_order_is_the_order_of_the_logits() -> None:
    rows = table(tokens=[["Ada", "slept"]], tags=[["B-PER", "O"]])
    teacher = ("B-PER", "I-PER", "B-MISC", "O")
    labels = task.find_labels(rows, teacher=teacher)

    assert labels.names == teacher
    assert task.read_examples(rows, labels).targets == (Tagged(((0, 3), (4, 9)), (0, 3)),)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (("O", "B-LOC", "I-LOC"), "rows.csv needs the tag 'B-PER', and the teacher's classes are 'O', 'B-LOC'"),
        (("B-PER", "I-PER"), "rows.csv needs the tag 'O'"),
        (("O", "B-PER", "I-PER", "S-PER"), "class 'S-PER' is not a BIO tag"),
        (("LABEL_0", "LABEL_1"), "needs the tag 'B-PER'"),
    ],
)
def test_tags_that_the_teacher_does_not_know_are_refused(teacher: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        task.find_labels(table(tokens=[["Ada", "slept"]], tags=[["B-PER", "O"]]), teacher=teacher)
    assert "teacher.finetune" in caught.value.hint


def test_a_word_gives_its_tag_to_its_first_token_and_goes_on_in_the_others() -> None:
    by, examples = encoder(), read([["U.S.", "trains"]], [["B-LOC", "O"]])
    text = "U.S. trains"
    encoded = by.encode_all([text, text], places=True)

    known, unknown = task.aims(examples, whole([text, text]), encoded, encoder=encoder())

    assert by.tokenizer.encode(text).tokens[1:5] == ["u", ".", "s", "."]
    rest = len(encoded[0]) - 6
    assert known.tolist() == [NO_DECISION, 1, 2, 2, 2, *[0] * rest, NO_DECISION]
    assert unknown.tolist() == [NO_DECISION, *[UNKNOWN] * (rest + 4), NO_DECISION]


def test_a_piece_that_begins_within_a_word_has_no_first_token_of_it() -> None:
    by, examples = encoder(), read([["U.S.", "Ada"]], [["B-LOC", "B-PER"]])
    pieces = [Piece(0, "S. Ada", 2)]

    aim = task.aims(examples, pieces, by.encode_all([str(pieces[0].input)], places=True), encoder=encoder())[0]

    assert aim.tolist()[1:4] == [NAMES.index(tag) for tag in ("I-LOC", "I-LOC", "B-PER")]


def test_a_dropped_first_character_does_not_cost_a_word_its_tag() -> None:
    by, examples = encoder(), read([["\u200eAda", "x"]], [["B-PER", "O"]])
    readings = aimed(examples, whole(examples.inputs), by)

    assert task.predictions(readings, examples) == task.references(examples)


def test_a_token_of_no_word_is_outside() -> None:
    targets = (Tagged(((0, 1), (4, 5)), ids("B-PER I-PER")),)
    examples = Examples(inputs=("a b c",), targets=targets, labels=LABELS, source="", sha256="")

    aim = task.aims(examples, whole(examples.inputs), encoder().encode_all(["a b c"], places=True), encoder=encoder())[
        0
    ]

    assert aim.tolist()[1:-1] == [NAMES.index(tag) for tag in ("B-PER", "O", "I-PER")]


def test_an_entity_goes_on_with_its_only_tag_where_there_is_no_other() -> None:
    rows = table(tokens=[["U.S."]], tags=[["B-LOC"]])
    examples = task.read_examples(rows, task.find_labels(rows, teacher=("O", "B-LOC")))

    aim = task.aims(examples, whole(examples.inputs), encoder().encode_all(["U.S."], places=True), encoder=encoder())[0]

    assert aim.tolist() == [NO_DECISION, 1, 1, 1, 1, NO_DECISION]


@pytest.mark.parametrize("max_length", [64, 6])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_model_that_has_learned_its_aims_is_always_right(kind: str, max_length: int) -> None:
    by = encoder(kind, max_length=max_length)
    for examples in (read(), read(CHINESE, CHINESE_TAGS)):
        pieces = task.pieces(examples.inputs, by)
        assert (len(pieces) > len(examples)) == (max_length == 6)

        readings = aimed(examples, pieces, by)

        assert task.predictions(readings, examples) == task.references(examples)
        found = [[one.text for one in answer.entities] for answer in task.answers(readings, examples.labels)]
        assert found in ([["Ada O'Neil", "New York"], ["U.S.", "Łódź"]], [["叶老桂", "北京"], ["北京"]])


def test_characters_of_one_token_go_on_with_what_it_is() -> None:
    examples = Examples(
        inputs=("2010年",),
        targets=(Tagged(tuple((k, k + 1) for k in range(5)), ids("B-LOC I-LOC I-LOC I-LOC O")),),
        labels=LABELS,
        source="",
        sha256="",
    )
    by = encoder()
    by.tokenizer.add_tokens(["2010"])

    readings = [[reading("2010年", [1, 0], by=by)]]

    assert task.predictions(readings, examples) == (ids("B-LOC I-LOC I-LOC I-LOC O"),)


def test_a_word_without_a_token_is_outside() -> None:
    examples = read([["a", "\u200e", "b", "c"]], [["B-PER", "I-PER", "I-PER", "O"]])

    predicted = task.predictions([[reading("a \u200e b", [1, 2])]], examples)

    assert predicted == (ids("B-PER O I-PER O", examples.labels.names),)


def test_a_token_is_read_where_it_is_farther_from_the_cut() -> None:
    examples = read([list("abcdefgh")], [["B-PER", *"OOOOOOO"]])
    # The pieces share c d e f: the first is to be believed in c d, the second in e f.
    first, second = reading("a b c d e f", [0, 0, 1, 1, 3, 3]), reading("c d e f g h", [3, 3, 1, 1, 0, 0], start=4)

    predicted = task.predictions([[first, second]], examples)

    labels = examples.labels
    assert labels.names == ("O", "B-PER", "I-PER")
    assert predicted == ((0, 0, 1, 1, 1, 1, 0, 0),)


def test_an_entity_lies_in_the_callers_own_text_across_pieces() -> None:
    first, second = reading("a b  c d", [0, 0, 3, 4]), reading("  c d\te f", [3, 4, 4, 0], start=3)

    found = task.answers([[first, second]], LABELS)[0]

    assert [(one.text, one.start, one.end) for one in found.entities] == [("c d\te", 5, 10)]


def test_entities_keep_their_places_after_a_gap_between_pieces() -> None:
    first, second = reading("a b", [3, 0]), reading("c d", [3, 0], start=6)

    found = task.answers([[first, second]], LABELS)[0]

    assert [(one.text, one.start, one.end) for one in found.entities] == [("a", 0, 1), ("c", 6, 7)]


def test_the_tokens_of_a_word_are_what_its_first_is() -> None:
    by = encoder()
    by.tokenizer.model = models.WordPiece({SPECIAL[0]: 0, "c": 1, "##a": 2, "##b": 3}, unk_token=SPECIAL[0])

    found = task.answers([[reading("cab c", [1, 3, 0, 0], by=by)]], LABELS)[0]

    assert [(one.type, one.text) for one in found.entities] == [("LOC", "cab")]


def test_a_name_ends_before_the_full_stop_that_its_tokenizer_counts_with_it() -> None:
    by = encoder()
    by.tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    by.tokenizer.model = models.WordPiece({SPECIAL[0]: 0, "a": 1, "b": 2, "##.": 3, "##,": 4}, unk_token=SPECIAL[0])

    found = task.answers([[reading("a b. a, a", [1, 2, 0, 3, 0, 3], by=by)]], LABELS)[0]

    assert [(one.type, one.text) for one in found.entities] == [("LOC", "a b"), ("PER", "a"), ("PER", "a")]


def test_the_score_is_the_mean_probability_of_the_words() -> None:
    shown = reading("a b c", [0, 0, 0])
    for row, (tag, logit) in enumerate([(3, 1.0), (4, 2.0)], 1):
        shown.logits[row] = 0
        shown.logits[row, tag] = logit

    found = task.answers([[shown]], LABELS)[0]

    first, second = np.e / (np.e + 4), np.e**2 / (np.e**2 + 4)
    assert [(one.type, one.text, one.start, one.end) for one in found.entities] == [("PER", "a b", 0, 3)]
    assert found.entities[0].score == pytest.approx((first + second) / 2)
    assert task.to_json(found, LABELS) == {
        "entities": [
            {"type": "PER", "text": "a b", "start": 0, "end": 3, "score": pytest.approx((first + second) / 2, abs=1e-6)}
        ]
    }


@pytest.mark.parametrize("text", ["", " \n ", "\u200e"])
def test_a_text_without_tokens_names_nothing(text: str) -> None:
    found = task.answers([[reading(text, [])]], LABELS)[0]

    assert found == task.Entities(())
    assert task.to_json(found, LABELS) == {"entities": []}


def test_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match="reads single texts"):
        task.pieces(["a", ("a", "b")], encoder())


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O O O", []),
        ("B-PER O O", [("PER", 0, 0)]),
        ("B-PER I-PER I-PER", [("PER", 0, 2)]),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("I-PER I-PER O", [("PER", 0, 1)]),
        ("O I-LOC B-LOC", [("LOC", 1, 1), ("LOC", 2, 2)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
        ("I-PER I-LOC I-PER", [("PER", 0, 0), ("LOC", 1, 1), ("PER", 2, 2)]),
        ("B-PER O I-PER", [("PER", 0, 0), ("PER", 2, 2)]),
        ("O O B-LOC", [("LOC", 2, 2)]),
    ],
)
def test_tags_spell_entities_as_seqeval_reads_them(tags: str, entities: list[tuple[str, int, int]]) -> None:
    assert spans(ids(tags), NAMES) == [Span(*one) for one in entities]


def test_a_type_may_have_hyphens() -> None:
    assert spans((0, 1, 2), ("B-creative-work", "I-creative-work", "O")) == [Span("creative-work", 0, 1)]


def test_an_entity_is_right_with_its_type_and_both_ends() -> None:
    actual = [ids("B-PER I-PER O B-LOC"), ids("O O"), ids("B-LOC O")]
    predicted = [ids("B-PER I-PER O B-PER"), ids("O B-LOC"), ids("B-LOC I-LOC")]

    counted = task.statistics(predicted, actual, LABELS)

    assert counted.tolist() == [[1, 2, 2], [0, 1, 0], [0, 1, 1]]
    assert task.metrics(counted) == pytest.approx({"f1": 2 / 7, "precision": 1 / 4, "recall": 1 / 3})
    assert task.metrics(counted, np.array([2, 0, 1])) == pytest.approx(
        {"f1": 4 / 10, "precision": 2 / 5, "recall": 0.4}
    )


def test_nothing_predicted_scores_zero() -> None:
    nothing = task.statistics([ids("O O")], [ids("B-PER O")], LABELS)

    assert task.metrics(nothing) == {"f1": 0, "precision": 0, "recall": 0}
    assert task.metrics(task.statistics([ids("O")], [ids("O")], LABELS)) == {"f1": 0, "precision": 0, "recall": 0}


def test_the_main_metric_is_among_the_metrics() -> None:
    assert task.main_metric(Examples(inputs=(), targets=(), labels=LABELS, source="", sha256="")) == "f1"


def test_agreement_is_the_share_of_words() -> None:
    assert task.agreement([ids("O O O"), ids("B-PER")], [ids("O O B-LOC"), ids("B-PER")]) == 3 / 4


@pytest.mark.parametrize("kind", KINDS)
def test_entities_behind_a_gap_at_the_start_of_a_long_text_have_their_own_words(kind: str) -> None:
    by, text = encoder(kind, max_length=12), "\n\n\n \t" + "abc de fgh in " * 12
    pieces = task.pieces([text], by)
    encoded = by.encode_all([str(one.input) for one in pieces], places=True)
    shown = [Reading(piece, one, logits([3] * len(one))) for piece, one in zip(pieces, encoded, strict=True)]

    (found,) = task.answers([shown], LABELS)

    assert len(pieces) > 2
    assert found.entities
    assert all(one.text == text[one.start : one.end] for one in found.entities)
