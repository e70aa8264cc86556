"""Old configs: the allowed syntax, its limits, and the recorded cases of the original."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from elektronn.errors import ConfigError, DataError
from elektronn.legacy.checks import fields_of_view
from elektronn.legacy.config_file import OldConfig, read_config
from elektronn.legacy.expressions import evaluate
from elektronn.legacy.options import OPTIONS

GIVEN = {
    "save_name": "'x'",
    "save_path": "'~/x/'",
    "mode": "'img-img'",
    "n_dim": "2",
    "n_lab": "2",
    "batch_size": "1",
    "monitor_batch_size": "10",
    "desired_input": "31",
    "filters": "[4, 3]",
    "pool": "[2, 1]",
    "nof_filters": "[3, 3]",
    "d_files": "[('a.h5', 'raw')]",
    "l_files": "[('b.h5', 'lab')]",
    "data_path": "'~/d/'",
    "label_path": "'~/d/'",
    "n_steps": "10",
    "max_runtime": "10",
    "SGD_params": "dict(LR=0.001, momentum=0.9)",
}


def config(folder: Path, text: str = "", **changes: str) -> OldConfig:
    """Read a small valid config with some options changed or added, and ``text`` behind it."""
    file = folder / "old.py"
    lines = [f"{name} = {value}" for name, value in (GIVEN | changes).items()]
    file.write_text("\n".join([*lines, text]))
    return read_config(file, None)


def values(text: str) -> dict[str, Any]:
    return evaluate(text.encode()).values


def recorded(value: Any) -> Any:
    """A value as the recorded cases write it, in Python's types."""
    if isinstance(value, list):
        return [recorded(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "__tuple__" in value:
        return tuple(recorded(value["__tuple__"]))
    if "__ndarray__" in value:
        return value["__ndarray__"]
    return {key: recorded(entry) for key, entry in value.items()}


def cases(spec_data: Path, kind: str) -> list[dict[str, Any]]:
    found = json.loads((spec_data / "oracle" / "cases.json").read_text())["cases"]
    return [case for case in found if case["kind"] == kind]


def test_good_configs_read_as_the_original_read_them(spec_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = cases(spec_data, "elektronn1_config")
    for case in good:
        monkeypatch.setenv("HOME", case["HOME"])
        found = dict(read_config(spec_data / "oracle" / "data" / case["config_file"], None).options)
        wanted = recorded(case["resolved"])
        if isinstance(wanted["data_class_name"], tuple):
            # the original forgot to replace ~ here
            wanted["data_class_name"] = tuple(t.replace("~", case["HOME"]) for t in wanted["data_class_name"])
        assert found == wanted, case["id"]
        if "geometry" in case:
            fields = fields_of_view(found)
            assert fields == case["geometry"]["fov"], case["id"]
    assert len(good) >= 4


def test_faulty_configs_are_refused_with_the_words_of_the_original(spec_data: Path) -> None:
    bad = cases(spec_data, "elektronn1_config_faulty")
    for case in bad:
        file = spec_data / "oracle" / "data" / case["config_file"]
        with pytest.raises(ConfigError, match=r"\.py: line \d+: ") as caught:
            read_config(file, None)
        said = str(caught.value).removeprefix(str(file))
        assert [word for word in case["message_contains"] if word not in said] == [], case["id"]
        assert "\n" not in said
    assert len(bad) >= 8


def test_every_option_of_the_original_is_known_with_its_default(spec_data: Path) -> None:
    case = next(c for c in cases(spec_data, "elektronn1_config") if c["id"] == "cfg04_vect")
    assert sorted(OPTIONS) == case["option_names"]
    wanted = recorded(case["after_parsing_before_normalisation"])
    untouched = [
        name for name in OPTIONS if name not in read_names(spec_data / "oracle" / "data" / case["config_file"])
    ]
    assert {name: OPTIONS[name].default for name in untouched} == {name: wanted[name] for name in untouched}
    assert len(untouched) > 40


def read_names(path: Path) -> frozenset[str]:
    return read_config(path, None).given


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = [2 ** i for i in range(3)]\ndel i", {"a": [1, 2, 4]}),
        ("a = [('c%i.h5' % (i ** 2), k) for i in range(2) for k in 'xy' if i]\ndel i, k", {"a": [("c1.h5", "x"), ("c1.h5", "y")]}),
        ("n = 3\na = [n * i for i in range(2)]\ndel i, n", {"a": [0, 3]}),
        ("a = sum(i for i in range(4))\ndel i", {"a": 6}),
        ("a = 'x'\na += 'y' + '/'", {"a": "xy/"}),
        ("a = b = '~/d/'", {"a": "~/d/", "b": "~/d/"}),
        ("a, (b, c) = 1, (2, 3)", {"a": 1, "b": 2, "c": 3}),
        ("import os\na = os.path.join('x', *['y', 'z'])", {"a": "x/y/z"}),
        ("from os.path import join\na = join('x', 'y')", {"a": "x/y"}),
        ("import numpy as np\na = np.linspace(0, 1, 3) * 2", {"a": pytest.approx([0, 1, 2])}),
        ("import numpy as np\na = [int(v) for v in np.round(np.array([1.4, 1.6]))]\ndel v", {"a": [1, 2]}),
        ("a = dict(LR=1e-3)\na['LR'] = 2\na.update(b=3)", {"a": {"LR": 2, "b": 3}}),
        ("a = []\nfor i in range(3): a.append('%s_%03d' % ('r', i))\ndel i", {"a": ["r_000", "r_001", "r_002"]}),
        ("a = 1\nif a == 1 and not a > 2:\n    b = 'y'\nelse:\n    b = 'n'", {"a": 1, "b": "y"}),
        ("a = '{0}-{n:02d}'.format('x', n=3)", {"a": "x-03"}),
        ("a = 3 if False else 2 * (7 % 4)", {"a": 6}),
        ("__author__ = 'me'\nimport sys", {}),
    ],
)  # fmt: skip
def test_allowed_syntax(text: str, wanted: dict[str, Any]) -> None:
    assert values(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = 7 / 2", 3),
        ("a = -7 / 2", -4),
        ("a = 7 / 2.0", 3.5),
        ("from __future__ import division\na = 7 / 2", 3.5),
        ("a = 0755 + 0", 493),
        ("a = 10L", 10),
        ("a = 0xFFL", 255),
        ("print 'size', 3\na = 1", 1),
        ("if True:\n    print 'x'\na = 1", 1),
        ("print('x')\na = 1", 1),
        ("a = xrange(2) + map(str, range(1)) + zip([1], [2])", [0, 1, "0", (1, 2)]),
        ("a = dict(b=1).keys()[0]", "b"),
        ("a = round(2.5)", 3.0),
        ("a = str(0.1 * 3) + str(2.0)", "0.32.0"),
        ("a = u'x'", "x"),
        ("a = '\\d'", "\\d"),
    ],
)
def test_python_2_is_read_as_python_2(text: str, wanted: object) -> None:
    assert values(text)["a"] == wanted


