"""The ONNX half of models that write in optimum: generate() over the graphs as they lie there."""

from typing import Any

from optimum import onnxruntime
from proofs import Line
from transformers import AutoTokenizer
from writer_proofs import AUTO, SUFFIXES, Known, bundles, compare, written


def main() -> None:
    """Every bundle of which optimum knows the kind, in every precision; and what it says of the other one."""
    for known in bundles():
        if known.kind in AUTO:
            prove(known)
        else:
            note_refusal(known)


def prove(known: Known) -> None:
    """The texts one at a time; in full precision also in one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(known.folder)
    for form in SUFFIXES:
        model = open_graphs(known, form)
        found = written(model, tokenizer, known, together=False)
        compare(found, known, tool=tool_of(known), form=form)
        if form == "fp32":
            found = written(model, tokenizer, known, together=True)
            compare(found, known, tool=f"{tool_of(known)}, padded batch", form=form)


def open_graphs(known: Known, form: str) -> Any:
    """A model over the graphs of a bundle; those in full precision it finds when nothing is said."""
    suffix, names = SUFFIXES[form], {}
    if suffix and known.kind == "gpt2":
        names = {"file_name": f"model{suffix}.onnx"}
    elif suffix:
        decoder = f"decoder_model_merged{suffix}.onnx"
        # One file decodes the first token and all others, and optimum wants it named for both.
        names = {"decoder_file_name": decoder, "decoder_with_past_file_name": decoder}
        names["encoder_file_name"] = f"encoder_model{suffix}.onnx"
    return getattr(onnxruntime, class_of(known)).from_pretrained(known.folder, **names)


def note_refusal(known: Known) -> None:
    """State what keeps optimum from opening a pair of LSTMs."""
    try:
        open_graphs(known, "fp32")
    except (ValueError, KeyError) as error:
        detail = f"no class of it runs an LSTM that writes (kd_deploy.runtime does): {str(error).split(' but ')[0]}"
        Line(tool=tool_of(known), bundle=known.name, form="fp32", result="note", detail=detail).write()


def class_of(known: Known) -> str:
    """The class of optimum that runs the task."""
    return f"ORTModel{AUTO.get(known.kind, 'ForSeq2SeqLM')}"


def tool_of(known: Known) -> str:
    """How the table calls it."""
    return f"optimum {class_of(known)}"


if __name__ == "__main__":
    main()
