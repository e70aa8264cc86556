"""Old parameter and model files: all that the originals wrote comes back, array for array."""

from __future__ import annotations

import gzip
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elektronn.errors import DataError
from elektronn.legacy.mdl_file import read_mdl
from elektronn.legacy.param_file import read_param
from elektronn.legacy.pickle_parts import Name
from elektronn.legacy.unpickle import Instance, unpickle


def cases(spec_data: Path, kind: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each recorded case of a kind, with its arrays."""
    oracle = spec_data / "oracle"
    for case in json.loads((oracle / "cases.json").read_text())["cases"]:
        if case["kind"] == kind:
            yield case, np.load(oracle / "data" / f"{case['id']}.npz")


def listed(value: Any) -> Any:
    """Tuples as lists, all the way down: JSON has no tuples."""
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return value


def test_every_param_file_holds_the_arrays_of_its_case(spec_data: Path) -> None:
    read = set()
    for case, arrays in cases(spec_data, "elektronn1_net"):
        file = read_param(spec_data / "oracle" / "data" / case["param_file"])
        found = {
            (f"layer{index}", name): (position, array, layer.axes[name])
            for index, layer in enumerate(file.layers)
            for position, (name, array) in enumerate(layer.arrays.items())
        }
        assert len(found) == len(case["weights"]), case["id"]
        for weight in case["weights"]:
            position, array, axes = found[weight["key"].split(".")[1], weight["name"]]
            assert position == weight["position_in_layer_params"], weight["key"]
            assert array.dtype == arrays[weight["key"]].dtype
            np.testing.assert_array_equal(array, arrays[weight["key"]])
            same = {"n_out": "out", "n_hid": "out", "ch": "in", "n_in": "in"}
            assert list(axes) == [same.get(axis, axis) for axis in weight["axis_order"].split(",")], weight["key"]
        read.add(case["param_file"])
    assert read == {path.name for path in (spec_data / "oracle" / "data").glob("*.param*")}


def test_every_param_file_holds_a_pool_for_each_conv_layer(spec_data: Path) -> None:
    for case, _ in cases(spec_data, "elektronn1_net"):
        file = read_param(spec_data / "oracle" / "data" / case["param_file"])
        kernels = [layer.arrays["W"] for layer in file.layers if layer.kind == "conv"]
        assert [len(pool) for pool in file.pools] == [kernel.ndim - 2 for kernel in kernels], case["id"]


def test_every_mdl_file_holds_the_nodes_roles_and_arrays_of_its_case(spec_data: Path) -> None:
    read = set()
    for case, arrays in cases(spec_data, "elektronn2_net"):
        file = read_mdl(spec_data / "oracle" / "data" / case["mdl_file"])
        assert [node.name for node in file.nodes] == [node["name"] for node in case["descriptors"]]
        for node, recorded in zip(file.nodes, case["descriptors"]):
            assert node.kind == recorded["cls"]
            assert listed(node.arguments) == recorded["args"]
            assert listed(dict(node.options)) == recorded["kwargs"]
            assert {key: list(array.shape) for key, array in node.parameters.items()} == recorded["params"]
        assert dict(file.roles) == case["designated"]
        weights = {key[2:]: arrays[key] for key in arrays.files if key.startswith("w.")}
        found = {f"{node}.{key}": array for node, own in file.parameters.items() for key, array in own.items()}
        assert found.keys() == weights.keys()
        for key, array in found.items():
            assert array.dtype == weights[key].dtype
            np.testing.assert_array_equal(array, weights[key])
        read.add(case["mdl_file"])
    assert read == {path.name for path in (spec_data / "oracle" / "data").glob("*.mdl")}


def test_parents_are_the_nodes_an_mdl_node_refers_to_also_inside_lists(spec_data: Path) -> None:
    nodes = {node.name: node for node in read_mdl(spec_data / "oracle" / "data" / "e2_unet_2d.mdl").nodes}
    assert nodes["raw"].parents == ()
    assert nodes["concat"].parents == ("upconv", "crop")
    assert nodes["concat"].arguments == ([{"node": "upconv"}, {"node": "crop"}],)
    assert nodes["nll"].parents == ("softmax", "target")


@pytest.mark.parametrize(("name", "read"), [("e1_v_rnn_tanh.param", read_param), ("e2_pool_nodes.mdl", read_mdl)])
def test_an_old_file_cut_anywhere_is_a_data_error(
    spec_data: Path, tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    whole = (spec_data / "oracle" / "data" / name).read_bytes()
    cut = tmp_path / name
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=name):
            read(cut)


VALUE = {
    "none": None,
    "flags": [True, False],
    "numbers": (1, -70_000, 2**40, 0.25),
    "text": "fünf",
    "empty": [(), [], {}, ""],
    "nested": [{"a": (1, [2, {"b": 3}])}],
}
ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
    np.array(2.5, dtype=np.float32),
    np.zeros((0, 3), dtype=np.int64),
    np.array([True, False]),
    np.arange(3, dtype=np.uint8),
]


@pytest.mark.parametrize("protocol", range(5))
def test_plain_data_of_every_protocol_comes_back(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "plain.pickle"
    file.write_bytes(pickle.dumps(VALUE, protocol))
    assert unpickle(file) == [VALUE]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_sets_bytes_and_ordered_dicts_come_back(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "plain.pickle"
    value = [{1, 2}, frozenset({3}), b"\x00\xff", b"", OrderedDict(b=1, a=2)]
    file.write_bytes(pickle.dumps(value, protocol))
    assert unpickle(file) == [[{1, 2}, frozenset({3}), b"\x00\xff", b"", {"b": 1, "a": 2}]]


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_of_every_protocol_come_back(tmp_path: Path, protocol: int, array: np.ndarray) -> None:
    file = tmp_path / "array.pickle"
    file.write_bytes(pickle.dumps({"W": array, "shape": array.shape}, protocol))
    (value,) = unpickle(file)
    assert value["shape"] == array.shape
    assert value["W"].dtype == array.dtype
    np.testing.assert_array_equal(value["W"], array)


def test_numpy_numbers_become_numbers_and_dtypes_their_text(tmp_path: Path) -> None:
    file = tmp_path / "numbers.pickle"
    file.write_bytes(pickle.dumps([np.int64(7), np.float32(0.5), np.dtype("float32")], 2))
    assert unpickle(file) == [[7, 0.5, "float32"]]


def python2_array(protocol: int) -> bytes:
    """float32 [1, -2] as Python 2 wrote it: the bytes are a string."""
    if protocol == 0:
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
            b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\ntb."
        )
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tb."
    )


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_of_python_2_come_back(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "array.pickle"
    file.write_bytes(python2_array(protocol))
    (array,) = unpickle(file)
    np.testing.assert_array_equal(array, np.float32([1, -2]))


def test_text_of_python_2_has_one_letter_per_byte(tmp_path: Path) -> None:
    file = tmp_path / "text.pickle"
    file.write_bytes(b"(S'tab\\t \\\\x41 \\'q\\' \\xe4'\nU\x01\xe4t.")
    assert unpickle(file) == [("tab\t \\x41 'q' ä", "ä")]


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    file = tmp_path / "net.param"
    file.write_bytes(gzip.compress(pickle.dumps([1], 2)))
    assert unpickle(file) == [[1]]


def test_inert_classes_stay_names_and_objects_keep_their_state(tmp_path: Path) -> None:
    file = tmp_path / "graph.mdl"
    file.write_bytes(b"\x80\x02celektronn2.net\nNode\n)\x81}X\x04\x00\x00\x00nameX\x01\x00\x00\x00asb.")
    assert unpickle(file, inert="elektronn2") == [Instance(Name("elektronn2.net", "Node"), (), {"name": "a"})]
    with pytest.raises(DataError, match=r"refused: names elektronn2\.net\.Node"):
        unpickle(file)


def param(*values: object) -> bytes:
    return b"".join(pickle.dumps(value, 2) for value in values)


W, B = np.ones((3, 1, 2, 2), np.float32), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (param([(3, 1, 2, 2)], W, []), "layer 0 (conv): has 1 of 2 arrays"),
        (param([(3, 1, 2, 2)], W, B, B, []), "holds 1 arrays more than its 1 layers have"),
        (param([(3, 1, 2, 3)], W, B, [(2, 2)]), "W is (3, 1, 2, 2), expected (3, 1, 2, 3)"),
        (param([(3, 1, 2, 2)], W, B[:2], [(2, 2)]), "b has 2 along out, expected 3"),
        (param([(3, 1, 2, 2)], W, B.astype(np.int32), []), "b is no array of fractions"),
        (param([(3, 1, 2)], W, B, []), "neither conv, perceptron nor recurrent"),
        (param([(3, 1, 2, 2)], W, B), "does not end with the pools"),
        (param([(3, 1, 2, 2)]), "does not end with the pools"),
        (param([(3, 1, 2, 2)], W, B, ["2"]), "does not end with the pools"),
        (param({"W": W}), "does not begin with the shapes"),
        (param([], []), "does not begin with the shapes"),
    ],
)
def test_a_param_file_whose_parts_do_not_fit_says_which(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "net.param"
    file.write_bytes(content)
    with pytest.raises(DataError) as failure:
        read_param(file)
    assert str(failure.value).startswith(f"{file}: ")
    assert message in str(failure.value)


def graph(arguments: str = "", arrays: str = "}") -> str:
    """Pickle of a graph with one node named a."""
    state = f"(S'cls'\ncelektronn2.x\nConv\nS'args'\n(l{arguments}S'kwargs'\n(dd"
    return f"((dS'a'\n(celektronn2.x\nNodeDescriptor\n)\x81{state}b{arrays}ls}}t."


POINTER = "celektronn2.neuromancer.graphmanager\nNodePointer\n)\x81"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(}}t.", "holds no pair of nodes and roles"),
        ("(lp0\n.", "holds no pair of nodes and roles"),
        ("((dS'a'\nI1\ns}t.", "node 'a': is not described by a class"),
        (graph(arrays="(dS'w'\nI1\ns"), "node 'a': w is no array of numbers"),
        (graph(f"{POINTER}(dS'target_id'\nS'b'\nsba"), "node 'a': refers to 'b', which is no node before it"),
        (graph(f"{POINTER}}}ba"), "node 'a': refers to a node without a name"),
    ],
)
def test_an_mdl_file_that_is_no_graph_says_why(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "net.mdl"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as failure:
        read_mdl(file)
    assert str(failure.value).startswith(f"{file}: ")
    assert message in str(failure.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.param: not there; check the path"):
        read_param(tmp_path / "nothing.param")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_mdl(tmp_path)