def test_a_division_that_python_2_cut_off_is_told() -> None:
    assert evaluate(b"\na = 7 / 2\nb = 8 / 2").warnings == (
        "line 2: 7 / 2 is 3 in Python 2; for a fraction write 7 / 2.0",
    )


def test_only_list_comprehensions_and_loops_leave_their_variable() -> None:
    found = evaluate(
        b"a = [i for i in range(2)]\nb = dict((k, 1) for k in 'x')\nfor n in a: pass\nc = {s for s in 'x'}"
    )
    assert sorted(found.loops) == ["i", "n"]
    assert sorted(found.values) == ["a", "b", "c", "i", "n"]


HOSTILE = [
    "a = 10**10**10", "a = 'a'*10**12", "a = [0]*10**12", "a = 10**12*(0,)", "a = range(10**12)", "a = xrange(10**30)",
    "a = 1 << 10**9", "a = [0 for i in range(999) for j in range(999) for k in range(999)]",
    "x = ['a'*999]\nx = [x]*300\nx = [x]*300", "a = 3\nfor i in range(60): a = a*a", "a = [1]\nfor i in range(60): a += a",
    "a = [1]\nfor i in range(60): a.extend(a)", "a = 'a'\nfor i in range(60): a += a", "a = []\na.append(a)\nb = a == a",
    "r = x = []\nfor i in range(9000):\n  y = []\n  x.append(y)\n  x = y\nb = repr(r)",
    "a = '%1000000000d' % 3", "a = '%*d' % (10**9, 3)", "a = '%.999999999f' % 3", "a = '%(a(b))999999999d' % {'a(b)': 3}",
    "a = '%5%%999999999d' % 3", "a = '%s'*5000 % tuple(['a'*500]*5000)", "a = '%('*90000 % {}",
    "a = '{:>999999999}'.format(3)", "a = '{:{}}'.format(3, 999999999)", "a = '{0}'*10000\nb = a.format('a'*10000)",
    "a = 'x'.zfill(10**10)", "a = ''.replace('', 'b'*9999).replace('b', 'c'*99999)", "a = ('x'*9999).join(['']*9999)",
    "a = {i*(2**61-1) for i in range(50000)}", "a = sum([[1]]*9000, [])", "a = 0x" + "f" * 5000, "a = " + "9" * 5000,
    "a = " + "(" * 500 + "1" + ")" * 500, "a = " + "-" * 100000 + "1", "a = " + "+".join("1" * 5000),
    "import numpy as np\na = np.zeros(10**10)", "import numpy as np\na = np.ones((10**6, 10**6))",
    "import numpy as np\na = np.arange(1e18)", "import numpy as np\na = np.linspace(0, 1, 10**10)",
    "import numpy as np\na = np.array(['a'], 'S1000000000')", "import numpy as np\na = np.array([10**400])",
    "import numpy as np\na = np.arange(9999.) * np.array([[1.]]*5000)",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40].replace("\n", "; "))
