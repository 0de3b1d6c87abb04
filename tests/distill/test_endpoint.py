"""A teacher on a server: what is asked, how often, what comes back, and what is kept of it."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from kd_deploy.distill.endpoint import RemoteAnswers, RemoteTeacher, check_endpoint, fingerprint
from kd_deploy.distill.endpoint import teacher as endpoint_teacher
from kd_deploy.distill.endpoint.answers import what_may_be_kept
from kd_deploy.distill.endpoint.chat import LETTERS, Candidate, letter_scores
from kd_deploy.distill.endpoint.http import Connection, retry_after_s
from kd_deploy.distill.endpoint.oip import label_names
from kd_deploy.distill.endpoint.teacher import _in_flight
from kd_deploy.errors import MissingExtraError, RecipeError, TrainingError
from kd_deploy.progress import reporting_to
from kd_deploy.recipe.endpoint import Endpoint
from kd_deploy.tasks.encoding import TextInput
from kd_deploy.tasks.task import LabelSpace
from tests.heard import Heard
from tests.served import Reply, Server, scores_of, served, tokens_of

LABELS = ("bad", "fine", "good")
TEXTS = tuple(f"text {number}" for number in range(10))
KEY = "sk-very-secret"
CHAT = "/v1/chat/completions"
INFER = "/v2/models/sentiment/infer"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as told:
        yield told


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(Connection, "pause", lambda _, seconds: made.append(seconds))
    return made


@dataclass(frozen=True)
class Ask:
    """A teacher on that server, opened anew each time on the same cache."""

    server: Server
    cache: Path

    def teacher(
        self, *, labels: tuple[str, ...] = LABELS, scored: tuple[str, ...] | None = LABELS, **settings: Any
    ) -> RemoteTeacher:
        if settings.get("protocol", "oip") == "oip":
            settings["labels"] = scored
        return RemoteTeacher(self.settings(**settings), labels=labels, cache=self.cache)

    def settings(self, **given: Any) -> Endpoint:
        """A section of a recipe about that server."""
        return Endpoint.model_validate({"url": self.server.url, "protocol": "oip", "model": "sentiment"} | given)

    def about(self, *inputs: TextInput, **settings: Any) -> RemoteAnswers:
        return self.teacher(**settings).logits(inputs)

    def chat(self, *inputs: TextInput, **settings: Any) -> RemoteAnswers:
        return self.about(*inputs, protocol="openai", **settings)

    def fails(self, *inputs: TextInput, match: str, **settings: Any) -> TrainingError:
        with pytest.raises(TrainingError, match=match) as raised:
            self.about(*(inputs or TEXTS[:2]), **settings)
        return raised.value

    def on_disk(self) -> NDArray[np.float32]:
        """All rows that the cache's files hold."""
        return np.concatenate([np.load(path) for path in sorted(self.cache.rglob("values.npy"))])


@pytest.fixture
def ask(server: Server, tmp_path: Path) -> Ask:
    return Ask(server, tmp_path)


def space(*names: str) -> LabelSpace:
    return LabelSpace(task="text-classification", names=names, problem_type="single_label_classification")


def expected(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([scores_of(text) for text in texts], dtype=np.float32)


# --- what is asked, and how often ---


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_answers_stand_in_the_order_of_the_texts(ask: Ask, batch_size: int, concurrency: int) -> None:
    found = ask.about(*TEXTS, batch_size=batch_size, concurrency=concurrency)

    np.testing.assert_array_equal(found.logits, expected(TEXTS))
    assert found.logits.dtype == np.float32
    assert (found.computed, found.reused) == (10, 0)
    assert max(len(body["inputs"][0]["data"]) for body in ask.server.asked) == min(batch_size, 10)
    assert ask.server.paths[0] == "/v2/models/sentiment"
    assert set(ask.server.paths[1:]) == {INFER}


def test_duplicates_are_asked_once(ask: Ask) -> None:
    found = ask.about("text 1", "text 2", "text 1")

    assert sorted(ask.server.texts) == ["text 1", "text 2"]
    np.testing.assert_array_equal(found.logits, expected(["text 1", "text 2", "text 1"]))
    assert (found.computed, found.reused) == (2, 0)


def test_what_is_known_is_not_asked_again(ask: Ask) -> None:
    ask.about(*TEXTS[:6])
    ask.server.asked.clear()

    found = ask.about(*reversed(TEXTS))

    assert sorted(ask.server.texts) == list(TEXTS[6:])
    assert (found.computed, found.reused) == (4, 6)
    np.testing.assert_array_equal(found.logits, expected(TEXTS[::-1]))


def test_a_server_that_has_answered_all_may_be_gone(ask: Ask) -> None:
    ask.about(*TEXTS)
    ask.server.paths.clear()

    assert ask.about(*TEXTS).reused == 10
    assert ask.server.paths == []


def test_nothing_asked_is_nothing_answered(ask: Ask) -> None:
    assert ask.about().logits.shape == (0, 3)
    assert ask.server.paths == []


def test_no_more_requests_are_under_way_than_allowed(ask: Ask) -> None:
    guard, under_way, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=60)

    def busy() -> None:
        nonlocal under_way, most
        with guard:
            under_way += 1
            most = max(most, under_way)
        both.wait()
        with guard:
            under_way -= 1
        both.wait()

    ask.server.busy = busy
    ask.about(*TEXTS, batch_size=1, concurrency=2)

    assert most == 2


