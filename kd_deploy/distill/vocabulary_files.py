"""What a tokenizer.json says of its entries, and the same file for fewer of them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers

from kd_deploy.distill.vocabulary_merges import kept_merges
from kd_deploy.errors import BundleError, RecipeError

KINDS = ("WordPiece", "BPE", "Unigram", "WordLevel")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
WHOLE = "student.vocabulary: full keeps the tokenizer as it is"
CHILDREN = ("normalizers", "pretokenizers", "processors")


def read_document(path: Path) -> dict[str, Any]:
    """The content of a tokenizer.json whose vocabulary can be pruned.

    Raises:
        BundleError: The file is not a tokenizer.
        RecipeError: Its model is of a kind whose entries cannot be removed one by one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        kind = document["model"].get("type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is not a tokenizer: {error}", hint="save the tokenizer again") from error
    if kind is not None and kind not in KINDS:  # Older files name no kind, and are told apart by their keys.
        raise RecipeError(
            f"student.vocabulary: {path} holds a tokenizer of the kind {kind!r}; pruned are {', '.join(KINDS)}",
            hint=WHOLE,
        )
    return rewritten(document, place=str(path))


def rewritten(document: dict[str, Any], *, place: str = "the document") -> dict[str, Any]:
    """The same tokenizer in the library's present form: kind named, merges as pairs, true ids of added tokens.

    Raises:
        BundleError: The document is not a tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{place} is not a tokenizer: {error}", hint="save the tokenizer again") from error
    written: dict[str, Any] = json.loads(tokenizer.to_str())
    if written["model"]["type"] == "Unigram":
        # The library reads some numbers a last digit off, and equal paths through a word would be told apart by it.
        written["model"]["vocab"] = document["model"]["vocab"]
    return written


def prune(document: dict[str, Any], kept: Sequence[int] | NDArray[Any]) -> dict[str, Any]:
    """The tokenizer.json of the same tokenizer with the kept entries alone; the new id is the index in `kept`.

    A text is cut into the same pieces as before wherever all of them are kept, with one exception: a word that
    WordPiece could not spell, and gave as the unknown token, may now fall into pieces.

    Args:
        document: The content of a tokenizer.json.
        kept: Ids to keep, ascending. A BPE entry needs those that its merges pass through, and a Unigram model
            its entry of lowest score; `choose_entries` sees to both.

    Returns:
        A new document; the one given is left alone.

    Raises:
        BundleError: The document is not a tokenizer.
        ValueError: `kept` is not ascending, has an id without an entry, or lacks one that the file names.
    """
    document = rewritten(document)  # A copy: what is changed in place is ours.
    new_ids = {int(old): new for new, old in enumerate(kept)}
    _check_kept(document, list(new_ids), length=len(kept))
    _renumber(document["post_processor"], new_ids)
    return document | {
        "added_tokens": [token | {"id": new_ids[token["id"]]} for token in document["added_tokens"]],
        "model": document["model"] | _model_parts(document["model"], new_ids),
        "padding": _pruned_padding(document["padding"], new_ids),
    }


def entries_of(document: dict[str, Any]) -> dict[int, str]:
    """Every entry by its id, added tokens included."""
    entries = {entry_id: entry for entry, entry_id in _model_entries(document["model"])}
    return entries | {token["id"]: token["content"] for token in document["added_tokens"]}


def unknown_id(model: dict[str, Any]) -> int | None:
    """The id that stands for what the vocabulary cannot spell; None where there is none."""
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else int(model["unk_id"])
    found: int | None = model["vocab"].get(model["unk_token"])
    return found


def required_ids(document: dict[str, Any], counts: NDArray[Any]) -> set[int]:
    """The ids without which texts would fail to tokenise, or rare words would become unknown.

    These are what the file names itself (added tokens, unknown token, post-processor, padding), and what a rare
    word falls into: the bytes, where the tokenizer works on bytes, or else the single characters that the corpus
    uses. Where nothing stands for an unknown character, they are all single characters.

    Args:
        document: As `rewritten` gives it.
        counts: How often the corpus uses each id, [V].

    Raises:
        RecipeError: A WordPiece or WordLevel model without an unknown token: it fails at words it does not know.
    """
    model = document["model"]
    unknown = unknown_id(model)
    if unknown is None and model["type"] in ("WordPiece", "WordLevel"):
        raise RecipeError(
            f"student.vocabulary: the tokenizer has no entry {model['unk_token']!r} for words it does not know",
            hint=WHOLE,
        )
    required = _named_ids(document)
    if model["type"] == "Unigram":
        # An unknown character costs a fixed amount more than the lowest score: with that entry gone, it would be
        # cheaper than before, and beat pieces that are kept.
        required.add(min(range(len(model["vocab"])), key=lambda entry_id: model["vocab"][entry_id][1]))
    if model["type"] == "WordLevel":
        return required
    ids = dict(_model_entries(model))
    return required | {ids[form] for form in _spelling_forms(document, counts) if form in ids}


def _named_ids(document: dict[str, Any]) -> set[int]:
    named = {token["id"] for token in document["added_tokens"]}
    named.add(unknown_id(document["model"]))
    if document["padding"]:
        named.add(document["padding"]["pad_id"])
    for step in _steps(document["post_processor"]):
        named.update(entry_id for _, entry_id in _end_pairs(step))
        named.update(entry_id for token in _template_tokens(step) for entry_id in token["ids"])
    # A pad id may lie beyond the vocabulary: the library does not check it.
    return named & entries_of(document).keys()


def _spelling_forms(document: dict[str, Any], counts: NDArray[Any]) -> Iterator[str]:
    model = document["model"]
    entries = dict(_model_entries(model))
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    bodies = {entry: entry.removeprefix(prefix).removesuffix(suffix) for entry in entries}
    letters: Iterable[str]
    if model.get("byte_fallback") and entries.keys() >= set(BYTES):
        return iter(BYTES)
    if any(step["type"] == "ByteLevel" for part in ("normalizer", "pre_tokenizer") for step in _steps(document[part])):
        letters = pre_tokenizers.ByteLevel.alphabet()
    elif unknown_id(model) is None:
        letters = {body for body in bodies.values() if len(body) == 1}
    else:
        named = _named_ids(document)
        used = (entry for entry, entry_id in entries.items() if counts[entry_id] and entry_id not in named)
        letters = {letter for entry in used for letter in bodies[entry]}
    return (before + letter + after for letter, before, after in product(letters, {"", prefix}, {"", suffix}))


def _model_entries(model: dict[str, Any]) -> Iterator[tuple[str, int]]:
    if model["type"] == "Unigram":
        return ((entry, entry_id) for entry_id, (entry, _) in enumerate(model["vocab"]))
    return iter(model["vocab"].items())


def _steps(section: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    # A normalizer, a pre-tokenizer, a post-processor: one step, or a sequence of them.
    if section is not None:
        yield section
        for child in (child for key in CHILDREN for child in section.get(key, ())):
            yield from _steps(child)


def _end_pairs(step: dict[str, Any]) -> list[list[Any]]:
    return [step[end] for end in ("sep", "cls")] if step["type"] in ("BertProcessing", "RobertaProcessing") else []


def _template_tokens(step: dict[str, Any]) -> list[dict[str, Any]]:
    return list(step["special_tokens"].values()) if step["type"] == "TemplateProcessing" else []


def _check_kept(document: dict[str, Any], kept: list[int], *, length: int) -> None:
    if len(kept) != length or kept != sorted(kept):
        raise ValueError("kept ids must be ascending, each once")
    entries, named = entries_of(document), _named_ids(document)
    if strange := set(kept) - entries.keys():
        raise ValueError(f"the tokenizer has no entry {min(strange)}")
    if missing := named - set(kept):
        raise ValueError(f"the tokenizer names {entries[min(missing)]!r}, and it is not kept")


def _model_parts(model: dict[str, Any], new_ids: dict[int, int]) -> dict[str, Any]:
    if model["type"] == "Unigram":
        pieces = [piece for old, piece in enumerate(model["vocab"]) if old in new_ids]
        return {"vocab": pieces, "unk_id": new_ids.get(model["unk_id"])}
    vocabulary = {entry: new_ids[old] for entry, old in model["vocab"].items() if old in new_ids}
    if model["type"] != "BPE":
        return {"vocab": vocabulary}
    return {"vocab": vocabulary, "merges": kept_merges(model, vocabulary)}


def _pruned_padding(padding: dict[str, Any] | None, new_ids: dict[int, int]) -> dict[str, Any] | None:
    return padding and padding | {"pad_id": new_ids.get(padding["pad_id"], padding["pad_id"])}


def _renumber(processor: dict[str, Any] | None, new_ids: dict[int, int]) -> None:
    for step in _steps(processor):
        for pair in _end_pairs(step):
            pair[1] = new_ids.get(pair[1], pair[1])
        for token in _template_tokens(step):
            token["ids"] = [new_ids.get(old, old) for old in token["ids"]]