def test_a_file_can_neither_hang_nor_fill_the_memory(text: str) -> None:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=r"^line \d+: "):
        evaluate(text.encode())
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize(
    "text",
    [
        "a = ''.__class__", "a = [].__class__.__base__.__subclasses__()", "a = '{0.__class__}'.format(3)",
        "a = __import__('os')", "a = __builtins__", "import subprocess", "from os import system", "import os\nos.remove('x')",
        "import numpy as np\na = np.load('x')", "a = open('x').read()", "a = eval('1')", "a = getattr('', 'upper')",
        "a = (lambda: 1)()", "def f(): pass", "class A: pass", "while True: pass", "a = f'{1}'", "try:\n  a = 1\nexcept: pass",
        "import os\nos.path = 3", "a = 'x'.encode('utf-8')",
    ],
)  # fmt: skip
def test_what_is_beyond_reading_names_the_way_out(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^line \d: .*--trust would run|^line \d: .*let --trust run"):
        evaluate(text.encode())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = `a`", r"line 2: not Python \(.*\); write repr\(…\) instead of `…`"),
        ("a = 1 <> 2", "line 1: .*; write != instead of <>"),
        ("exec 'a = 1'", "line 1: .*; leave out exec"),
        ("if 1:\n\ta = 1\n        b = 2", "line 3: not Python .*tabs and spaces"),
        ("a = 1\n\n\nb = zzz", "line 4: name 'zzz' is not defined; assign it first"),
        ("nname = 1\nb = name", "line 2: .*did you mean 'nname'"),
        ("a = [1,\n  2,\n  1 / 0]", "line 3: cannot be worked out .*zero"),
        ("del a", "line 1: name 'a' is not defined"),
        ("a, b = 1, 2, 3", "line 1: 3 values for 2 names; write one for each"),
        ("save_path += 'x'", "line 1: name 'save_path' is not defined"),
    ],
)
def test_mistakes_name_their_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluate(text.encode())


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="line 1: cannot be read as text"):
        evaluate(b"a = '\xff'")
    assert evaluate(b"# -*- coding: latin-1 -*-\na = '\xe4'").values == {"a": "ä"}


def test_two_reads_are_independent(tmp_path: Path) -> None:
    first = config(tmp_path, "SGD_params['LR'] = 5.0", batch_size="7", preview_kwargs="dict(number=1)")
    second = config(tmp_path)
    assert (first.options["batch_size"], second.options["batch_size"]) == (7, 1)
    assert second.options["preview_kwargs"] == {"export_class": 1, "max_z_pred": 5}
    assert second.options["SGD_params"] == {"LR": 0.001, "momentum": 0.9}


