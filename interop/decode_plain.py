"""Models that write inside another program, with numpy, onnxruntime and tokenizers alone: copy what you need.

Each step reads the new tokens and what the steps before left: `past...` goes in, `present...` comes out and is the next
step's past. The likeliest token is taken every time, for one text at a time.

python interop/decode_plain.py runs/shakespeare/student "Good morrow, "
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Written = tuple[str, list[int]]  # a text and its tokens
Write = Callable[[str, int], Written]  # for a text, with so many new tokens at most

STARTS = ("decoder_start_token_id", "forced_bos_token_id")  # a text begins with one of them, or with both


def open_language_model(folder: Path, suffix: str = "") -> Write:
    """What goes on with a prompt: model.onnx, which takes keys and values of all tokens read so far."""
    config, tokenizer = _config(folder), _tokenizer(folder)
    session = _session(folder, f"model{suffix}")
    pasts = {one.name: one.shape for one in session.get_inputs() if one.name.startswith("past_key_values.")}
    presents = [name.replace("past_key_values", "present") for name in pasts]

    def write(prompt: str, new_tokens: int) -> Written:
        new, read = list[int](), tokenizer.encode(prompt).ids
        # past_key_values.N.key and .value, N from 0: [batch, heads, tokens read so far, width of a head], float32.
        past = {name: np.zeros((1, heads, 0, width), dtype=np.float32) for name, (_, heads, _, width) in pasts.items()}
        seen = 0
        while len(new) < new_tokens:
            places = np.arange(seen, seen + len(read))
            feeds = {
                "input_ids": np.array([read], dtype=np.int64),  # [batch, new]: the whole prompt, then a token a time
                "attention_mask": np.ones((1, seen + len(read)), dtype=np.int64),  # [batch, old and new]
                "position_ids": places[None],  # [batch, new]: of each token among those that are no padding
            }
            logits, *kept = session.run(["logits", *presents], feeds | past)  # [batch, new, vocabulary]
            past = dict(zip(pasts, kept, strict=True))
            seen += len(read)
            token = int(logits[0, -1].argmax())
            if token == config["eos_token_id"]:
                break
            new.append(token)
            read = [token]
        return tokenizer.decode(new), new

    return write


def open_lstm_pair(folder: Path, suffix: str = "") -> Write:
    """What answers a source: encoder_model.onnx reads it once, decoder_model_merged.onnx goes from state to state."""
    config, tokenizer = _config(folder), _tokenizer(folder)
    limits = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer.enable_truncation(limits["model_max_length"])
    encoder, decoder = _session(folder, f"encoder_model{suffix}"), _session(folder, f"decoder_model_merged{suffix}")
    # hidden and cell of the decoder's LSTM: [batch, layers, width]. attended, what was made of the source at the last
    # token: [batch, its width]; zeros where config.json has no input_feeding. All float32, of one size at every step.
    names = ("hidden", "cell", "attended")
    pasts, presents = [[f"{when}_state.{name}" for name in names] for when in ("past", "present")]

    def write(source: str, new_tokens: int) -> Written:
        ids = np.array([tokenizer.encode(source).ids], dtype=np.int64)
        mask = np.ones_like(ids)
        states, *state = encoder.run(["last_hidden_state", *presents], {"input_ids": ids, "attention_mask": mask})
        new, given = list[int](), [config[name] for name in STARTS if name in config]
        while len(new) < new_tokens:
            feeds = {
                "input_ids": np.array([given], dtype=np.int64),  # [batch, new]
                "encoder_attention_mask": mask,  # [batch, source]
                "encoder_hidden_states": states,  # [batch, source, width]
                **dict(zip(pasts, state, strict=True)),
            }
            logits, *state = decoder.run(["logits", *presents], feeds)  # [batch, new, vocabulary]
            token = int(logits[0, -1].argmax())
            if token == config["eos_token_id"]:
                break
            new.append(token)
            given = [token]
        return tokenizer.decode(new), new

    return write


def _config(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / "onnx" / f"{name}.onnx", providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    place = Path(sys.argv[1])
    opened = open_lstm_pair if (place / "onnx" / "encoder_model.onnx").exists() else open_language_model
    print(opened(place)(sys.argv[2], 64)[0])
