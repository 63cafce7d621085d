"""Who may call: keys, tokens that end, and patience with wrong ones."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest

from jupyter_modelreg.serving import keys
from jupyter_modelreg.serving.gate import Gate
from jupyter_modelreg.serving.http import Request
from jupyter_modelreg.serving.keys import MAX_ADDRESSES, MAX_WRONG, Keys, is_good, make_token


def written(path: Path, values: dict[str, str]) -> Keys:
    path.write_text(json.dumps(values))
    return Keys(str(path))


def test_either_key_is_taken_and_nothing_else(tmp_path: Path) -> None:
    known = written(tmp_path / "keys.json", {"primary": "abc", "secondary": "def"})
    assert known.accepts("Bearer abc")
    assert known.accepts("bearer  def ")
    for wrong in ("", "abc", "Basic abc", "Bearer", "Bearer ab", "Bearer ABC", "Bearer abcdef", "Bearer ключ"):
        assert not known.accepts(wrong)


def test_a_key_may_be_the_password_of_programs_that_know_addresses_only(tmp_path: Path) -> None:
    known = written(tmp_path / "keys.json", {"primary": "abc", "secondary": "def"})
    header = {
        user: f"Basic {base64.b64encode(user.encode()).decode()}"
        for user in ("anyone:abc", ":def", "abc", "abc:", "x:abcd", ":", "\xff:abc")
    }
    assert {user for user, sent in header.items() if known.accepts(sent)} == {"anyone:abc", ":def", "\xff:abc"}
    for broken in ("Basic", "Basic abc", "Basic /w==", "Basic YTphYmM", "Basic YTphYmM=YTphYmM="):
        assert not known.accepts(broken)


def test_no_file_takes_nobody(tmp_path: Path) -> None:
    assert not Keys(str(tmp_path / "keys.json")).accepts("Bearer ")


def test_a_key_that_was_replaced_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    known = written(path, {"primary": "abc", "secondary": "def"})
    before = known.current()
    assert known.accepts("Bearer abc")
    (tmp_path / "new").write_text('{"primary": "ghi", "secondary": "def"}')
    os.replace(tmp_path / "new", path)
    assert known.current() is not before
    assert not known.accepts("Bearer abc")
    assert known.accepts("Bearer ghi")


def test_a_token_is_taken_until_it_ends(tmp_path: Path) -> None:
    known = written(tmp_path / "keys.json", {"secret": "s"})
    token, ends = make_token("s", "scale")
    assert abs(ends - time.time() - keys.TOKEN_SECONDS) < 5
    assert known.accepts(f"Bearer {token}")
    old, _ = make_token("s", "scale", now=time.time() - keys.TOKEN_SECONDS - 1)
    assert not known.accepts(f"Bearer {old}")
    assert not known.accepts("Bearer s")  # the secret itself is no token


def test_who_remembers_an_answer_about_a_token_asks_again_when_it_may_have_ended(tmp_path: Path) -> None:
    known = written(tmp_path / "keys.json", {"secret": "s"})
    before = known.current()
    time.sleep(1.01)
    assert known.current() is not before


@pytest.mark.parametrize("change", ["signature", "claims", "header", "other secret", "none"])
def test_a_token_that_was_changed_is_none(change: str) -> None:
    token, _ = make_token("s", "scale")
    header, claims, signature = token.split(".")
    later, _ = make_token("other", "scale", seconds=10**9)
    forged = {
        "signature": f"{header}.{claims}.{signature[:-2]}AA",
        "claims": f"{header}.{later.split('.')[1]}.{signature}",
        "header": f"{later.split('.')[0]}x.{claims}.{signature}",
        "other secret": later,
        "none": f"eyJhbGciOiJub25lIn0.{claims}.",
    }[change]
    assert is_good(token, "s")
    assert not is_good(forged, "s")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 5000])
def test_what_is_no_token_at_all_is_refused_without_an_error(token: str) -> None:
    assert not is_good(token, "s")


def test_wrong_keys_beyond_twenty_a_minute_are_told_to_wait_and_a_right_one_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = written(tmp_path / "keys.json", {"primary": "abc", "secondary": "def"})
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    assert [known.must_wait("10.0.0.1") for _ in range(MAX_WRONG)] == [0.0] * MAX_WRONG
    assert known.must_wait("10.0.0.1") == pytest.approx(60)
    assert known.must_wait("10.0.0.2") == 0.0
    assert known.accepts("Bearer abc")
    moment += 60
    assert known.must_wait("10.0.0.1") == 0.0


def test_addresses_are_remembered_up_to_a_bound_and_new_ones_free_only_the_oldest(tmp_path: Path) -> None:
    known = written(tmp_path / "keys.json", {"primary": "abc", "secondary": "def"})
    known.must_wait("first")
    for _ in range(MAX_WRONG):
        known.must_wait("second")
    for number in range(MAX_ADDRESSES - 1):
        known.must_wait(f"10.0.{number // 256}.{number % 256}")
    assert known.must_wait("second") > 0
    for _ in range(MAX_WRONG):  # it was forgotten, and is counted anew
        assert known.must_wait("first") == 0.0


def test_who_moves_to_another_port_keeps_its_old_name_for_callers_and_not_for_web_pages(tmp_path: Path) -> None:
    written(tmp_path / "keys.json", {"primary": "abc", "secondary": "def"})
    gate = Gate(1001, str(tmp_path / "keys.json"))

    def status(**headers: str) -> int:
        refusal = gate.refusal(Request("POST", "/score", "", {"authorization": "Bearer abc", **headers}))
        return refusal.status if refusal else 200

    assert [status(host=f"localhost:{port}") for port in (1001, 1002)] == [200, 421]
    gate.move(1002)
    assert [status(host=f"localhost:{port}") for port in (1001, 1002, 1003)] == [200, 200, 421]
    assert [status(host="localhost:1002", origin=f"http://localhost:{port}") for port in (1001, 1002)] == [403, 200]
