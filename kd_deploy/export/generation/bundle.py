"""The graphs of a model that writes, each precision held against torch: parity, greedy texts, and the gate."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from kd_deploy import progress
from kd_deploy.bundle import Bundle, graph_file
from kd_deploy.errors import ExportError, GateError, UsageError
from kd_deploy.export import parity
from kd_deploy.export.gate import Limit, batch_sensitivity, main_metric_of
from kd_deploy.export.generation.parity import compare_written, greedy_agreement
from kd_deploy.export.generation.quantize import to_int4, to_int8
from kd_deploy.export.generation.write import export_written
from kd_deploy.export.quantize import PLANS, Plan, Quantized
from kd_deploy.export.saving import remove_graph
from kd_deploy.export.settings import ExportSettings
from kd_deploy.files import beside
from kd_deploy.machine import this_machine
from kd_deploy.manifest import GraphRecord, ParityRecord
from kd_deploy.runtime.generation.graphs import open_decoder
from kd_deploy.runtime.loading import label_space, open_encoder, over_decoder, room_of
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.tasks.encoding import Encoded, Encoder
from kd_deploy.tasks.registry import task_of
from kd_deploy.tasks.writing import Decoder

PROMPTS, TOKENS = 100, 32  # texts that are written greedily by both, and how long
IN_4_BITS = Plan(name="products of the layers in int4, the rest in int8", operators=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    # A precision that was made: what it was made with, and what it is worth.
    quantized: Quantized
    parity: parity.Parity
    metric: float | None = None
    drop: float | None = None
    sensitivity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingExport:
    """An export of a model that writes into a folder that is staged; `decoder` is the same model in torch."""

    source: Bundle
    aside: Path
    output: Path
    model: nn.Module
    decoder: Decoder
    settings: ExportSettings

    def graphs(self) -> dict[str, GraphRecord]:
        """Write the files of every precision, and say what each was held against.

        Raises:
            ExportError: A graph does not export, or does not answer like the model.
            GateError: A precision costs more than the settings allow.
            UsageError: Another backend is asked for.
        """
        if self.settings.backend != "torch":
            raise UsageError(
                f"--backend {self.settings.backend} exports models that read, and this one writes",
                hint="leave --backend out",
            )
        progress.say(f"exporting {self.output.name} to ONNX")
        plain = export_written(self.model, self.aside / "onnx", opset=self.settings.opset)
        found = compare_written(self.model, plain, self._shapes)
        parity.require(found, what=plain[next(iter(plain))].name, keep=self._worst)
        form = _Form(quantized=Quantized(operators={}, kept=()), parity=found)
        records = {"fp32": self._record("fp32", plain, form, steps=("plain graph",))}
        same = records["fp32"].greedy_identical
        if same is not None and same < 1:
            progress.say(f"fp32: {same:.0%} of the greedy texts are those of torch")
        wanted = [one for one in ("int8", "int4") if one in self.settings.precisions]
        limit = self._limit(plain) if wanted else None
        records |= {one: self._smaller(one, plain, limit=limit) for one in wanted}
        if "fp32" not in self.settings.precisions:
            del records["fp32"]
            for path in plain.values():
                remove_graph(path)
        return records

    @property
    def _worst(self) -> Path:
        return beside(self.output, "{}.parity-worst.npz")

    @property
    def _shapes(self) -> parity.Shapes:
        encoder = open_encoder(self.source)
        return parity.Shapes(
            vocabulary_size=encoder.tokenizer.get_vocab_size(), max_length=encoder.max_length, pad_id=encoder.pad_id
        )

    def _smaller(self, precision: str, plain: Mapping[str, Path], *, limit: Limit | None) -> GraphRecord:
        files = {part: self.aside / graph_file(precision, part) for part in plain}
        steps: list[str] = []
        for plan in PLANS if precision == "int8" else (IN_4_BITS,):
            form = self._form(precision, plain, files, plan=plan, limit=limit)
            told = "not checked, no data given" if form.drop is None else f"drop {form.drop:+.4f}"
            steps.append(f"{plan.name}: {told}")
            progress.say(f"{precision}: {steps[-1]}")
            if limit is None or form.drop is None or limit.allows(form.drop):
                return self._record(precision, files, form, steps=tuple(steps))
        for path in files.values():
            remove_graph(path)
        assert limit is not None  # noqa: S101 - without one the first form is taken
        raise GateError(
            f"{precision} loses more than {limit.max_drop} on {limit.examples.source}: {'; '.join(steps)}",
            hint="allow more in export.max_accuracy_drop (--max-accuracy-drop), or leave this precision out",
        )

    def _form(
        self, precision: str, plain: Mapping[str, Path], files: Mapping[str, Path], *, plan: Plan, limit: Limit | None
    ) -> _Form:
        reduce_range = not this_machine().has_vnni
        made = [
            to_int8(plain[part], files[part], plan=plan, reduce_range=reduce_range)
            if precision == "int8"
            else to_int4(plain[part], files[part], reduce_range=reduce_range)
            for part in plain
        ]
        operators = sum((Counter(one.operators) for one in made), Counter[str]())
        quantized = Quantized(operators=dict(operators), kept=tuple(kept for one in made for kept in one.kept))
        found = compare_written(self.model, files, self._shapes)
        if found.max_abs_error == float("inf"):
            raise ExportError(f"{precision} gives logits that are no numbers", hint="export fp32 alone")
        if limit is None:
            return _Form(quantized=quantized, parity=found)
        with self._predictor(files) as predictor:
            metric = main_metric_of(predictor, limit.examples)
            sensitivity = batch_sensitivity(predictor, limit.examples)
        return _Form(quantized=quantized, parity=found, metric=metric, drop=limit.drop(metric), sensitivity=sensitivity)

    def _limit(self, plain: Mapping[str, Path]) -> Limit | None:
        if self.settings.examples is None:
            return None
        with self._predictor(plain) as predictor:
            reference = main_metric_of(predictor, self.settings.examples)
        drop = self.settings.max_accuracy_drop
        return Limit(examples=self.settings.examples, reference=reference, max_drop=drop)

    def _predictor(self, files: Mapping[str, Path]) -> Predictor:
        encoder = open_encoder(self.source)
        decoder = open_decoder(files, encoder=encoder, room=room_of(self.source))
        settings = self.source.manifest.generation
        return over_decoder(decoder, encoder, label_space(self.source), settings=settings, via="kd_deploy.runtime")

    def _greedy(self, files: Mapping[str, Path]) -> float:
        encoder, room = open_encoder(self.source), room_of(self.source)
        tokens = TOKENS if room is None else min(TOKENS, max(1, room // 2))
        prompts = list(self._prompts(encoder, most=None if room is None else room - tokens))
        ours = open_decoder(files, encoder=encoder, room=room)
        try:
            return greedy_agreement(ours, self.decoder, prompts, ends=encoder.marks.ends, tokens=tokens)
        finally:
            ours.close()

    def _prompts(self, encoder: Encoder, *, most: int | None) -> Iterator[Encoded]:
        given = self.settings.examples
        texts: Sequence[str] = [str(one) for one in given.inputs] if given else ()
        sample = task_of(label_space(self.source)).SAMPLE
        for one in encoder.encode_all((texts or [str(text) for text in sample])[:PROMPTS]):
            yield Encoded(one.ids[:most], one.type_ids[:most])

    def _record(self, precision: str, files: Mapping[str, Path], form: _Form, *, steps: tuple[str, ...]) -> GraphRecord:
        loaded = onnx.load(files[next(iter(files))], load_external_data=False)
        return GraphRecord(
            precision=precision,
            opset=next(one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")),
            ir_version=loaded.ir_version,
            backend=self.settings.backend,
            quantized_operators=form.quantized.operators,
            kept_in_fp32=form.quantized.kept,
            reduce_range=precision != "fp32" and not this_machine().has_vnni,
            steps=steps,
            parity=ParityRecord(
                against="torch",
                cases=form.parity.cases,
                max_abs_error=form.parity.max_abs_error,
                worst_case=form.parity.worst.name,
            ),
            metric=form.metric,
            metric_drop=form.drop,
            batch_sensitivity=form.sensitivity,
            parts=tuple(files),
            greedy_identical=self._greedy(files),
        )
