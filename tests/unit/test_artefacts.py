"""Files appear whole, and what identifies them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from elektronn.artefacts import code_digest, digest, fingerprint, prepare, remove, storage, write_json, writing
from elektronn.errors import StorageError


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fill(store: Path, **files: str) -> Path:
    store.mkdir()
    for name, text in files.items():
        (store / name).write_text(text)
    return store


# writing


def test_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with writing(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
        assert part.parent == tmp_path  # a rename within one folder is one step
    assert (target.read_text(), names(tmp_path)) == ("new", ["a.txt"])


def test_failure_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def break_off() -> None:
        with writing(target) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert (target.read_text(), names(tmp_path)) == ("old", ["a.txt"])


def test_earlier_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = fill(tmp_path / "a.zarr", old="1")
    with writing(target) as part:
        fill(part, new="2")
        assert names(target) == ["old"]
    assert names(tmp_path) == ["a.zarr", "a.zarr/new"]


def test_failure_leaves_the_earlier_folder_and_nothing_else(tmp_path: Path) -> None:
    target = fill(tmp_path / "a.zarr", old="1")

    def break_off() -> None:
        with writing(target) as part:
            fill(part, new="2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert names(tmp_path) == ["a.zarr", "a.zarr/old"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "c.json", {"µ": [1, None]})
    assert (tmp_path / "a" / "b" / "c.json").read_text(encoding="utf-8") == '{\n  "µ": [\n    1,\n    null\n  ]\n}\n'


def test_file_never_replaces_a_folder(tmp_path: Path) -> None:
    fill(tmp_path / "models", kept="1")
    with (
        pytest.raises(StorageError, match=r"models: is a folder, .* name a file"),
        writing(tmp_path / "models") as part,
    ):
        part.write_text("x")
    assert names(tmp_path) == ["models", "models/kept"]


def test_two_writers_do_not_meet_and_the_last_one_wins(tmp_path: Path) -> None:
    with writing(tmp_path / "a") as first, writing(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert ((tmp_path / "a").read_text(), names(tmp_path)) == ("first", ["a"])  # the outer block ends last


def test_not_a_number_does_not_get_into_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert names(tmp_path) == []


# refusals of the operating system


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the disk is full; free some space"),
        (errno.EACCES, "no permission to write here; choose another place"),
        (errno.EROFS, "no permission to write here; choose another place"),
        (errno.EFBIG, "file size limit reached; raise the limit"),
        (errno.ENOTDIR, "cannot be written here (Not a directory); choose another place"),
        (errno.EIO, "cannot be written here (Input/output error); choose another place"),
    ],
)
def test_refusal_becomes_one_line_with_a_cure(number: int, words: str) -> None:
    with pytest.raises(StorageError) as caught, storage("out/a.h5"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("out/a.h5: ")
    assert words in str(caught.value)


def test_other_failures_of_the_system_pass() -> None:
    with pytest.raises(FileNotFoundError), storage("a"):
        raise FileNotFoundError(errno.ENOENT, "gone", "b")


def test_place_is_tried_before_the_work(tmp_path: Path) -> None:
    prepare(tmp_path / "new" / "a.txt")
    assert names(tmp_path) == ["new"]
    with pytest.raises(StorageError, match=r"new: is a folder"):
        prepare(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a\.txt: cannot be written here"):
        prepare(tmp_path / "file" / "a.txt")


def test_remove_takes_files_folders_links_and_what_is_not_there(tmp_path: Path) -> None:
    fill(tmp_path / "folder", a="1")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "nothing"):
        remove(tmp_path / name)
    assert names(tmp_path) == ["folder", "folder/a"]
    remove(tmp_path / "folder")
    assert names(tmp_path) == []


# identity


def test_digest_of_a_folder_is_of_names_and_bytes_only(tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", a="1", b="2"), fill(tmp_path / "other", b="2", a="1")
    assert digest(one) == digest(other)
    os.utime(one / "a", (0, 0))
    assert digest(one) == digest(other)
    (other / "a").write_text("3")
    assert digest(one) != digest(other)


def test_digest_tells_names_and_places_apart(tmp_path: Path) -> None:
    found = {digest(fill(tmp_path / "1", ab="x")), digest(fill(tmp_path / "2", a="x"))}
    deep = tmp_path / "3"
    deep.mkdir()
    fill(deep / "a", b="x")
    assert len(found | {digest(deep)}) == 3


def test_digest_ignores_the_mark_of_the_workflow_engine(tmp_path: Path) -> None:
    store = fill(tmp_path / "a.zarr", a="1")
    before = digest(store)
    (store / ".snakemake_timestamp").write_text("")
    assert digest(store) == before
    (store / ".other").write_text("")
    assert digest(store) != before


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fingerprint_follows_settings_inputs_and_code_but_not_the_order_of_keys() -> None:
    base = fingerprint({"a": 1, "b": 2}, ["x", "y"], "code")
    assert fingerprint(json.loads('{"b": 2, "a": 1}'), iter(["x", "y"]), "code") == base
    others = (
        ({"a": 1, "b": 3}, ["x", "y"], "code"),
        ({"a": 1, "b": 2}, ["y", "x"], "code"),
        ({"a": 1, "b": 2}, ["x", "y"]),
    )
    assert len({base, *(fingerprint(*other) for other in others)}) == 4


def test_code_digest_is_of_the_named_rooms() -> None:
    assert code_digest("axes") == code_digest("axes")
    assert (
        len({code_digest("axes"), code_digest("geometry"), code_digest("axes", "geometry"), code_digest("network")})
        == 4
    )
