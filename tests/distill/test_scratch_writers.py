"""Teachers that write, from nothing: checkpoints that transformers loads, and a vocabulary that is always the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from kd_deploy.checkpoint import check_checkpoint
from kd_deploy.distill.scratch_writers import train_bytes, write_scratch_writer, writer_sizes
from kd_deploy.errors import RecipeError
from kd_deploy.recipe import ScratchModel

TEXTS = ("the cat sat on the mat", "die Katze saß auf der Matte", "the hat of the cat", "ein Hut, eine Katze!")
STRANGE = ("", " ", "Ünïcode \t\n  and\x00 日本語 ☃", "two  spaces", "it 's , apart .", "x" * 300)
SIZES = ScratchModel(layers=2, hidden_size=16, attention_heads=2, vocabulary=300)
LENGTH = 24
TASKS: dict[str, Any] = {"text2text": AutoModelForSeq2SeqLM, "text-generation": AutoModelForCausalLM}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {task: tmp_path_factory.mktemp(task) for task in TASKS}
    for task, folder in made.items():
        write_scratch_writer(folder, SIZES, task=task, texts=TEXTS, max_length=LENGTH, seed=3)
    return made


def load(folder: Path, task: str) -> Any:
    return TASKS[task].from_pretrained(folder, local_files_only=True).eval()


@pytest.mark.parametrize(("task", "family"), [("text2text", "bart"), ("text-generation", "gpt2")])
def test_transformers_loads_the_model_with_nothing_missing(folders: dict[str, Path], task: str, family: str) -> None:
    model, told = TASKS[task].from_pretrained(folders[task], local_files_only=True, output_loading_info=True)

    assert check_checkpoint(folders[task])["model_type"] == family
    assert not told["missing_keys"]
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(model.get_input_embeddings().weight) == 300
    assert model.config.max_position_embeddings == LENGTH


@pytest.mark.parametrize("task", TASKS)
def test_configs_name_the_same_tokens_and_force_none(folders: dict[str, Path], task: str) -> None:
    config = check_checkpoint(folders[task])
    generation = GenerationConfig.from_pretrained(folders[task], local_files_only=True)

    assert [config[f"{name}_token_id"] for name in ("pad", "bos", "eos")] == [0, 1, 2]
    assert (generation.pad_token_id, generation.bos_token_id, generation.eos_token_id) == (0, 1, 2)
    assert (generation.forced_bos_token_id, generation.forced_eos_token_id) == (None, None)
    assert config.get("forced_eos_token_id") is None
    start = 1 if task == "text2text" else None
    assert (config.get("decoder_start_token_id"), generation.decoder_start_token_id) == (start, start)


@pytest.mark.parametrize(("task", "side"), [("text2text", "right"), ("text-generation", "left")])
def test_both_libraries_read_the_tokenizer_alike(folders: dict[str, Path], task: str, side: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folders[task], local_files_only=True)
    plain = Tokenizer.from_file(str(folders[task] / "tokenizer.json"))

    assert (tokenizer.padding_side, tokenizer.model_max_length) == (side, LENGTH)
    assert sorted(tokenizer("the cat")) == ["attention_mask", "input_ids"]
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for text in (*TEXTS, *STRANGE):
        assert tokenizer(text)["input_ids"] == plain.encode(text).ids


@pytest.mark.parametrize("task", TASKS)
def test_any_text_comes_back_as_it_was(folders: dict[str, Path], task: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(folders[task], local_files_only=True)

    for text in (*TEXTS, *STRANGE):
        ids = tokenizer(text)["input_ids"]
        assert 3 not in ids, text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@pytest.mark.parametrize(("task", "ends"), [("text2text", [2]), ("text-generation", [])])
def test_a_source_is_closed_and_a_prompt_stays_open(folders: dict[str, Path], task: str, ends: list[int]) -> None:
    tokenizer = Tokenizer.from_file(str(folders[task] / "tokenizer.json"))

    assert tokenizer.encode("").ids == ends
    assert [one for one in tokenizer.encode("the cat").ids if one < 4] == ends
    assert [one for one in tokenizer.encode("the cat", "sat").ids if one < 4] == 2 * ends


@pytest.mark.parametrize("task", TASKS)
def test_it_writes_as_far_as_its_positions_go(folders: dict[str, Path], task: str) -> None:
    model = load(folders[task], task)
    ids = torch.randint(4, 300, (2, 5 if task == "text-generation" else LENGTH))

    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_length=LENGTH,
        min_length=LENGTH,
        do_sample=False,
        suppress_tokens=[2],
    )

    assert written.shape == (2, LENGTH)


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_gives_the_weights(folders: dict[str, Path], task: str, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    for folder, seed in ((again, 3), (other, 4)):
        folder.mkdir()
        write_scratch_writer(folder, SIZES, task=task, texts=TEXTS, max_length=LENGTH, seed=seed)

    first, second, third = ((one / "model.safetensors").read_bytes() for one in (folders[task], again, other))
    assert first == second
    assert first != third


@pytest.mark.parametrize("task", TASKS)
def test_a_start_is_near_to_knowing_nothing_and_learns(folders: dict[str, Path], task: str) -> None:
    torch.manual_seed(0)
    model = load(folders[task], task)
    ids = torch.randint(4, 300, (4, 12))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    assert losses[0] == pytest.approx(torch.log(torch.tensor(300.0)).item(), abs=0.7)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize(("width", "std"), [(768, 0.02), (192, 0.04)])
@pytest.mark.parametrize(("task", "name"), [("text2text", "init_std"), ("text-generation", "initializer_range")])
def test_narrow_layers_begin_with_larger_weights(task: str, name: str, width: int, std: float) -> None:
    config = writer_sizes(ScratchModel(hidden_size=width), task=task, vocabulary=300, max_length=8)

    assert getattr(config, name) == pytest.approx(std)


def test_the_same_texts_give_the_same_entries_in_every_process() -> None:
    code = (
        "import sys, json\n"
        "from kd_deploy.distill.scratch_writers import train_bytes\n"
        "print(train_bytes(json.loads(sys.argv[1]), vocabulary=400, ended=True).to_str())\n"
    )
    texts = [*TEXTS, *STRANGE[2:5], "abab baba aabb bbaa", "one two three four five six seven eight nine ten"]

    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(texts)], capture_output=True, encoding="utf-8", check=True
    )

    assert json.loads(done.stdout) == json.loads(train_bytes(texts, vocabulary=400, ended=True).to_str())


def test_a_vocabulary_has_all_bytes_and_as_many_entries_as_asked_for() -> None:
    nothing, some = train_bytes([], vocabulary=300, ended=False), train_bytes(TEXTS, vocabulary=280, ended=False)

    assert nothing.get_vocab_size() == 260
    assert some.get_vocab_size() == 280
    assert len(some.encode("the").ids) < 3
    assert train_bytes(["lone \ud800"], vocabulary=300, ended=False).encode("lone").ids


def test_a_vocabulary_without_room_for_every_byte_is_refused(tmp_path: Path) -> None:
    settings = ScratchModel(vocabulary=259)

    with pytest.raises(RecipeError, match="vocabulary 259 has no room") as caught:
        write_scratch_writer(tmp_path, settings, task="text2text", texts=TEXTS, max_length=8, seed=0)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())