@pytest.mark.parametrize(("batch", "monitor", "wanted"), [(4, 10, 8), (16, 10, 16), (5, 10, 10)])
def test_monitor_batch_is_a_multiple_of_the_batch(tmp_path: Path, batch: int, monitor: int, wanted: int) -> None:
    found = config(tmp_path, batch_size=str(batch), monitor_batch_size=str(monitor))
    assert found.options["monitor_batch_size"] == wanted


def test_values_for_all_layers_are_written_out(tmp_path: Path) -> None:
    found = config(tmp_path, MFP="True", dropout_rates="0.5", history_freq="0", example_ignore_threshold="None").options
    assert (found["MFP"], found["dropout_rates"]) == ([1, 1], (0.5, 0.5))
    assert (found["activation_func"], found["pooling_mode"]) == (["relu"] * 2, ["max"] * 2)
    assert (found["history_freq"], found["example_ignore_threshold"]) == ([0], 0.0)


def test_3d_sizes_become_z_first(tmp_path: Path) -> None:
    found = config(
        tmp_path, n_dim="3", filters="[(4, 4, 1), 3]", pool="[[2, 2, 1], 1]", desired_input="(31, 32, 7)"
    ).options
    assert (found["filters"], found["pool"], found["desired_input"]) == ([(1, 4, 4), 3], [[1, 2, 2], 1], (7, 31, 32))


def test_unsorted_schedule_is_sorted_with_a_warning(tmp_path: Path) -> None:
    found = config(tmp_path, LR_schedule="[(200, 0.1), (100, 0.5)]")
    assert found.options["LR_schedule"] == [(100, 0.5), (200, 0.1)]
    assert [text for text in found.warnings if "LR_schedule: sorted by step" in text]


def test_even_field_of_an_image_classifier_is_a_warning(tmp_path: Path) -> None:
    changes = {"mode": "'img-scalar'", "MLP_layers": "[5]", "filters": "[3, 3]", "pool": "[2, 2]"}
    assert [text for text in config(tmp_path, **changes).warnings if "field of view 10 × 10 is even" in text]


def test_an_array_becomes_a_list_and_a_function_is_refused(tmp_path: Path) -> None:
    found = config(tmp_path, "import numpy as np\nclass_weights = np.array([0.5, 2])")
    assert found.options["class_weights"] == [0.5, 2.0]
    with pytest.raises(ConfigError, match="line 19: activation_func: 'abs' is a function or module; write a value"):
        config(tmp_path, "activation_func = abs")
    with pytest.raises(ConfigError, match="line 19: filters: needs more than"):
        config(tmp_path, "filters = [[3]]; filters.append(filters)")


def test_all_faults_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, batch_size="0", n_dim="4")
    lines = str(caught.value).splitlines()
    assert lines == [
        f"{tmp_path / 'old.py'}: line 6: batch_size: 0 does not fit; write a whole number of 1 or more",
        f"{tmp_path / 'old.py'}: line 4: n_dim: 4 does not fit; write 2 or 3",
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.py: no such file"):
        read_config(tmp_path / "none.py", None)


def test_a_config_that_cannot_be_read_runs_on_the_users_word_only(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "old.py"
    program = f"open({str(canary)!r}, 'w').close()\ndef half(n):\n    return n // 2\nbatch_size = half(6)\n"
    path.write_text("save_name = 'x'\nmode = 'vect-scalar'\nn_lab = 2\nMLP_layers = [4]\n" + program)
    with pytest.raises(ConfigError, match="--trust"):
        read_config(path, None)
    assert not canary.exists()
    assert read_config(path, None, trust=True).options["batch_size"] == 3
    assert canary.exists()
    path.write_text("n_lab = 2\nbatch_size = 1 / 0\n")
    with pytest.raises(ConfigError, match=r"old.py: line 2: fails when run \(ZeroDivisionError"):
        read_config(path, None, trust=True)


def test_the_docs_say_what_became_of_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "elektronn1.md").read_text()
    missing = [option.name for option in OPTIONS.values() if f"| `{option.name}` | {option.goes} |" not in page]
    assert missing == []
