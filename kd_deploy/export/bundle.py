"""A bundle with its ONNX files: export, parity, quantisation and gate, then one move into place."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from kd_deploy import progress
from kd_deploy.bundle import PRECISIONS, Bundle, copy_files, graph_file, sign
from kd_deploy.errors import ExportError, UsageError
from kd_deploy.export import parity
from kd_deploy.export.gate import Accepted, Limit, main_metric_of, quantize_within
from kd_deploy.export.generation.bundle import WritingExport
from kd_deploy.export.graph import export_graph
from kd_deploy.export.outputs import split_outputs
from kd_deploy.export.quantize import fuse
from kd_deploy.export.saving import remove_graph
from kd_deploy.export.settings import ExportSettings
from kd_deploy.export.shortening import shorten
from kd_deploy.files import beside, staged
from kd_deploy.machine import this_machine
from kd_deploy.manifest import GraphRecord, Manifest, ParityRecord
from kd_deploy.runner import Runner
from kd_deploy.runtime.loading import heads_of, label_space, open_encoder
from kd_deploy.runtime.predictor import Predictor
from kd_deploy.runtime.session import OrtRunner
from kd_deploy.tasks.heads import MAIN, Head
from kd_deploy.tasks.registry import TASKS, mask_filled, outputs_of_tokens
from kd_deploy.tasks.task import Task
from kd_deploy.tasks.writing import Decoder

HEAD_KEYS = ("num_attention_heads", "n_heads")
WIDTH_KEYS = ("hidden_size", "dim")


def export_bundle(
    source: Bundle,
    output: Path,
    *,
    model: nn.Module,
    runner: Runner,
    settings: ExportSettings,
    decoder: Decoder | None = None,
) -> Bundle:
    """Write a bundle's torch half with fresh ONNX files to `output`, whole or not at all.

    Args:
        source: The bundle to export.
        output: Where the result goes; may be the bundle itself.
        model: Its torch model, in evaluation mode.
        runner: The same model as a runner: what every graph is held against.
        settings: Precisions, opset, backend, and the accuracy gate.
        decoder: The same model as a decoder, where it writes.

    Raises:
        ExportError: The graph does not export, or does not answer like the model.
        GateError: int8 costs more than the settings allow.
    """
    with staged(output) as aside:
        torch_half = [name for name in source.manifest.files if not name.startswith("onnx/")]
        copy_files(source.path, aside, torch_half)
        (aside / "onnx").mkdir()
        if decoder is not None:
            graphs = WritingExport(
                source=source, aside=aside, output=output, model=model, decoder=decoder, settings=settings
            ).graphs()
        else:
            work = aside / ".work"
            work.mkdir()
            exporting = _Exporting(source=source, aside=aside, work=work, output=output, settings=settings)
            graphs = exporting.graphs(model, runner)
            shutil.rmtree(work)
        if settings.keep:
            graphs |= _kept(source, aside, made=graphs)
        in_order = {precision: graphs[precision] for precision in PRECISIONS if precision in graphs}
        sign(aside, source.manifest.model_copy(update={"graphs": in_order}))
    return Bundle.open(output)


def _kept(source: Bundle, aside: Path, *, made: Mapping[str, GraphRecord]) -> dict[str, GraphRecord]:
    """The graphs of the source in precisions that were not made, and their files beside those that were."""
    kept = {precision: record for precision, record in source.manifest.graphs.items() if precision not in made}
    for precision in kept:
        copy_files(source.path, aside, source.graph_files(precision))
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exporting:
    source: Bundle
    aside: Path
    work: Path
    output: Path
    settings: ExportSettings

    @property
    def manifest(self) -> Manifest:
        return self.source.manifest

    @property
    def heads(self) -> dict[str, Head]:
        return heads_of(self.source)

    @property
    def task(self) -> Task:
        return TASKS[self.manifest.task]

    @property
    def exported(self) -> Path:
        """The graph as the backend wrote it: what fusion knows the patterns of."""
        return self.work / "exported.onnx"

    @property
    def mask_id(self) -> int | None:
        """The token that the model fills, if it fills any."""
        return mask_filled(open_encoder(self.source).tokenizer, label_space(self.source))

    def graphs(self, model: nn.Module, runner: Runner) -> dict[str, GraphRecord]:
        made = {"fp32": self.fp32(model, runner)}
        if "int4" in self.settings.precisions:
            raise UsageError(
                f"int4 is for models that write, and this one is for {self.manifest.task}", hint="choose fp32 or int8"
            )
        if "int8" in self.settings.precisions:
            made["int8"] = self.int8(runner)
        if "fp32" not in self.settings.precisions:
            remove_graph(self.aside / graph_file("fp32"))
            del made["fp32"]
        return made

    def fp32(self, model: nn.Module, runner: Runner) -> GraphRecord:
        graph = self.aside / graph_file("fp32")
        progress.say(f"exporting {self.output.name} to ONNX")
        export_graph(
            model,
            self.exported,
            task=self.task,
            inputs=self.manifest.inputs,
            opset=self.settings.opset,
            backend=self.settings.backend,
            checkpoint=self.source.path,
        )
        if len(self.heads) > 1:
            split_outputs(self.exported, list(self.heads.values()))
        told = shorten(self.exported, graph, mask_id=self.mask_id)
        found = self._compare(runner, graph)
        worst = beside(self.output, "{}.parity-worst.npz")
        parity.require(found, what=graph.name, keep=worst)
        return self._record("fp32", graph, found, steps=("plain graph", *told))

    def int8(self, runner: Runner) -> GraphRecord:
        graph, plain = self.aside / graph_file("int8"), self.aside / graph_file("fp32")
        reduce_range = not this_machine().has_vnni
        accepted = quantize_within(
            [*self._fused(runner), ("plain", plain)],
            graph,
            limits=self._limits(plain),
            reduce_range=reduce_range,
            open_predictor=self._predictor,
        )
        found = self._compare(runner, graph)
        if found.max_abs_error == float("inf"):
            raise ExportError(f"{graph.name} gives logits that are no numbers", hint="export fp32 alone")
        return self._record("int8", graph, found, steps=accepted.steps, accepted=accepted, reduce_range=reduce_range)

    def _fused(self, runner: Runner) -> list[tuple[str, Path]]:
        config = json.loads((self.aside / "config.json").read_text(encoding="utf-8"))
        heads, width = _first(config, HEAD_KEYS), _first(config, WIDTH_KEYS)
        fused, target = self.work / "fused.onnx", self.work / "fused-first-token.onnx"
        if not (heads and width):
            return []
        if not fuse(self.exported, fused, model_type=config["model_type"], heads=heads, width=width):
            return []
        shorten(fused, target, mask_id=self.mask_id, norms=True)
        error = self._compare(runner, target).max_abs_error
        if error > parity.TOLERANCE:
            progress.say(f"the fused graph is {error:.2g} from torch and is not used")
            return []
        return [("fused", target)]

    def _limits(self, plain: Path) -> tuple[Limit, ...]:
        if self.settings.examples is None:
            return ()
        drop, rows = self.settings.max_accuracy_drop, {MAIN: self.settings.examples, **self.settings.further}
        with self._predictor(plain) as predictor:
            if not rows[MAIN].answered:  # then the graph in full precision says what is right
                rows[MAIN] = rows[MAIN].answered_by(predictor.predictions(rows[MAIN]))
            return tuple(
                Limit(task=task, examples=one, reference=main_metric_of(predictor.task(task), one), max_drop=drop)
                for task, one in rows.items()
            )

    def _predictor(self, graph: Path) -> Predictor:
        encoder, labels = open_encoder(self.source), label_space(self.source)
        return Predictor(OrtRunner(graph), encoder, labels, via="kd_deploy.runtime", heads=self.heads)

    def _compare(self, runner: Runner, graph: Path) -> parity.Parity:
        encoder = open_encoder(self.source)
        shapes = parity.Shapes(
            vocabulary_size=encoder.tokenizer.get_vocab_size(),
            max_length=encoder.max_length,
            pad_id=encoder.pad_id,
            mask_id=self.mask_id,
        )
        opened = OrtRunner(graph)
        try:
            return parity.compare(runner, opened, shapes, of_tokens=outputs_of_tokens(self.task))
        finally:
            opened.close()

    def _record(
        self,
        precision: str,
        graph: Path,
        found: parity.Parity,
        *,
        steps: tuple[str, ...],
        accepted: Accepted | None = None,
        reduce_range: bool = False,
    ) -> GraphRecord:
        loaded = onnx.load(graph, load_external_data=False)
        return GraphRecord(
            precision=precision,
            opset=next(one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")),
            ir_version=loaded.ir_version,
            backend=self.settings.backend,
            quantized_operators=accepted.quantized.operators if accepted else {},
            kept_in_fp32=accepted.quantized.kept if accepted else (),
            reduce_range=reduce_range,
            steps=steps,
            parity=ParityRecord(
                against="torch", cases=found.cases, max_abs_error=found.max_abs_error, worst_case=found.worst.name
            ),
            metric=accepted.metric if accepted else None,
            metric_drop=accepted.drop if accepted else None,
            task_drops=accepted.task_drops if accepted else {},
            batch_sensitivity=accepted.batch_sensitivity if accepted else None,
        )


def _first(config: dict[str, Any], keys: Sequence[str]) -> int:
    return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), 0)
