"""What is said to a user's broken files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.export.files import input_shape, read_model, read_rows
from firnline.errors import ContractError, HandshakeError
from tests.edge.small_models import dense, rows


def outside(name, where):
    """A tensor whose bytes lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[6, 2])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where
    return tensor


def model(nodes, *constants, inputs=(("x", TensorProto.FLOAT),)):
    given = [helper.make_tensor_value_info(name, kind, ["rows", 6]) for name, kind in inputs]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "any"])]
    graph = helper.make_graph(nodes, "net", given, made, constants)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def external_weights():
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], outside("w", "weights.bin"))


def external_constant():
    constant = helper.make_node("Constant", [], ["w"], value=outside("w", "weights.bin"))
    return model([constant, helper.make_node("MatMul", ["x", "w"], ["y"])])


def external_branch():
    made = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [6, 2])]
    branch = helper.make_graph([], "branch", [], made, [outside("z", "weights.bin")])
    choice = helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)
    return model([choice, helper.make_node("MatMul", ["x", "w"], ["y"])])


def external_function():
    """A function is no part of the graph, and its constants are read as the graph's are."""
    loaded = onnx.load_from_string(model([helper.make_node("Own", ["x"], ["y"], domain="own")]))
    constant = helper.make_node("Constant", [], ["w"], value=outside("w", "weights.bin"))
    nodes = [constant, helper.make_node("MatMul", ["a", "w"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    loaded.functions.append(helper.make_function("own", "Own", ["a"], ["b"], nodes, opsets))
    loaded.opset_import.append(helper.make_opsetid("own", 1))
    return loaded.SerializeToString()


def two_inputs():
    inputs = (("x", TensorProto.FLOAT), ("second", TensorProto.FLOAT))
    return model([helper.make_node("Add", ["x", "second"], ["y"])], inputs=inputs)


def integers():
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    return model([cast], inputs=(("x", TensorProto.INT64),))


def disconnected():
    return model([helper.make_node("Relu", ["nowhere"], ["y"])])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda: b"no model", "not a readable ONNX model"),
        (lambda: b"", "not a readable ONNX model"),
        (lambda: dense()[:-40], "not a readable ONNX model"),
        (external_weights, "weights lie in other files: w"),
        (external_constant, "weights lie in other files: w"),
        (external_branch, "weights lie in other files: z"),
        (external_function, "weights lie in other files: w"),
        (two_inputs, r"2 inputs \(x, second\)"),
        (integers, "not one of float32"),
        (disconnected, "not a readable ONNX model"),
    ],
)
def test_what_is_no_float_model_of_one_input_is_refused(tmp_path, content, told):
    path = tmp_path / "given.onnx"
    path.write_bytes(content())
    with pytest.raises(HandshakeError, match=rf"\[E8\].*given\.onnx: .*{told}"):
        read_model(path)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(HandshakeError, match="E8"):
        read_model(tmp_path / "nowhere.onnx")


def test_weights_may_be_inputs_too(tmp_path):
    """Files of old opsets name every constant as an input as well."""
    loaded = onnx.load_from_string(dense())
    weights = helper.make_tensor_value_info("w1", TensorProto.FLOAT, [8, 6])
    loaded.graph.input.insert(0, weights)
    (tmp_path / "old.onnx").write_bytes(loaded.SerializeToString())
    assert input_shape(read_model(tmp_path / "old.onnx")) == (6,)


def claimed(path):
    """A header that claims a petabyte."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 6), }"
    header = header.ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("save", "told"),
    [
        (lambda path: np.save(path, np.array([{"a": 1}])), "not readable as .npy"),
        (lambda path: path.write_bytes(b"no array"), "not readable as .npy"),
        (lambda path: path.write_bytes(b""), "not readable as .npy"),
        (lambda path: path.write_bytes(b"PK\x03\x04 no archive"), "not readable as .npy"),
        (claimed, "not readable as .npy"),
        (lambda path: path.mkdir(), "not readable as .npy"),
        (lambda path: np.save(path, np.full((3, 6), "a")), "no array of numbers"),
        (lambda path: np.save(path, np.zeros((3, 6), np.complex64)), "no array of numbers"),
        (lambda path: np.save(path, rows(7)), r"shape \[600, 7\], not \[rows, 6\]"),
        (lambda path: np.save(path, rows(6, 1)), r"shape \[600, 6, 1\]"),
        (lambda path: np.save(path, np.float32(1)), r"shape \[\]"),
        (lambda path: np.save(path, rows(6, count=0)), "at least one row"),
        (lambda path: np.save(path, np.full((2, 6), -np.inf)), "infinite"),
        (lambda path: np.save(path, np.full((2, 6), 1e300)), "infinite values, as float32"),
    ],
)
def test_broken_rows_are_refused(tmp_path, save, told):
    path = tmp_path / "rows.npy"
    save(path)
    with pytest.raises(ContractError, match=rf"\[E9\].*rows\.npy: .*{told}"):
        read_rows(path, dense())


def test_rows_of_no_value_are_refused(tmp_path):
    net = helper.make_node("Relu", ["x"], ["y"])
    shape = ["rows", "any"]
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")
    )
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_graph([net], "net", [given], [made])
    np.save(tmp_path / "rows.npy", np.zeros((5, 0), np.float32))
    with pytest.raises(ContractError, match="at least one row"):
        read_rows(
            tmp_path / "rows.npy",
            helper.make_model(graph, opset_imports=opsets).SerializeToString(),
        )


def test_rows_of_any_number_type_are_taken(tmp_path):
    whole = np.arange(12, dtype=np.int64).reshape(2, 6)
    np.save(tmp_path / "rows.npy", np.asfortranarray(whole))
    taken = read_rows(tmp_path / "rows.npy", dense())
    assert taken.dtype == np.float32 and taken.flags.c_contiguous
    assert np.array_equal(taken, whole)
