"""Tiny trained models, made once for all tests; no test may reach the network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kd_deploy.bundle import Bundle
from kd_deploy.tasks.task import Examples

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KD_DEPLOY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def train_rows() -> Examples:
    from tests import tiny

    return tiny.single_label(192, seed=0)


@pytest.fixture(scope="session")
def test_rows() -> Examples:
    from tests import tiny

    return tiny.single_label(80, seed=1)


@pytest.fixture(scope="session")
def checkpoint(tiny_work: Path, train_rows: Examples) -> Path:
    """A trained BERT that tells good from bad, as a Hugging Face checkpoint."""
    from tests import tiny

    return tiny.write_checkpoint(tiny_work / "bert" / "checkpoint", train_rows)


@pytest.fixture(scope="session")
def bert_bundle(tiny_work: Path, checkpoint: Path) -> Bundle:
    from kd_deploy.distill.checkpoints import load_model
    from tests import tiny

    return tiny.bundle_of(load_model(checkpoint), tiny_work / "bert" / "bundle", checkpoint, tiny.SINGLE)


@pytest.fixture(scope="session")
def bilstm_bundle(tiny_work: Path, checkpoint: Path, train_rows: Examples) -> Bundle:
    from tests import tiny

    return tiny.write_bilstm(tiny_work / "bilstm" / "bundle", checkpoint, train_rows)


@pytest.fixture(scope="session")
def bert(tiny_work: Path, bert_bundle: Bundle, test_rows: Examples) -> Bundle:
    """The BERT exported in fp32 and int8."""
    from tests import tiny

    return tiny.export(bert_bundle, tiny_work / "bert" / "exported", data=test_rows, max_drop=0.05)


@pytest.fixture(scope="session")
def bilstm(tiny_work: Path, bilstm_bundle: Bundle, test_rows: Examples) -> Bundle:
    """The BiLSTM exported in fp32 and int8."""
    from tests import tiny

    return tiny.export(bilstm_bundle, tiny_work / "bilstm" / "exported", data=test_rows, max_drop=0.05)


@pytest.fixture(scope="session")
def multi(tiny_work: Path) -> Bundle:
    """A BiLSTM for several labels a text, exported in fp32."""
    from tests import tiny

    data = tiny.multi_label(192, seed=0)
    teacher = tiny.write_checkpoint(tiny_work / "multi" / "checkpoint", data, trained=False)
    made = tiny.write_bilstm(tiny_work / "multi" / "bundle", teacher, data)
    return tiny.export(made, tiny_work / "multi" / "exported", precisions=("fp32",))


@pytest.fixture(scope="session")
def pairs(tiny_work: Path) -> Bundle:
    """An untrained BERT for pairs of texts, exported in fp32."""
    from kd_deploy.distill.checkpoints import load_model
    from tests import tiny

    data = tiny.paired(64, seed=0)
    folder = tiny.write_checkpoint(tiny_work / "pairs" / "checkpoint", data, trained=False)
    made = tiny.bundle_of(load_model(folder), tiny_work / "pairs" / "bundle", folder, tiny.PAIRED)
    return tiny.export(made, tiny_work / "pairs" / "exported", precisions=("fp32",))


@pytest.fixture(params=["bert", "bilstm"])
def exported(request: pytest.FixtureRequest) -> Bundle:
    """Either student with its ONNX files; not to be changed."""
    bundle: Bundle = request.getfixturevalue(request.param)
    return bundle
