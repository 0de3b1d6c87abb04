"""Checkpoints that come in: which are refused; and those that go out: who can load them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import find_model, labels_of, load_model, save_model
from kd_deploy.distill.scratch_writers import write_scratch_writer
from kd_deploy.distill.tokenizer_files import max_positions, pad_id_of, tokenizer_file
from kd_deploy.distill.torch_runner import TorchRunner, open_encoder
from kd_deploy.errors import BundleError
from kd_deploy.recipe import ScratchModel
from kd_deploy.tasks.task import LabelSpace
from tests import tiny

TAGS = LabelSpace(task="token-classification", names=("O", "B-X"), problem_type="single_label_classification")
VECTORS = LabelSpace(task="sentence-embedding", names=(), problem_type="regression")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def change(folder: Path, name: str = "config.json", **fields: Any) -> None:
    path = folder / name
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def link_out(folder: Path) -> None:
    (folder / "vocab.txt").symlink_to("/etc/hostname")


def link_weights(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to("../elsewhere")


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "a broken config": (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    "a config of another form": (lambda folder: (folder / "config.json").write_text("[1]"), "holds no settings"),
    "a broken tokenizer_config": (
        lambda folder: (folder / "tokenizer_config.json").write_text("{"),
        r"tokenizer_config.json is not valid JSON",
    ),
    "a broken generation_config": (
        lambda folder: (folder / "generation_config.json").write_text("[]"),
        r"generation_config.json holds no settings",
    ),
    "pickle alone": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"pickle \(pytorch_model.bin\)",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    "remote code": (lambda folder: change(folder, auto_map={"AutoModel": "code.Model"}), "auto_map"),
    "a link out of the folder": (link_out, "link out of"),
    "weights that are a link out": (link_weights, "link out of"),
}


@pytest.mark.parametrize("fault", list(SPOILED))
def test_what_cannot_be_trusted_is_refused(copy: Path, fault: str) -> None:
    spoil, message = SPOILED[fault]
    spoil(copy)

    for use in (lambda: find_model(str(copy)), lambda: load_model(copy), lambda: labels_of(copy)):
        with pytest.raises(BundleError, match=message) as caught:
            use()
        assert caught.value.hint


def test_pickle_beside_safetensors_is_never_read(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"not even pickle")

    assert load_model(copy)


def test_the_hubs_own_links_are_allowed(checkpoint: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(checkpoint.iterdir()):
        shutil.copyfile(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")

    assert find_model(str(snapshot)) == snapshot


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def narrow(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: value[:1].clone() for name, value in weights.items()}, folder / "model.safetensors")


BROKEN: dict[str, Callable[[Path], Any]] = {
    "cut off": cut,
    "not safetensors": lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 50),
    "other shapes": narrow,
}


@pytest.mark.parametrize("fault", list(BROKEN))
@pytest.mark.parametrize("kind", ["bert_bundle", "bilstm_bundle"])
def test_weights_that_do_not_load_are_named(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, fault: str
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    folder = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    BROKEN[fault](folder)

    with pytest.raises(BundleError, match="does not load"):
        load_model(folder)


def test_a_bilstm_without_its_sizes_is_named(bilstm_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bilstm_bundle.path, tmp_path / "copy"))
    change(folder, head_size=None)

    with pytest.raises(BundleError, match="does not load"):
        load_model(folder)


def test_a_family_that_is_no_classifier_is_named(copy: Path) -> None:
    change(copy, model_type="whisper_of_nothing")

    with pytest.raises(BundleError, match="does not load: "):
        load_model(copy)


def test_a_hub_id_goes_through_the_hubs_client(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)

    assert find_model("owner/name") == checkpoint
    ((name, options),) = asked
    assert name == "owner/name"
    assert not {"*.bin", "*.py", "*.pt"} & set(options["allow_patterns"])


def test_a_hub_without_the_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*_: object, **__: object) -> str:
        raise OSError("no route\nto anywhere")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)

    with pytest.raises(BundleError, match=r"owner/name.*no route$"):
        find_model("owner/name")


@pytest.mark.parametrize("reference", ["./nothing", "/nothing/here", "a/b/c", "~/nothing"])
def test_a_path_is_not_looked_for_on_the_hub(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))

    with pytest.raises(BundleError, match="there is no model folder"):
        find_model(reference)


def test_what_is_no_model_folder_is_told_apart(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    copy.rename(tmp_path / "run" / "student")
    (tmp_path / "rows.jsonl").touch()

    with pytest.raises(BundleError, match=r"rows\.jsonl is a file, and a model is a folder"):
        find_model(str(tmp_path / "rows.jsonl"))
    with pytest.raises(BundleError, match="run is not a checkpoint") as caught:
        find_model(str(tmp_path / "run"))
    assert caught.value.hint == f"it is the folder of a run: name {tmp_path / 'run' / 'student'}"


def test_the_pad_token_is_the_configs_or_the_tokenizers(copy: Path) -> None:
    assert pad_id_of(copy) == 0
    change(copy, pad_token_id=7)
    assert pad_id_of(copy) == 7
    change(copy, pad_token_id=None)
    change(copy, "tokenizer_config.json", pad_token="[MASK]")  # noqa: S106
    assert pad_id_of(copy) == 4
    change(copy, "tokenizer_config.json", pad_token={"__type": "AddedToken", "content": "[SEP]"})
    assert pad_id_of(copy) == 3


def test_a_model_without_a_pad_token_is_refused(copy: Path) -> None:
    change(copy, pad_token_id=None)
    change(copy, "tokenizer_config.json", pad_token="[NOTHING]")  # noqa: S106

    with pytest.raises(BundleError, match="pad token"):
        pad_id_of(copy)


@pytest.mark.parametrize(
    ("fields", "names", "multi"),
    [
        ({}, ("bad", "good"), False),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ("0", "1"), False),
        ({"id2label": {str(k): f"c{k}" for k in range(11)}}, tuple(f"c{k}" for k in range(11)), False),
        ({"problem_type": "multi_label_classification"}, ("bad", "good"), True),
        ({"id2label": None}, ("0", "1"), False),
    ],
)
def test_the_classes_are_those_of_the_config(
    copy: Path, fields: dict[str, Any], names: tuple[str, ...], multi: bool
) -> None:
    change(copy, **fields)

    labels = labels_of(copy)

    assert labels is not None
    assert (labels.names, labels.is_multi) == (names, multi)


def test_a_model_without_a_head_has_no_classes(copy: Path) -> None:
    change(copy, architectures=["BertForPreTraining"])

    assert labels_of(copy) is None


def test_an_encoder_alone_gives_vectors_and_no_classes(copy: Path) -> None:
    change(copy, architectures=["BertModel"])

    labels = labels_of(copy)

    assert labels is not None
    assert (labels.task, labels.names) == ("sentence-embedding", ())
    assert labels_of(copy, "text-classification") is None


@pytest.mark.parametrize(
    ("family", "pad", "room"), [("bert", 0, 514), ("roberta", 1, 512), ("xlm-roberta", 1, 512), ("mpnet", 1, 512)]
)
def test_the_roberta_family_has_fewer_positions_than_it_says(copy: Path, family: str, pad: int, room: int) -> None:
    change(copy, model_type=family, pad_token_id=pad, max_position_embeddings=514)

    assert max_positions(copy) == room


def test_a_tokenizer_json_is_made_from_the_older_files(copy: Path) -> None:
    vocabulary = json.loads((copy / "tokenizer.json").read_text())["model"]["vocab"]
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))

    made = tokenizer_file(copy)

    assert json.loads(made.read_text())["model"]["vocab"] == vocabulary
    assert not (made.parent / "model.safetensors").exists()
    assert not (copy / "tokenizer.json").exists()


def test_a_folder_without_a_tokenizer_is_named(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()

    with pytest.raises(BundleError, match="tokenizer"):
        tokenizer_file(copy)


@pytest.mark.parametrize("kind", ["bert_bundle", "bilstm_bundle"])
def test_what_we_write_says_what_other_loaders_need(request: pytest.FixtureRequest, kind: str) -> None:
    bundle: Bundle = request.getfixturevalue(kind)

    config = json.loads((bundle.path / "config.json").read_text())
    tokenizer = json.loads((bundle.path / "tokenizer_config.json").read_text())

    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert config["label2id"] == {"bad": 0, "good": 1}
    assert config["problem_type"] == "single_label_classification"
    assert config["pad_token_id"] == 0
    assert tokenizer["tokenizer_class"] == "BertTokenizer"
    assert tokenizer["model_max_length"] == tiny.MAX_LENGTH
    assert tokenizer["padding_side"] == "right"
    assert not [path for path in bundle.path.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_how_a_tokenizer_treats_spaces_is_kept(copy: Path, tmp_path: Path) -> None:
    change(copy, "tokenizer_config.json", add_prefix_space=True, trim_offsets=False)
    (tmp_path / "saved").mkdir()

    save_model(load_model(copy), tmp_path / "saved", labels=tiny.SINGLE, max_length=9, tokenizer_from=copy)

    written = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert (written["add_prefix_space"], written["trim_offsets"]) == (True, False)


@pytest.mark.parametrize("stated", ["TokenizersBackend", "PreTrainedTokenizer", "BertTokenizerFast", None])
def test_a_tokenizer_class_is_always_an_architectures_own(copy: Path, tmp_path: Path, stated: str | None) -> None:
    change(copy, "tokenizer_config.json", tokenizer_class=stated)
    (tmp_path / "saved").mkdir()

    save_model(load_model(copy), tmp_path / "saved", labels=tiny.SINGLE, max_length=9, tokenizer_from=copy)

    written = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert (written["tokenizer_class"], written["model_max_length"]) == ("BertTokenizer", 9)


@pytest.mark.parametrize("task", ["text2text", "text-generation"])
@pytest.mark.parametrize("stated", [{}, {"clean_up_tokenization_spaces": True, "pad_token": "<unk>"}])
def test_a_model_that_writes_says_what_its_checkpoint_leaves_unsaid(
    tmp_path: Path, task: str, stated: dict[str, Any]
) -> None:
    sizes = ScratchModel(layers=1, hidden_size=16, attention_heads=2, vocabulary=280)
    come, gone = tmp_path / "come", tmp_path / "gone"
    come.mkdir()
    gone.mkdir()
    write_scratch_writer(come, sizes, task=task, texts=["a text"], max_length=16, seed=0)
    (come / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16, **stated}))
    labels = labels_of(come)
    assert labels is not None

    save_model(load_model(come), gone, labels=labels, max_length=16, tokenizer_from=come)

    unsaid = {"clean_up_tokenization_spaces": False, "pad_token": "<pad>", "eos_token": "</s>"}
    written = json.loads((gone / "tokenizer_config.json").read_text())
    assert written["model_input_names"] == ["input_ids", "attention_mask"]
    assert {name: written[name] for name in unsaid} == unsaid | stated


def test_transformers_loads_what_we_write_and_answers_alike(bert_bundle: Bundle, test_rows: Any) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bert_bundle.path)
    theirs = AutoModelForSequenceClassification.from_pretrained(bert_bundle.path).eval()
    texts = list(test_rows.inputs[:8])
    arrays = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")

    with torch.inference_mode():
        left, right = theirs(**arrays).logits, load_model(bert_bundle.path)(**arrays).logits

    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)
    encoder = tokenizer_file(bert_bundle.path)
    assert encoder == bert_bundle.path / "tokenizer.json"
    assert (tokenizer.model_max_length, tokenizer.pad_token_id) == (tiny.MAX_LENGTH, 0)
    assert theirs.config.id2label == {0: "bad", 1: "good"}


def test_a_bilstm_comes_back_as_it_was(bilstm_bundle: Bundle, tmp_path: Path) -> None:
    model = load_model(bilstm_bundle.path)
    save_model(model, tmp_path, labels=tiny.SINGLE, max_length=8, tokenizer_from=bilstm_bundle.path)

    again = load_model(tmp_path).state_dict()

    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_a_bilstm_gets_a_new_head_for_other_labels(bilstm_bundle: Bundle) -> None:
    old = load_model(bilstm_bundle.path).state_dict()

    made = load_model(bilstm_bundle.path, labels=tiny.MULTI)
    tagger = load_model(bilstm_bundle.path, labels=TAGS)

    assert made.state_dict()["classifier.weight"].shape[0] == len(tiny.MULTI.names) != old["classifier.weight"].shape[0]
    for model in (made, tagger):
        for name in ("embedding.weight", "lstm.weight_hh_l0"):
            assert torch.equal(model.state_dict()[name], old[name])
    ids = torch.tensor([[1, 2, 3]])
    assert tagger(ids, torch.ones_like(ids)).logits.shape == (1, 3, 2)
    with pytest.raises(BundleError, match="no kd-bilstm has the head 'vector'"):
        load_model(bilstm_bundle.path, labels=VECTORS)


def test_a_head_without_weights_is_not_filled_with_random_numbers(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(BundleError, match=r"lacks the weight classifier\.bias"):
        load_model(copy)
    assert load_model(copy, labels=tiny.SINGLE) is not None


def test_a_body_without_weights_is_no_start_for_other_labels(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    renamed = {f"module.{name}": value for name, value in weights.items()}
    save_file(renamed, copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(BundleError, match=r"lacks the weight bert\."):
        load_model(copy, labels=tiny.SINGLE)


def test_a_pooling_layer_is_made_anew_with_the_head(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name and "classifier" not in name}
    assert len(kept) == len(weights) - 4
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})

    assert load_model(copy, labels=tiny.SINGLE) is not None


def test_an_encoder_decoder_that_classifies_answers_as_transformers_says(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import BartConfig, BartForSequenceClassification

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    config = BartConfig(vocab_size=200, encoder_attention_heads=2, decoder_attention_heads=2, **sizes, **tokens)
    config.id2label = {0: "bad", 1: "good"}
    torch.manual_seed(0)
    model = BartForSequenceClassification(config).eval()
    shutil.copyfile(checkpoint / "tokenizer.json", tmp_path / "tokenizer.json")
    model.save_pretrained(tmp_path)
    encoder = open_encoder(tmp_path, max_length=24)
    batch = encoder.collate([encoder.encode("a great film")], input_names=("input_ids", "attention_mask"))

    runner = TorchRunner(load_model(tmp_path))

    assert runner.input_names == ("input_ids", "attention_mask")
    with torch.no_grad():
        wanted = model(**{name: torch.from_numpy(value) for name, value in batch.items()}).logits
    torch.testing.assert_close(torch.from_numpy(runner.run(batch)["logits"]), wanted)


def test_a_classifier_that_names_no_pad_token_reads_batches(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=1, n_head=2, n_positions=32, eos_token_id=3, bos_token_id=3)
    config.id2label = {0: "bad", 1: "good"}
    assert config.pad_token_id is None
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    shutil.copyfile(checkpoint / "tokenizer.json", tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "[none]"}')
    encoder, runner = open_encoder(tmp_path, max_length=24), TorchRunner(load_model(tmp_path))
    texts = [encoder.encode(text) for text in ("a great film", "an awful story of people in town")]

    together = runner.run(encoder.collate(texts, input_names=runner.input_names))["logits"]

    alone = runner.run(encoder.collate(texts[:1], input_names=runner.input_names))["logits"]
    torch.testing.assert_close(torch.from_numpy(together[:1]), torch.from_numpy(alone))