def test_pairs_go_into_two_tensors(ask: Ask) -> None:
    ask.server.metadata = {}

    ask.about(("text 1", "second"), ("text 2", "other"), batch_size=8)

    assert ask.server.asked == [
        {
            "inputs": [
                {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["text 1", "text 2"]},
                {"name": "text_pair", "shape": [2], "datatype": "BYTES", "data": ["second", "other"]},
            ]
        }
    ]


def test_the_only_input_of_the_model_is_used_in_its_own_shape(ask: Ask) -> None:
    ask.server.metadata = {
        "inputs": [
            {"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "limit", "datatype": "INT64", "shape": [-1, 1]},
        ]
    }

    ask.about(*TEXTS[:2])

    assert ask.server.asked[0]["inputs"] == [
        {"name": "TEXT", "shape": [2, 1], "datatype": "BYTES", "data": ["text 0", "text 1"]}
    ]


def test_the_named_tensors_are_used(ask: Ask) -> None:
    ask.server.metadata = {}
    ask.server.change = lambda answer: {"outputs": [*answer["outputs"], {**answer["outputs"][1], "name": "other"}]}

    ask.about("text 1", input="query", output="other")

    assert ask.server.asked[0]["inputs"][0]["name"] == "query"
    assert ask.server.asked[0]["outputs"] == [{"name": "other"}]


def test_a_url_may_end_with_the_version(ask: Ask) -> None:
    ask.about("text 1", url=f"{ask.server.url}/v2/", model="a/b")

    assert ask.server.paths == ["/v2/models/a%2Fb", "/v2/models/a%2Fb/infer"]


@pytest.mark.parametrize("text", ["\ud800 broken 1", "naïve 🙂 1", "a\x00b 1"])
def test_odd_texts_are_answered_too(ask: Ask, text: str) -> None:
    assert ask.about(text).computed == 1
    assert ask.about(text).reused == 1
    assert ask.server.texts[0].endswith(" 1")


# --- what an answer of the Open Inference Protocol means ---


def test_data_may_be_nested(ask: Ask) -> None:
    def nested(answer: dict[str, Any]) -> dict[str, Any]:
        output = answer["outputs"][1]
        return {"outputs": [{**output, "data": np.reshape(output["data"], output["shape"]).tolist()}]}

    ask.server.change = nested

    np.testing.assert_array_equal(ask.about(*TEXTS).logits, expected(TEXTS))


def test_probabilities_become_their_logarithms(ask: Ask) -> None:
    ask.server.scores = lambda _: [0.75, 0.25, 0.0]

    found = ask.about("text 1", scores="probabilities").logits

    np.testing.assert_allclose(found, np.log([[0.75, 0.25, 1e-6]]), rtol=1e-6)


TOLD: dict[str, Callable[[Server, Any], None]] = {
    "model parameters": lambda server, names: server.metadata.update(parameters={"labels": names}),
    "model properties": lambda server, names: server.metadata.update(properties={"labels": names}),
    "answer": lambda server, names: setattr(server, "change", lambda found: {**found, "parameters": {"labels": names}}),
    "output": lambda server, names: setattr(
        server, "change", lambda found: {"outputs": [{**found["outputs"][1], "parameters": {"labels": names}}]}
    ),
    "described output": lambda server, names: server.metadata.update(
        outputs=[{"name": "scores", "datatype": "FP32", "shape": [-1, 3], "parameters": {"labels": names}}]
    ),
}


@pytest.mark.parametrize("place", list(TOLD))
@pytest.mark.parametrize("names", [["good", "bad", "fine"], '["good", "bad", "fine"]', "good, bad, fine"])
def test_classes_are_put_into_the_order_of_the_labels(ask: Ask, place: str, names: Any) -> None:
    TOLD[place](ask.server, names)

    found = ask.about("text 4", scored=None).logits

    good, bad, fine = scores_of("text 4")
    assert found.tolist() == [[bad, fine, good]]


def test_the_order_of_the_recipe_counts_before_the_servers(ask: Ask) -> None:
    ask.server.metadata["parameters"] = {"labels": ["good", "bad", "fine"]}

    found = ask.about("text 4", scored=("fine", "good", "bad")).logits

    fine, good, bad = scores_of("text 4")
    assert found.tolist() == [[bad, fine, good]]


@pytest.mark.parametrize("parameters", [None, {"labels": ["LABEL_0", "LABEL_1", "LABEL_2"]}])
def test_scores_of_unknown_labels_are_refused(ask: Ask, parameters: Any) -> None:
    ask.server.metadata["parameters"] = parameters

    error = ask.fails(scored=None, match="does not say which of its scores is of which label: bad, fine, good")

    assert error.hint == "check teacher.endpoint.labels"
    assert ask.about("text 4", scored=None, labels=("0", "1", "2")).logits.tolist() == [scores_of("text 4")]


def test_other_labels_than_the_recipes_are_refused(ask: Ask) -> None:
    ask.server.metadata["parameters"] = {"labels": ["bad", "good", "ugly"]}

    ask.fails(scored=None, match="has the labels bad, good, ugly, the recipe has bad, fine, good")


@pytest.mark.parametrize("given", [["LABEL_0", "LABEL_1"], None, 3, {"a": 1}, "3"])
def test_what_names_no_classes_is_no_order(given: Any) -> None:
    assert label_names({"labels": given}) is None


def test_a_wrong_number_of_classes_names_both(ask: Ask) -> None:
    error = ask.fails(labels=("bad", "good"), match="tells 3 classes apart, the recipe has 2 labels")

    assert "teacher.endpoint.model" in error.hint


@pytest.mark.parametrize(
    ("output", "match"),
    [
        ({"datatype": "INT64"}, r"answers with scores \(INT64\), not with floats"),
        ({"shape": [3, 2]}, r"gives scores as \[3, 2\] for 2 texts"),
        ({"shape": [6]}, r"gives scores as \[6\] for 2 texts"),
        ({"shape": [2, 4]}, r"data that is not \[2, 4\] numbers"),
        ({"data": ["a"] * 6}, r"data that is not \[2, 3\] numbers"),
        ({"data": [[0.0], [0.0, 1.0]]}, r"data that is not \[2, 3\] numbers"),
        ({"data": [0.0] * 5 + [None]}, r"data that is not \[2, 3\] numbers"),
        ({"data": [0.0] * 5 + [float("nan")]}, "not finite"),
        ({"shape": "wide"}, r"in a form that was not expected: outputs\.0\.shape"),
    ],
)
def test_a_malformed_answer_is_refused(ask: Ask, output: dict[str, Any], match: str) -> None:
    ask.server.change = lambda answer: {"outputs": [{**answer["outputs"][1], **output}]}

    ask.fails(match=match)


def test_an_answer_that_is_no_json_is_refused(ask: Ask) -> None:
    ask.server.faults = [Reply(body=b"<html>welcome</html>")]

    error = ask.fails(match="answered in a form that was not expected")

    assert "teacher.endpoint.url" in error.hint


@pytest.mark.parametrize("row", [[-0.5, 1.0, 0.5], [2.0, 0.0, 0.0]])
def test_logits_are_no_probabilities(ask: Ask, row: list[float]) -> None:
    ask.server.scores = lambda _: row

    ask.fails(scores="probabilities", match="no probabilities")


def test_an_input_that_the_model_lacks_is_refused(ask: Ask) -> None:
    ask.fails(input="query", match=r"takes review \(BYTES\), not query as BYTES")
    ask.fails(("a", "b"), match="not review, text_pair as BYTES")


def test_a_model_of_tokens_is_refused(ask: Ask) -> None:
    ask.server.metadata = {"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]}]}

    ask.fails(match=r"takes input_ids \(INT64\), not text as BYTES")


def test_an_output_that_the_model_lacks_is_refused(ask: Ask) -> None:
    ask.fails(output="logits", match=r"scores \(FP32\), not with logits")


# --- what a chat model means ---


def test_a_chat_model_is_asked_for_a_letter(ask: Ask) -> None:
    ask.chat("a {labels} film", model="big")

    (body,) = ask.server.asked
    (message,) = body.pop("messages")
    assert body == {"model": "big", "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}
    assert ask.server.paths == [CHAT]
    assert "A: bad\nB: fine\nC: good\n" in message["content"]
    assert "a {labels} film" in message["content"]


def test_a_prompt_of_ones_own_is_asked(ask: Ask) -> None:
    ask.chat(("one", "two"), prompt="{text}|{text_pair}|{labels}|{other}", url=f"{ask.server.url}/v1")

    assert ask.server.asked[0]["messages"][0]["content"] == "one|two|A: bad\nB: fine\nC: good|{other}"
    assert ask.server.paths == [CHAT]


def test_both_texts_of_a_pair_are_in_the_question(ask: Ask) -> None:
    ask.chat(("a premise", "a hypothesis"))

    content = ask.server.asked[0]["messages"][0]["content"]
    assert "First text:\na premise\n" in content
    assert "Second text:\na hypothesis\n" in content


@pytest.mark.parametrize(
    ("one", "prompt", "match"),
    [
        ("single", "{labels} {text} {text_pair}", "names {text_pair}, but the inputs are single texts"),
        (("a", "pair"), "{labels} {text}", "has no {text_pair} for pairs of texts"),
    ],
)
def test_a_prompt_must_be_for_such_inputs(ask: Ask, one: TextInput, prompt: str, match: str) -> None:
    ask.fails(one, protocol="openai", prompt=prompt, match=match)


def listed(*tokens: tuple[str, float]) -> list[Candidate]:
    return [Candidate(token=token, logprob=float(np.log(probability))) for token, probability in tokens]


def test_letters_are_scored_by_hand() -> None:
    # A: 0.5 + 0.1. B and D share the 0.06 that the list leaves. "c" is not C, "AB" is not A.
    found = np.exp(letter_scores(listed(("A", 0.5), (" A", 0.1), ("C\n", 0.2), ("c", 0.1), ("AB", 0.04)), count=4))

    np.testing.assert_allclose(found, np.array([0.6, 0.03, 0.2, 0.03]) / 0.86, rtol=1e-6)


def test_a_letter_that_is_not_listed_is_no_likelier_than_the_last_that_is() -> None:
    found = np.exp(letter_scores(listed(("A", 0.3), ("x", 0.02)), count=2))

    np.testing.assert_allclose(found, np.array([0.3, 0.02]) / 0.32, rtol=1e-6)


def test_a_letter_never_gets_nothing() -> None:
    candidates = [*listed(("A", 1.0)), Candidate.model_validate({"token": "B", "logprob": -9999.0})]

    np.testing.assert_allclose(np.exp(letter_scores(candidates, count=3))[1:], 1e-6, rtol=1e-4)


def test_scores_of_a_chat_are_log_probabilities(ask: Ask) -> None:
    found = ask.chat(*TEXTS[:3])

    np.testing.assert_allclose(np.exp(found.logits), [np.array([0.6, 0.1, 0.2]) / 0.9] * 3, rtol=1e-5)
    assert len(ask.server.asked) == 3


def test_twenty_labels_are_the_most(ask: Ask) -> None:
    many = tuple(f"label {number}" for number in range(21))

    assert ask.chat("a", labels=many[:20]).logits.shape == (1, 20)
    assert len(LETTERS) == 20
    with pytest.raises(RecipeError, match="one of 20 letters at most, and there are 21 labels") as raised:
        check_endpoint(ask.settings(protocol="openai"), space(*many))
    assert "oip" in raised.value.hint
    check_endpoint(ask.settings(protocol="openai"), space(*many[:20]))
    check_endpoint(ask.settings(protocol="openai"), None)


def test_other_classes_than_the_datas_are_refused_before_anything_is_asked(ask: Ask) -> None:
    check_endpoint(ask.settings(labels=("good", "bad")), space("bad", "good"))
    with pytest.raises(RecipeError, match=r"endpoint\.labels: good, poor, and the data has bad, good"):
        check_endpoint(ask.settings(labels=("good", "poor")), space("bad", "good"))


@pytest.mark.parametrize("logprob", [float("nan"), float("inf"), 5.0], ids=str)
def test_a_chance_that_is_none_is_refused(ask: Ask, logprob: float) -> None:
    listed = [{"token": "A", "logprob": logprob}]
    said = {"token": "A", "logprob": -0.1, "top_logprobs": listed}
    ask.server.change = lambda _: {"choices": [{"logprobs": {"content": [said]}}]}

    ask.fails(protocol="openai", match=r"answered in a form that was not expected: .*logprob")
    assert not list(ask.cache.rglob("values.npy"))


def test_no_chance_at_all_is_an_answer() -> None:
    chances = {"A": 0.0, "B": -math.inf}
    listed = [Candidate(token=letter, logprob=chance) for letter, chance in chances.items()]

    assert letter_scores(listed, count=2)[0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("scores", [["0.5", "1", "2"], [True, False, True], [None, 1.0, 2.0], [10**400, 1.0, 2.0]])
def test_what_is_no_number_is_no_score(ask: Ask, scores: Any) -> None:
    ask.server.scores = lambda _: scores

    ask.fails("text 1", match="with data that is not")


def test_a_score_beyond_the_format_is_not_finite(ask: Ask) -> None:
    ask.server.scores = lambda _: [1e300, -1e300, 0.0]

    ask.fails("text 1", match="scores that are not finite")


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_probabilities_are_no_logits(ask: Ask, batch_size: int) -> None:
    ask.server.scores = lambda text: [0.25, 0.25, 0.5] if text.endswith("1") else [0.9, 0.1, 0.0]

    error = ask.fails(*TEXTS, match="look like probabilities, not logits", batch_size=batch_size)

    assert error.hint == "check teacher.endpoint.scores"
    assert ask.about(*TEXTS, scores="probabilities", batch_size=batch_size).answered.all()


@pytest.mark.parametrize("url", ["http://a..b", "http://" + "a" * 70 + ".org"])
def test_what_is_no_address_is_told_at_once(ask: Ask, waits: list[float], url: str) -> None:
    error = ask.fails("text 1", match="is no address", url=url)

    assert error.hint == "check teacher.endpoint.url"
    assert waits == []


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": "A"}, "logprobs": None}]},
        {"choices": [{"message": {"content": "A"}}]},
        {"choices": [{"logprobs": {"content": []}}]},
        {"choices": [{"logprobs": {"content": [{"token": "A", "logprob": 0.0, "top_logprobs": []}]}}]},
        {"choices": []},
    ],
)
def test_a_chat_without_log_probabilities_is_refused(ask: Ask, answer: dict[str, Any]) -> None:
    ask.server.change = lambda _: answer

    error = ask.fails(protocol="openai", match="gives no log-probabilities")

    assert "top_logprobs" in error.hint


def test_a_text_without_a_label_is_alike_for_all_and_not_kept(ask: Ask) -> None:
    ask.server.likely = lambda question: [("Sorry", 0.9)] if "text 1" in question else tokens_of(question)

    with reporting_to(heard := Heard()):
        found = ask.chat(*TEXTS[:3])

    np.testing.assert_allclose(found.logits[1], np.log([1 / 3] * 3), rtol=1e-6)
    assert len(ask.on_disk()) == 2
    assert heard.said == ["1 of 3 texts got no label from the teacher"]
    assert found.answered.tolist() == [True, False, True]
    assert ask.chat(*TEXTS[:3]).computed == 1


def test_a_further_process_finds_what_the_first_kept_and_asks_nobody(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask.about(*TEXTS[:2])
    ask.server.asked.clear()
    monkeypatch.setenv("RANK", "1")

    found = ask.about(*TEXTS[:3])

    assert found.answered.tolist() == [True, True, False]
    assert ask.server.asked == []


class AtOnce:
    """A pool whose work is done when it is handed over."""

    def submit(self, ask: Callable[[str], str], batch: str) -> Future[str]:
        done: Future[str] = Future()
        try:
            done.set_result(ask(batch))
        except TrainingError as error:
            done.set_exception(error)
        return done


def test_what_came_beside_a_fault_is_given_before_it_is_raised() -> None:
    def ask(batch: str) -> str:
        if batch == "bad":
            raise TrainingError("refused")
        return batch

    stopped = list[bool]()
    answers = _in_flight(
        AtOnce(),  # type: ignore[arg-type]
        ask,  # type: ignore[arg-type]
        ["a", "bad", "b", "c"],  # type: ignore[list-item]
        most=3,
        give_up=lambda: stopped.append(True),
    )

    assert {str(next(answers)), str(next(answers))} == {"a", "b"}
    with pytest.raises(TrainingError, match="refused"):
        next(answers)
    assert stopped == [True]


def test_what_is_under_way_beside_a_fault_is_waited_for_and_kept(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Barrier(3, timeout=60)
    refused, given_up = threading.Event(), threading.Event()
    stop = Connection.stop

    def stopped(connection: Connection) -> None:
        stop(connection)
        given_up.set()

    def busy() -> None:
        if asked.wait() == 0:  # whose answer is malformed
            ask.server.faults.append(Reply(status=400))
            refused.set()
        else:
            assert refused.wait(60)
            assert given_up.wait(60)

    monkeypatch.setattr(Connection, "stop", stopped)

    ask.server.busy = busy
    ask.fails(*TEXTS[:3], match="answered 400", batch_size=1, concurrency=3)

    assert len(ask.on_disk()) == 2


def test_a_chat_that_never_names_a_label_is_stopped_early(ask: Ask) -> None:
    ask.server.likely = lambda _: [("<think>", 0.9)]

    error = ask.fails(
        *(f"text {number}" for number in range(60)), protocol="openai", match="no label for any of the first 20 texts"
    )

    assert "thinking" in error.hint
    assert len(ask.server.asked) < 60
    assert list(ask.cache.rglob("values.npy")) == []


# --- failures, and what is tried again ---


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(ask: Ask, waits: list[float], status: int) -> None:
    ask.server.faults = [Reply(status, {"error": "busy"})] * 3

    found = ask.about(*TEXTS, batch_size=100)

    np.testing.assert_array_equal(found.logits, expected(TEXTS))
    assert len(ask.server.asked) == 4
    for wait, longest in zip(waits, (0.5, 1.0, 2.0), strict=True):
        assert longest / 2 <= wait <= longest


def test_the_server_says_when_to_come_back(ask: Ask, waits: list[float]) -> None:
    ask.server.faults = [Reply(429, {}, {"Retry-After": "7"}), Reply(503, {}, {"Retry-After": "0"})]

    ask.about("text 1")

    assert waits[0] == 7.0
    assert 0.5 <= waits[1] <= 1.0


def test_a_server_that_is_down_for_long_ends_the_run(ask: Ask, waits: list[float]) -> None:
    ask.server.faults = [Reply(503, {}, {"Retry-After": "3600"})]

    error = ask.fails("text 1", match="answered 503")

    assert waits == []
    assert "is kept" in error.hint


def test_a_failure_that_lasts_ends_the_run(ask: Ask, waits: list[float]) -> None:
    ask.server.faults = [Reply(503, {"error": "no worker"})] * 9

    error = ask.fails("text 1", retries=2, match=f"{INFER} answered 503: .*no worker")

    assert len(ask.server.asked) == 3
    assert len(waits) == 2
    assert "is kept" in error.hint


@pytest.mark.parametrize("retries", [0, 2])
def test_a_request_has_no_more_tries_than_given(ask: Ask, waits: list[float], retries: int) -> None:
    ask.server.faults = [Reply(500, {})] * 9

    ask.fails("text 1", retries=retries, match="answered 500")

    assert len(ask.server.asked) == retries + 1


@pytest.mark.parametrize(("status", "hint"), [(400, "what the server says"), (401, "api_key_env"), (404, "model")])
def test_a_refusal_is_not_tried_again(ask: Ask, waits: list[float], status: int, hint: str) -> None:
    ask.server.faults = [Reply(status, {"error": "no\nsuch " + "x" * 1000})]

    error = ask.fails("text 1", match=f"{ask.server.url}{INFER} answered {status}: .*such x+")

    assert (len(ask.server.asked), waits) == (1, [])
    assert len(str(error)) < 500
    assert hint in error.hint


def test_a_redirect_is_not_followed(ask: Ask) -> None:
    ask.server.faults = [Reply(307, {}, {"Location": f"{ask.server.url}/elsewhere"})]

    ask.fails("text 1", match="answered 307")

    assert "/elsewhere" not in ask.server.paths


def test_a_silent_server_is_tried_again(ask: Ask, waits: list[float]) -> None:
    done = threading.Event()

    def busy_at_first() -> None:
        if len(ask.server.asked) == 1:
            done.wait(60)

    ask.server.busy = busy_at_first
    found = ask.about("text 1", timeout_s=2)
    done.set()

    np.testing.assert_array_equal(found.logits, expected(["text 1"]))
    assert (len(ask.server.asked), len(waits)) == (2, 1)


def test_a_server_that_stays_silent_is_named(ask: Ask, waits: list[float]) -> None:
    done = threading.Event()

    def busy() -> None:
        done.wait(60)

    ask.server.busy = busy

    ask.fails("text 1", timeout_s=1, retries=1, match=f"{ask.server.url}{INFER} gave no answer .ReadTimeout")
    done.set()


def test_a_server_that_is_not_there_is_named(ask: Ask, waits: list[float]) -> None:
    ask.fails("text 1", url="http://127.0.0.1:9", retries=1, match="http://127.0.0.1:9/v2/.* gave no answer")

    assert len(waits) == 1


def test_a_refusal_ends_the_waiting_of_the_others(ask: Ask) -> None:
    ask.server.faults = [Reply(503, {}, {"Retry-After": "60"}), Reply(400, {})]
    started = time.monotonic()

    ask.fails(*TEXTS, batch_size=1, concurrency=2, match="answered 400")

    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 0.0), ("12", 12.0), (" 3 ", 3.0), ("soon", 0.0), ("-5", 0.0), ("", 0.0)]
)
def test_retry_after_is_read(value: str | None, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)

    assert 3000 < retry_after_s(format_datetime(later, usegmt=True)) <= 3600
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 -0000") == 0.0


def test_the_library_for_http_is_named_where_it_is_missing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)

    with pytest.raises(MissingExtraError, match="a teacher behind HTTP") as raised:
        ask.about("text 1")

    assert "kd-deploy[distill]" in raised.value.hint


