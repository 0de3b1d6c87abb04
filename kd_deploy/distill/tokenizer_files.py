"""A checkpoint's tokenizer as files: tokenizer.json, its settings, its pad token, its length limit."""

import tempfile
from pathlib import Path
from typing import Any

from kd_deploy.checkpoint import check_checkpoint, read_settings
from kd_deploy.errors import BundleError
from kd_deploy.runtime.loading import length_in, positions_in
from kd_deploy.tasks.encoding import open_tokenizer

TOKENIZER_CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "mpnet": "MPNetTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")
KEPT_TOKENIZER_KEYS = (
    "add_prefix_space", "bos_token", "clean_up_tokenization_spaces", "cls_token", "do_lower_case", "eos_token",
    "mask_token", "model_input_names", "pad_token", "sep_token",
    "strip_accents", "tokenize_chinese_chars", "trim_offsets", "unk_token",
)  # fmt: skip


def tokenizer_file(folder: Path) -> Path:
    """The tokenizer.json of a folder, made from the older files where there is none.

    Raises:
        BundleError: The folder holds no tokenizer.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        return path
    if not any(found for pattern in VOCABULARIES for found in folder.glob(pattern)):
        # transformers would make a tokenizer of special tokens alone.
        raise BundleError(f"{folder} holds no tokenizer", hint="save the tokenizer there")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        made = Path(tempfile.mkdtemp(prefix="kd-deploy-")) / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(made))
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise BundleError(
            f"{folder} holds no tokenizer.json, and none can be made", hint="save the tokenizer there"
        ) from error
    return made


def pad_id_of(folder: Path) -> int:
    """The id that fills a batch up, from the config or from the tokenizer's pad token."""
    config = check_checkpoint(folder)
    if isinstance(config.get("pad_token_id"), int):
        return int(config["pad_token_id"])
    tokenizer = open_tokenizer(tokenizer_file(folder))
    token = tokenizer_settings(folder, str(config.get("model_type"))).get("pad_token", "[PAD]")
    # Older files hold a token with its settings.
    found = tokenizer.token_to_id(str(token.get("content") if isinstance(token, dict) else token))
    if found is None and isinstance(config.get("eos_token_id"), int):
        return int(config["eos_token_id"])  # as GPT-2 is padded; nobody looks at padding
    if found is None:
        raise BundleError(f"{folder} names no pad token", hint="set pad_token_id in its config.json")
    return int(found)


def max_positions(folder: Path) -> int | None:
    """How many tokens the model has positions for; None where nothing limits them."""
    return positions_in(check_checkpoint(folder))


def default_max_length(folder: Path, *, limit: int) -> int:
    """The length limit of a checkpoint that came without a recipe: its tokenizer's, its positions', at most `limit`."""
    return length_in(check_checkpoint(folder), read_settings(folder / "tokenizer_config.json"), limit=limit)


def tokenizer_settings(folder: Path, model_type: str) -> dict[str, Any]:
    """What tokenizer_config.json is to say, in a form that transformers 4, 5 and transformers.js read alike."""
    have = read_settings(folder / "tokenizer_config.json")
    kept = {key: have[key] for key in KEPT_TOKENIZER_KEYS if have.get(key) is not None}
    fast = str(have.get("tokenizer_class") or "").removesuffix("Fast")
    known = fast if fast not in ("", "TokenizersBackend", "PreTrainedTokenizer") else ""
    return kept | {
        "tokenizer_class": known or TOKENIZER_CLASSES.get(model_type, "PreTrainedTokenizerFast"),
        "padding_side": "right",
        "truncation_side": "right",
    }


def writer_settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json of a model that writes is to say besides, where its checkpoint does not."""
    tokenizer = open_tokenizer(tokenizer_file(folder))
    ends = check_checkpoint(folder).get("eos_token_id")
    numbers = {"pad_token": pad_id_of(folder), "eos_token": ends[0] if isinstance(ends, list) and ends else ends}
    tokens = {name: tokenizer.id_to_token(one) for name, one in numbers.items() if isinstance(one, int)}
    return {
        "clean_up_tokenization_spaces": False,  # transformers.js would take spaces out of what was written
        "model_input_names": ["input_ids", "attention_mask"],  # transformers 4 would add token types, and fail by them
        **{name: token for name, token in tokens.items() if token is not None},
    }
