"""Models that write in int8 and in int4: sizes, answers, one copy of a shared table."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kd_deploy.export.generation.four_bits import BLOCK, pack
from kd_deploy.export.generation.parity import written_cases
from kd_deploy.export.generation.quantize import to_int4, to_int8
from kd_deploy.export.generation.replay import Graphs, in_steps
from kd_deploy.export.generation.shared_table import share_table
from kd_deploy.export.quantize import PLANS, Quantized
from tests.export.generation.conftest import FAMILIES, SHAPES, SHARED, WORDS

Files = dict[str, dict[str, Path]]
PRECISIONS: dict[str, tuple[Callable[..., Quantized], float, float]] = {
    "int8": (to_int8, 1 / 3, 0.1),
    "int4": (to_int4, 1 / 4, 0.5),
}


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Made:
    """The files of every family in a precision, and the account of each."""

    files: Files
    accounts: dict[str, dict[str, Quantized]]


@pytest.fixture(scope="module")
def made(precision: str, exported: Files, tmp_path_factory: pytest.TempPathFactory) -> Made:
    quantize, folder = PRECISIONS[precision][0], tmp_path_factory.mktemp(precision)
    found = Made({family: {} for family in exported}, {family: {} for family in exported})
    for family, files in exported.items():
        for part, path in files.items():
            target = found.files[family][part] = folder / f"{family}-{path.name}"
            found.accounts[family][part] = quantize(path, target, reduce_range=False)
    return found


@pytest.fixture(scope="module")
def smaller(made: Made) -> Files:
    return made.files


def weight_bytes(path: Path) -> int:
    return sum(numpy_helper.to_array(one).nbytes for one in onnx.load(path).graph.initializer)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_take_a_fraction_of_the_room(family: str, precision: str, exported: Files, smaller: Files) -> None:
    share = PRECISIONS["int8" if "lstm" in family else precision][1]  # recurrent layers have no form in int4
    for part, path in exported[family].items():
        assert weight_bytes(smaller[family][part]) < share * weight_bytes(path), part


@pytest.mark.parametrize("family", FAMILIES)
def test_first_and_later_steps_say_nearly_the_same(
    family: str, precision: str, exported: Files, smaller: Files
) -> None:
    left, right = Graphs.open(exported[family]), Graphs.open(smaller[family])
    for case in list(written_cases(SHAPES))[::7]:
        wanted, found = (in_steps(graphs, case.batch)["logits"] for graphs in (left, right))
        assert np.abs(found - wanted).mean() < PRECISIONS[precision][2] * wanted.std(), case.name


@pytest.mark.parametrize("family", FAMILIES)
def test_files_keep_names_opset_and_domains(family: str, exported: Files, smaller: Files) -> None:
    for part, path in exported[family].items():
        left, right = onnx.load(path), onnx.load(smaller[family][part])
        onnx.checker.check_model(right)
        assert [one.name for one in right.graph.input] == [one.name for one in left.graph.input]
        assert [one.name for one in right.graph.output] == [one.name for one in left.graph.output]
        assert {one.domain: one.version for one in right.opset_import}[""] == 17
        assert right.ir_version <= 10
        assert {node.domain for node in right.graph.node} <= {"", "com.microsoft"}
        assert {one.domain for one in right.opset_import} >= {node.domain for node in right.graph.node}


@pytest.mark.parametrize("family", SHARED)
def test_a_shared_table_is_there_once_and_not_in_fp32(family: str, smaller: Files) -> None:
    arrays = onnx.load(list(smaller[family].values())[-1]).graph.initializer
    tables = [one for one in arrays if WORDS in one.dims and np.prod(one.dims) > 16 * WORDS]

    assert [one.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) for one in tables] == [True]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_account_names_only_products_of_activations(family: str, precision: str, made: Made) -> None:
    for found in made.accounts[family].values():
        assert {one.operator for one in found.kept} <= {"MatMul"}
        assert all("two activations" in one.why for one in found.kept)
        assert found.operators["embedding tables"] >= 1
        assert found.operators["MatMul" if precision == "int8" else "MatMul in int4"] >= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_is_in_int8_in_either_precision(family: str, precision: str, made: Made) -> None:
    head = list(made.accounts[family].values())[-1]

    assert head.operators["MatMul"] == 1 or precision == "int8"


def test_a_plan_that_keeps_tables_keeps_the_shared_one_too(exported: Files, tmp_path: Path) -> None:
    found = to_int8(exported["gpt2"]["model"], tmp_path / "int8.onnx", plan=PLANS[1], reduce_range=False)

    assert ("Gather", "embedding table kept by the plan, for accuracy") in {
        (one.operator, one.why) for one in found.kept
    }
    assert "embedding tables" not in found.operators


@pytest.mark.parametrize("rows", [32, 64, 40, 7])
def test_four_bits_are_within_half_a_step(rows: int) -> None:
    weight = np.random.default_rng(0).standard_normal((rows, 5)).astype(np.float32)
    packed = pack(weight)

    integers = np.stack([packed.integers & 15, packed.integers >> 4], axis=-1).reshape(5, -1, BLOCK).astype(np.int64)
    numbers = ((integers - 8) * packed.scales[..., None]).reshape(5, -1)[:, :rows].T
    steps = np.abs(np.repeat(packed.scales, BLOCK, axis=1)[:, :rows].T)

    # Sixteen integers reach one step less far on the side of the sign that the largest number does not have.
    assert (np.abs(numbers - weight) <= np.where(np.abs(weight) > 7 * steps, 1.0, 0.5) * steps + 1e-6).all()


def test_a_block_of_zeros_stays_zero() -> None:
    packed = pack(np.zeros((32, 2), dtype=np.float32))

    assert not packed.scales.any()
    assert (packed.integers == 0x88).all()


def test_a_graph_without_a_shared_table_is_left_as_it_is(exported: Files) -> None:
    graph = onnx.load(exported["llama"]["model"])
    before = graph.SerializeToString()

    assert not share_table(graph)
    assert graph.SerializeToString() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_the_most_careful_plan_leaves_the_head_in_fp32(family: str, exported: Files, tmp_path: Path) -> None:
    decoder = next(path for part, path in exported[family].items() if "encoder_model" not in part)
    accounts = [to_int8(decoder, tmp_path / "model.onnx", plan=plan, reduce_range=False) for plan in PLANS[1:]]

    products = [
        sum(
            one.count
            for one in account.kept
            if one.why == "kept by the plan, for accuracy" and one.operator != "Gather"
        )
        for account in accounts
    ]

    assert products[1] == products[0] + 1
