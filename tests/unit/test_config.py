"""Settings: reading, overriding, checking, and the messages of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from elektronn.cli.main import main
from elektronn.config.load import experiment_of, get, override, put, read_params, read_yaml, resolve, write_resolved
from elektronn.config.tree import Params
from elektronn.errors import ConfigError, DataError
from elektronn.network.chain import NetworkSettings
from elektronn.settings import parse, plain, schema
from elektronn.volumes.table import rows_of

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "params.schema.json"


def refusal(text: str) -> str:
    """What a parameter file with this text is told."""
    with pytest.raises(ConfigError) as caught:
        resolve(read_yaml(text))
    return str(caught.value)


def experiment(text: str) -> str:
    return f"experiments: {{e: {{{text}}}}}"


# reading


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "On", "NO", "y", "True", "2024-01-31"])
def test_words_that_only_yaml_1_1_takes_for_values_stay_text(word: str) -> None:
    assert read_yaml(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("3", 3), ("1.0e-4", 1e-4), ("~", None)])
def test_plain_values_are_what_they_look_like(text: str, value: Any) -> None:
    found = read_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_key_that_stands_twice_is_refused_wherever_it_is() -> None:
    with pytest.raises(ConfigError, match=r"^line 4: key 'steps' stands twice; keep one$"):
        read_yaml("a:\n  b:\n    steps: 1\n    steps: 2")


def test_same_key_in_two_sections_is_fine() -> None:
    assert read_yaml("a: {seed: 1}\nb: {seed: 2}") == {"a": {"seed": 1}, "b": {"seed": 2}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "line 1, column 6: not YAML"),
        ("a:\n\tb: 1", "line 2, column 1: not YAML"),
        ("a: 1\n---\nb: 2", "line 2, column 1: not YAML"),
        ("a: *b", "line 1, column 4: not YAML"),
        ("? [1, 2]\n: 3", "line 1: a key must be a single word"),
        ("a: !!python/object/apply:os.getcwd []", "line 1, column 4: not YAML"),
        ("a: \x00", "not YAML"),
    ],
)
def test_text_that_is_no_yaml_is_refused_in_one_line_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_parameter_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file; give a parameter file"):
        read_params(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(DataError, match=r"latin\.yaml: cannot be read .* save it as UTF-8 text"):
        read_params(tmp_path / "latin.yaml")


def test_each_of_several_faults_has_a_line_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("predict: {threds: 1, output: int8}\nsampel: {}")
    with pytest.raises(ConfigError) as caught:
        read_params(file)
    assert str(caught.value).splitlines() == [
        f"{file}: predict.output: \"int8\" is not known; write 'uint8', 'float16' or 'float32'",
        f"{file}: predict.threds: unknown key: did you mean 'threads'?",
        f"{file}: sampel: unknown key: did you mean 'sample'?",
    ]


def test_empty_file_means_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("")
    assert resolve(read_params(tmp_path / "params.yaml")) == Params()


# unknown keys and wrong values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evaluat: {}", "evaluat: unknown key: did you mean 'evaluate'?"),
        (experiment("trainin: {}"), "experiments.e.trainin: unknown key: did you mean 'training'?"),
        (
            experiment("training: {optimiser: {kind: adam, beta_1: 0.5}}"),
            "experiments.e.training.optimiser.beta_1: unknown key: did you mean 'beta1'?",
        ),
        (
            experiment("training: {optimiser: {kind: sgd, beta1: 0.5}}"),
            "experiments.e.training.optimiser.beta1: unknown key: known are kind, momentum, rate, rule, weight_decay",
        ),
        (
            experiment("sampling: {augment: [{kind: flip}, {kind: warp, amont: 1.0}]}"),
            "experiments.e.sampling.augment.1.amont: unknown key: did you mean 'amount'?",
        ),
        (
            experiment("sampling: {augment: [{kind: wrap}]}"),
            "experiments.e.sampling.augment.0.kind: unknown kind 'wrap': did you mean 'warp'?",
        ),
        (
            experiment("training: {schedule: {floor: 0.1}}"),
            "experiments.e.training.schedule.kind: missing; write one of exponential, cosine, constant, steps, linear, one_cycle",
        ),
    ],
)
def test_unknown_key_names_its_place_and_the_nearest_known_one(text: str, said: str) -> None:
    assert refusal(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            experiment("training: {optimiser: {kind: adam, rate: 1e-4}}"),
            'experiments.e.training.optimiser.rate: "1e-4" is not a number (YAML wants 1.0e-4, not 1e-4)',
        ),
        (
            experiment("training: {steps: true}"),
            "experiments.e.training.steps: true is not a whole number; write digits only, such as 3",
        ),
        (
            experiment("training: {steps: 2.0}"),
            "experiments.e.training.steps: 2.0 is not a whole number; write digits only, such as 3",
        ),
        (experiment("training: {steps: 0}"), "experiments.e.training.steps: 0 is too small; write 1 or more"),
        (
            experiment("training: {optimiser: {kind: sgd, rate: 0.0}}"),
            "experiments.e.training.optimiser.rate: 0.0 is too small; write more than 0.0",
        ),
        (
            experiment("training: {optimiser: {kind: sgd, momentum: 1.5}}"),
            "experiments.e.training.optimiser.momentum: 1.5 is too large; write 1.0 or less",
        ),
        (experiment("training: {max_seconds: .nan}"), "experiments.e.training.max_seconds: NaN is not a finite number"),
        (experiment("network: {kernels: [[1, 3]]}"), "experiments.e.network.kernels.0.2: missing; write a value"),
        (experiment("network: {features: 3}"), "experiments.e.network.features: 3 is not a list; write [a, b, …]"),
        (experiment("volumes: [1]"), "experiments.e.volumes.0: 1 is not text; put it in quotes"),
        ("boundaries: {dilate: [1, 1, 0]}", "boundaries.dilate.0: 1 is neither true nor false"),
        ("sample: {margin: [1, 2, 3, 4]}", "sample.margin: [1, 2, 3, 4] has 4 entries; write 3"),
        ("predict: 3", "predict: 3 is not a section of key: value lines"),
        ("experiments:", "experiments: null is not a section of key: value lines"),
        ("volumes: !!binary eA==", "Object of type bytes is not JSON serializable; write sections"),
        ("experiments: {Neuro: {}}", "experiment 'Neuro': use small letters, digits and underscores, a letter first"),
    ],
)
def test_wrong_value_names_its_place_and_the_cure(text: str, said: str) -> None:
    assert refusal(text).splitlines()[0].startswith(said)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            "kernels: [[1, 3, 3]], pools: [[1, 2, 2]], features: [1]",
            "experiments.e: network: field of view 1×4×4 (zyx) is even along y, x",
        ),
        (
            "kernels: [[1, 3, 3]], pools: [[1, 1, 1]], features: [1], patch: [1, 2, 3]",
            "experiments.e: network: along y: input of 2 voxels is smaller than the field of view (3)",
        ),
        (
            "kernels: [[1, 3, 3]], pools: [[1, 1, 1]], features: [1, 2]",
            "experiments.e.network: write one entry per layer in each list: kernels has 1, pools has 1, features has 2",
        ),
    ],
)
def test_network_that_cannot_be_is_refused_before_anything_runs(network: str, said: str) -> None:
    assert refusal(experiment(f"network: {{{network}}}")).startswith(said)


def test_unknown_experiment_names_the_nearest() -> None:
    params = resolve({"experiments": {"neuro": {}, "retina": {}}})
    with pytest.raises(ConfigError, match="unknown experiment 'nuero': did you mean 'neuro'"):
        experiment_of(params, "nuero")
    assert experiment_of(params, "retina") is params.experiments["retina"]


# overriding


def test_override_changes_one_value_and_not_its_source() -> None:
    raw = {"predict": {"threads": 1, "output": "uint8"}}
    assert override(raw, ["predict.threads=4", "sample.seed=7"]) == {
        "predict": {"threads": 4, "output": "uint8"},
        "sample": {"seed": 7},
    }
    assert raw == {"predict": {"threads": 1, "output": "uint8"}}


def test_later_override_wins_and_values_are_yaml() -> None:
    found = override({}, ["a.b=1", "a.b=[1, {c: on}]", "a.d=x=y"])
    assert found == {"a": {"b": [1, {"c": "on"}], "d": "x=y"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("predict.threads", "write KEY=VALUE"),
        ("=3", "write KEY=VALUE"),
        ("predict..threads=3", "write KEY=VALUE"),
        ("predict.threads.x=3", "'threads' is a value, not a section; set it as a whole"),
        ("predict.threads=[1", "not YAML"),
    ],
)
def test_override_that_makes_no_sense_repeats_what_was_given(change: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override({"predict": {"threads": 1}}, [change])
    assert str(caught.value).startswith(f"--set {change}: ")
    assert words in str(caught.value)


def test_put_and_get_meet() -> None:
    tree: dict[str, Any] = {}
    put(tree, "a.b.c", 1)
    assert (tree, get(tree, "a.b.c"), get(tree, "a.b"), get(tree, "a.x.y")) == ({"a": {"b": {"c": 1}}}, 1, {"c": 1}, {})


def test_settings_come_from_file_then_json_then_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("predict: {threads: 1, memory_gb: 1.0, certificate: 1}")
    sections = json.dumps({"predict.memory_gb": 2.0, "predict.certificate": 2})
    command = ["config", "show", "--params", str(file), "--params-json", sections, "--set", "predict.certificate=3"]
    assert main(command) == 0
    shown = yaml.safe_load(capsys.readouterr().out)["predict"]
    assert (shown["threads"], shown["memory_gb"], shown["certificate"]) == (1, 2.0, 3)


@pytest.mark.parametrize(("text", "words"), [("{", "not JSON"), ("[1]", "not an object")])
def test_sections_that_are_no_json_object_are_refused(
    text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--params-json", text]) == 2
    assert f"--params-json: {'' if text == '{' else text + ': '}{words}" in capsys.readouterr().err


# writing


def test_what_is_shown_is_a_parameter_file_of_the_same_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--params", str(ROOT / "params.yaml")]) == 0
    shown = capsys.readouterr().out
    assert resolve(read_yaml(shown)) == resolve(read_params(ROOT / "params.yaml"))


def test_defaults_are_shown_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", "show"]) == 0
    assert read_yaml(capsys.readouterr().out) == plain(Params())


def test_resolved_settings_of_a_stage_read_back_equal(tmp_path: Path) -> None:
    params = resolve({"experiments": {"e": {"training": {"optimiser": {"kind": "sgd", "rate": 1e-7}}}, "f": {}}})
    write_resolved(tmp_path / "params.resolved.yaml", params, "experiments.e", "predict")
    found = read_params(tmp_path / "params.resolved.yaml")
    assert resolve(found).experiments == {"e": params.experiments["e"]}
    assert found["predict"] == plain(params.predict)
    assert list(found) == ["experiments", "predict"]


def test_schema_for_editors_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    told = capsys.readouterr().out
    command = f"elektronn config schema > {SCHEMA.relative_to(ROOT)}"
    kept = SCHEMA.read_text(encoding="utf-8") if SCHEMA.is_file() else ""
    assert kept == told, f"the settings have changed; run `{command}`"


def test_schema_accepts_our_parameter_file_and_refuses_an_unknown_key() -> None:
    check = Draft202012Validator(schema(Params))
    raw = read_params(ROOT / "params.yaml")
    assert list(check.iter_errors(raw)) == []
    assert len(list(check.iter_errors({**raw, "evaluat": {}}))) == 1


def test_geometry_says_which_size_was_taken_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "geometry", "--set", "experiments.a.network.patch=[7,128,127]"]) == 0
    said = capsys.readouterr().out
    assert "along y: 128 wanted, 127 taken (size not possible; 131 would be next)" in said
    assert "field of view 5×31×31, offset 2×15×15, stride 1×4×4; 3×25×25 = 1875 outputs" in said
    assert "73,392 parameters" in said


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"activation": [1, 2]}, ["network.activation.0: 1 is not text", "network.activation.1: 2 is not text"]),
        ({"activation": 3}, ["network.activation: 3 is not text"]),
        ({"dropout": "x"}, ['network.dropout: "x" is not a number']),
        ({"dropout": [0.1, 2.0]}, ["network.dropout.1: 2.0 is too large; write less than 1"]),
    ],
)
def test_one_or_a_list_of_them_complains_about_what_was_written(section: dict[str, object], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(NetworkSettings, section, "network")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said))


def test_volumes_may_stand_in_the_parameter_file(tmp_path: Path) -> None:
    entries = [
        {"name": "a", "image": "$ELEKTRONN_DATA/a.h5:raw", "labels": "a.h5:lab", "axes": "xyz", "role": "train"},
        {"name": "b", "image": "b.h5:raw", "voxel_nm": [20, 10, 10], "role": "predict"},
    ]
    rows = rows_of(resolve({"volumes": entries}).volumes, tmp_path)
    table = tmp_path / "volumes.tsv"
    table.write_text(
        "name\timage\tlabels\taxes\tvoxel_nm\trole\n"
        "a\t$ELEKTRONN_DATA/a.h5:raw\ta.h5:lab\txyz\t\ttrain\n"
        "b\tb.h5:raw\t\t\t20,10,10\tpredict\n"
    )
    assert rows == rows_of(str(table), tmp_path)
    assert rows[0].labels is not None
    assert rows[0].labels.axes == "xyz"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "volumes: the list is empty"),
        ([{"name": "a b", "image": "a.h5", "labels": "b.h5", "role": "test"}], r"volumes.0: name 'a b': use letters"),
        ([{"name": "a", "image": "a.h5", "role": "train"}], "volumes.0: volume 'a' has role train but no labels"),
        ([{"name": "a", "image": "a.h5", "role": "predict"}] * 2, "volumes: volume 'a' stands in the table twice"),
    ],
)
def test_wrong_volumes_in_the_parameter_file_are_named(entries: list[object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        rows_of(resolve({"volumes": entries}).volumes, tmp_path)