# --- the token ---


@pytest.mark.parametrize("protocol", ["oip", "openai"])
def test_the_token_is_sent_with_every_request(ask: Ask, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    monkeypatch.setenv("TEACHER_TOKEN", f"{KEY}\n")

    ask.about(*TEXTS[:2], protocol=protocol, api_key_env="TEACHER_TOKEN")

    assert set(ask.server.tokens) == {f"Bearer {KEY}"}


def test_without_a_variable_no_token_is_sent(ask: Ask) -> None:
    ask.about("text 1")

    assert set(ask.server.tokens) == {None}


def test_the_token_is_in_no_message_and_in_no_file(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_TOKEN", KEY)
    ask.server.faults = [Reply(401, {"error": f"{KEY} is not a token"})]

    error = ask.fails("text 1", api_key_env="TEACHER_TOKEN", match=r"answered 401: .*\*\*\* is not a token")
    ask.about("text 1", api_key_env="TEACHER_TOKEN")

    assert KEY not in f"{error} {error.hint}"
    assert not any(KEY.encode() in path.read_bytes() for path in ask.cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("value", ["", "  "])
def test_a_variable_that_is_not_set_is_named(ask: Ask, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TEACHER_TOKEN", value)

    error = ask.fails("text 1", api_key_env="TEACHER_TOKEN", match="variable TEACHER_TOKEN is not set")

    assert "api_key_env" in error.hint


@pytest.mark.parametrize("value", ["sk-\nsecret", "sk-ключ"])
def test_a_token_that_fits_no_header_is_refused_unseen(ask: Ask, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TEACHER_TOKEN", value)

    error = ask.fails("text 1", api_key_env="TEACHER_TOKEN", match="TEACHER_TOKEN holds characters")

    assert "sk-" not in str(error)


# --- what may be kept ---


def test_all_is_kept_where_nothing_limits_it() -> None:
    logits = np.array([[3.0, -700.0, 12.5]])

    np.testing.assert_array_equal(what_may_be_kept(logits, top_k=None, decimals=None), logits)


@pytest.mark.parametrize(
    ("top_k", "decimals", "probabilities", "kept"),
    [
        (2, None, [0.6, 0.25, 0.1, 0.05], [0.6, 0.25, 0.075, 0.075]),
        (1, None, [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.7, 0.1]),
        (9, None, [0.6, 0.25, 0.1, 0.05], [0.6, 0.25, 0.1, 0.05]),
        (None, 1, [0.62, 0.27, 0.06, 0.05], [0.6, 0.3, 0.1, 0.025]),  # a quarter of the last decimal is left at least
        (2, 1, [0.58, 0.27, 0.10, 0.05], [0.6, 0.3, 0.05, 0.05]),
        (1, None, [0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]),
        (1, 1, [0.34, 0.33, 0.33], [0.3, 0.3, 0.3]),  # no forgotten class overtakes
        (1, 1, [0.03] * 33 + [0.01], [1.0] * 34),  # nothing is left to be known
    ],
)
def test_what_is_kept_by_hand(
    top_k: int | None, decimals: int | None, probabilities: list[float], kept: list[float]
) -> None:
    found = what_may_be_kept(np.log([probabilities]), top_k=top_k, decimals=decimals)

    np.testing.assert_allclose(np.exp(found), [np.array(kept) / sum(kept)], rtol=1e-4)


@pytest.mark.parametrize("protocol", ["oip", "openai"])
def test_the_files_hold_nothing_but_what_may_be_kept(ask: Ask, protocol: str) -> None:
    ask.server.scores = lambda _: np.log([0.7123, 0.1987, 0.089]).tolist()
    ask.server.likely = lambda _: [("A", 0.7123), ("B", 0.1987), ("C", 0.089)]

    found = ask.about(*TEXTS, protocol=protocol, top_k=1, decimals=2, batch_size=16)

    np.testing.assert_allclose(np.exp(ask.on_disk()), [[0.71, 0.145, 0.145]] * 10, rtol=1e-5)
    np.testing.assert_array_equal(found.logits, ask.on_disk())


def test_answers_that_differ_in_what_is_left_out_are_the_same_on_disk() -> None:
    one, other = np.log([[0.7123, 0.1987, 0.089]]), np.log([[0.7087, 0.1001, 0.1912]])

    kept, same = (what_may_be_kept(scores, top_k=1, decimals=2) for scores in (one, other))

    np.testing.assert_array_equal(kept, same)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://other:8000"},
        {"model": "other"},
        {"output": "other"},
        {"labels": ["good", "bad", "fine"]},
        {"scores": "probabilities"},
        {"top_k": 2},
        {"decimals": 3},
        {"protocol": "openai"},
        {"protocol": "openai", "prompt": "{labels} {text}"},
    ],
)
def test_another_question_is_another_cache(change: dict[str, Any]) -> None:
    plain = {"url": "http://host:8000", "protocol": "oip", "model": "m"}
    found = [fingerprint(Endpoint.model_validate(given), LABELS) for given in (plain, plain | change)]

    assert found[0] != found[1]
    assert fingerprint(Endpoint.model_validate(plain), LABELS[::-1]) != found[0]


def test_the_way_of_asking_is_no_other_cache() -> None:
    plain = {"url": "http://host:8000", "protocol": "oip", "model": "m"}
    way = {"url": "http://host:8000/", "batch_size": 2, "timeout_s": 1, "retries": 0, "concurrency": 1}
    found = {
        fingerprint(Endpoint.model_validate(given), LABELS) for given in (plain, plain | way | {"api_key_env": "T"})
    }

    assert len(found) == 1


# --- work that breaks off ---


def test_a_run_that_breaks_off_is_taken_up_again(ask: Ask) -> None:
    ask.server.busy = lambda: ask.server.faults.append(Reply(400, {})) if len(ask.server.asked) == 6 else None
    ask.fails(*TEXTS, batch_size=1, concurrency=1, match="answered 400")
    kept = len(ask.on_disk())
    ask.server.asked.clear()
    ask.server.busy = lambda: None
    ask.server.faults.clear()

    found = ask.about(*TEXTS, batch_size=1)

    assert kept >= 4
    assert (found.computed, found.reused) == (10 - kept, kept)
    assert len(ask.server.asked) == 10 - kept
    np.testing.assert_array_equal(found.logits, expected(TEXTS))


def test_answers_are_written_while_others_are_awaited(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_teacher, "SEGMENT_TEXTS", 4)

    found = ask.about(*TEXTS, batch_size=2)

    assert len(list(ask.cache.rglob("segment-*"))) == 3
    np.testing.assert_array_equal(found.logits, expected(TEXTS))
    assert ask.about(*TEXTS).reused == 10


def test_answers_that_come_slowly_are_written_after_a_while(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_teacher, "SEGMENT_SECONDS", -1.0)

    ask.about(*TEXTS, batch_size=2)

    assert len(list(ask.cache.rglob("segment-*"))) == 5


def test_a_damaged_segment_is_asked_for_again(ask: Ask) -> None:
    ask.about(*TEXTS)
    (values,) = ask.cache.rglob("values.npy")
    values.write_bytes(values.read_bytes()[:-1] + b"\x01")

    assert ask.about(*TEXTS).computed == 10
    assert ask.about(*TEXTS).reused == 10


# --- the section of the recipe ---


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"url": "host:8000"}, "url must be http"),
        ({"url": "ftp://host"}, "url must be http"),
        ({"url": "http://"}, "url must be http"),
        ({"url": "http://host:99999"}, "url must be http"),
        ({"url": "http://host/?key=1"}, "no user, no query"),
        ({"url": "http://me:word@host"}, "no user, no query"),
        ({"model": ""}, "at least 1 character"),
        ({"api_key_env": "sk-abc"}, "name of an environment variable"),
        ({"prompt": "{labels} {text}"}, "prompt is read by protocol openai alone"),
        ({"protocol": "openai", "labels": ["a"]}, "labels is read by protocol oip alone"),
        ({"protocol": "openai", "batch_size": 3}, "batch_size is read by protocol oip alone"),
        ({"protocol": "openai", "prompt": "{labels}"}, "prompt has no {text}"),
        ({"protocol": "openai", "prompt": "{text}"}, "prompt has no {labels}"),
        ({"decimals": 0}, "greater than or equal to 1"),
        ({"decimals": 7}, "less than or equal to 6"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"retries": -1}, "greater than or equal to 0"),
        ({"protocol": "grpc"}, "'oip' or 'openai'"),
    ],
)
def test_a_section_with_a_fault_is_refused(change: dict[str, Any], match: str) -> None:
    plain = {"url": "https://host/path", "protocol": "oip", "model": "m"}

    with pytest.raises(ValidationError, match=match):
        Endpoint.model_validate(plain | change)


def test_a_section_reads_what_it_writes() -> None:
    section = Endpoint(url="https://host", protocol="openai", model="m", top_k=2)

    assert Endpoint.model_validate(section.model_dump()) == section
