"""What the tests of graphs share: one that nothing has rewritten yet, and the shapes that it is compared over."""

from pathlib import Path

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.distill.checkpoints import load_model
from kd_deploy.export import parity
from kd_deploy.export.graph import export_graph
from kd_deploy.runtime.loading import open_encoder
from kd_deploy.tasks import text_classification


def shapes_of(bundle: Bundle) -> parity.Shapes:
    encoder = open_encoder(bundle)
    size = encoder.tokenizer.get_vocab_size()
    return parity.Shapes(vocabulary_size=size, max_length=encoder.max_length, pad_id=encoder.pad_id)


@pytest.fixture
def plain(bert: Bundle, tmp_path: Path) -> Path:
    target = tmp_path / "plain.onnx"
    export_graph(
        load_model(bert.path),
        target,
        inputs=bert.manifest.inputs,
        task=text_classification,
        opset=17,
        checkpoint=bert.path,
    )
    return target
