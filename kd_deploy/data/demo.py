"""The embedded demo corpus: requests to a support desk in twelve intents, made by rule from a seed.

Hard enough to be worth training on: intents share words, some phrasings never occur
in train, word order decides between two wishes, and texts carry noise.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kd_deploy.data.demo_parts import CONTRASTS, FILLERS, GREETINGS, SLOTS, TRAILERS, WISHES
from kd_deploy.data.demo_phrases import HELD_OUT, SEEN
from kd_deploy.files import write_text

INTENTS = tuple(SEEN)
HELD_OUT_SHARE = 0.25
CONTRAST_SHARE = 0.35
LABEL_NOISE = 0.02
FILLER_SHARE = 0.2
GREETING_SHARE = 0.2
TRAILER_SHARE = 0.3

Example = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoCorpus:
    """Pairs of text and label; no text stands in two splits."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


def generate(*, seed: int = 0, train: int = 6000, validation: int = 600, test: int = 1200) -> DemoCorpus:
    """The corpus of a seed: the same on every machine, every intent equally often in every split.

    About 2 % of the labels in train are wrong, none elsewhere.
    """
    rng = random.Random(seed)  # noqa: S311  (a corpus, not a secret)
    taken: set[str] = set()
    held_back = {
        name: _split(rng, count, taken=taken, held_out=HELD_OUT_SHARE)
        for name, count in (("test", test), ("validation", validation))
    }
    clean = _split(rng, train, taken=taken, held_out=0.0)
    noisy = tuple((text, _mislabel(rng, label)) for text, label in clean)
    return DemoCorpus(train=noisy, **held_back)


def write(folder: Path, corpus: DemoCorpus) -> None:
    """Write train.jsonl, validation.jsonl and test.jsonl.

    Raises:
        UsageError: The folder cannot be written.
    """
    for name in ("train", "validation", "test"):
        rows = getattr(corpus, name)
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
        write_text(folder / f"{name}.jsonl", "".join(lines))


def _split(rng: random.Random, count: int, *, taken: set[str], held_out: float) -> tuple[Example, ...]:
    examples = []
    for index in range(count):
        intent = INTENTS[index % len(INTENTS)]
        text = _text(rng, intent, held_out)
        while text.casefold() in taken:
            text = _text(rng, intent, held_out)
        taken.add(text.casefold())
        examples.append((text, intent))
    rng.shuffle(examples)
    return tuple(examples)


def _text(rng: random.Random, intent: str, held_out: float) -> str:
    if rng.random() < CONTRAST_SHARE:
        text = _contrast(rng, intent)
    else:
        phrases = HELD_OUT if rng.random() < held_out else SEEN
        text = rng.choice(phrases[intent])
    if rng.random() < FILLER_SHARE:
        text = f"{rng.choice(FILLERS)} {text}"
    if rng.random() < GREETING_SHARE:
        text = f"{rng.choice(GREETINGS)}, {text}"
    if rng.random() < TRAILER_SHARE:
        text = f"{text}, {rng.choice(TRAILERS)}"
    text = _fill(rng, text)
    for change, share in NOISE:
        if rng.random() < share:
            text = change(rng, text)
    return text


def _contrast(rng: random.Random, intent: str) -> str:
    other = rng.choice([name for name in INTENTS if name != intent])
    frame = rng.choice(CONTRASTS)
    return frame.replace("{yes}", rng.choice(WISHES[intent])).replace("{no}", rng.choice(WISHES[other]))


def _fill(rng: random.Random, text: str) -> str:
    while "{" in text:
        before, _, rest = text.partition("{")
        slot, _, after = rest.partition("}")
        text = f"{before}{_value(rng, slot)}{after}"
    return text


def _value(rng: random.Random, slot: str) -> str:
    if slot == "order":
        return f"{rng.choice(('', '#', 'number '))}{rng.randrange(10_000, 100_000)}"
    if slot == "amount":
        return f"{rng.randrange(5, 400)} {rng.choice(('euro', 'dollars', 'pounds'))}"
    return rng.choice(SLOTS[slot])


def _mislabel(rng: random.Random, label: str) -> str:
    if rng.random() >= LABEL_NOISE:
        return label
    return rng.choice([other for other in INTENTS if other != label])


def _typo(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) - 1)
    return rng.choice(
        (
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + text[at + 1 :],
        )
    )


def _drop_word(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    del words[rng.randrange(len(words))]
    return " ".join(words) or text


def _recase(rng: random.Random, text: str) -> str:
    return rng.choice((text.upper(), text.title(), text.capitalize(), text.capitalize()))


def _punctuate(rng: random.Random, text: str) -> str:
    return text + rng.choice((".", "!", "?", "...", "!!", "??"))


NOISE: tuple[tuple[Callable[[random.Random, str], str], float], ...] = (
    (_drop_word, 0.1),
    (_typo, 0.3),
    (_typo, 0.1),
    (_recase, 0.35),
    (_punctuate, 0.4),
)
