"""Claims on parts of an output: one owner each, and none for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elektronn.prediction import claims as module
from elektronn.prediction.claims import CLAIM, Claims

NAMES = [f"{n:03d}" for n in range(20)]


def test_every_part_is_done_once_by_whoever_comes_first(tmp_path: Path) -> None:
    done: list[str] = []

    def work() -> None:
        with Claims(tmp_path) as claims:
            for name in claims.each(NAMES, threading.Event()):
                done.append(name)
                claims.finish(name, {})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == NAMES
    assert not list(tmp_path.glob("owner-*"))
    assert not list(tmp_path.glob("*.claim"))


def test_the_claim_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from elektronn.prediction.claims import Claims
with Claims(Path({str(tmp_path)!r})) as claims:
    assert claims.take("000")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / "000.claim").exists()
    with Claims(tmp_path) as claims:
        assert claims.take("000")
        assert claims.holds("000")


def foreign(folder: Path, name: str, silent_s: float) -> Path:
    """The claim of a process on another machine, last heard of ``silent_s`` ago."""
    owner = folder / "owner-of-elsewhere"
    owner.write_text(json.dumps({"pid": 1, "host": "elsewhere", "born": "1"}))
    now = owner.stat().st_mtime
    os.utime(owner, (now - silent_s, now - silent_s))
    os.link(owner, folder / (name + CLAIM))
    return owner


def test_the_claim_of_another_machine_is_left_alone_while_its_owner_is_heard_of(tmp_path: Path) -> None:
    with Claims(tmp_path, stale_s=60) as claims:
        owner = foreign(tmp_path, "000", 30)
        assert not claims.take("000")
        os.utime(owner, (0, 0))
        assert claims.take("000")


def test_a_silent_process_of_this_machine_loses_its_claims_although_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claims, "_beat", lambda self: None)
    with Claims(tmp_path, stale_s=60) as silent, Claims(tmp_path, stale_s=60) as other:
        assert silent.take("000")
        os.utime(silent.owner, (0, 0))
        assert other.take("000")
        assert not silent.holds("000")
        silent.release("000")
        assert other.holds("000")


def test_two_that_find_the_same_stale_claim_do_not_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path, "000", 999)
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        judge = second._is_stale

        def slow(owner: dict[str, object], heard: float) -> bool:
            # between the look of the second and its deed, the first takes the claim over
            found = judge(owner, heard)
            first.take("000")
            return found

        monkeypatch.setattr(second, "_is_stale", slow)
        assert not second.take("000")
        assert first.holds("000")


def test_the_number_of_a_dead_process_given_to_another_does_not_keep_its_claim(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims:
        owner = tmp_path / "owner-before"
        owner.write_text(json.dumps({"pid": os.getpid(), "host": module._host(), "born": "1"}))
        os.link(owner, tmp_path / ("000" + CLAIM))
        assert claims.take("000")


def test_what_is_done_is_not_claimed_again(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims:
        assert claims.take("000")
        claims.finish("000", {"largest": 0.5})
        assert not claims.take("000")
        assert claims.facts("000") == {"largest": 0.5}
        (tmp_path / "000.done").write_text("{")
        assert claims.facts("000") == {}
        claims.forget("000")
        assert claims.take("000")
