"""Registrations and clean-ups at the same time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jupyter_modelreg.catalog import Catalog, open_catalog, pins
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.errors import Unavailable

from .conftest import create, manifest_of

ROOT = Path(__file__).parents[2]


def nothing(digest: str) -> set[str]:
    return set()


def in_a_process_that_dies(path: Path, call: str) -> None:
    code = f"import sys, os; from jupyter_modelreg.catalog import open_catalog; c = open_catalog(sys.argv[1]); c.{call}; os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT)


def test_what_is_pinned_is_passed_over(catalog: Catalog) -> None:
    pin = catalog.pin({"a", "b"})
    assert catalog.doom(["a", "c"], set(), nothing)[1] == {"c"}
    catalog.unpin(pin)
    assert catalog.doom(["a"], set(), nothing)[1] == {"a"}


def test_a_version_takes_the_place_of_its_pin(catalog: Catalog) -> None:
    digest = manifest_of("one").digest
    pin = catalog.pin({"a", digest})
    catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
    assert catalog.rows("SELECT * FROM pin") == []
    names_of = {digest: {"a", digest}}.__getitem__
    assert catalog.doom(["a", digest, "c"], set(), names_of)[1] == {"c"}  # it came while the candidates were looked for


def test_a_version_whose_pin_is_gone_is_not_recorded(catalog: Catalog) -> None:
    pin = catalog.pin({"a"})
    catalog.unpin(pin)
    with pytest.raises(Unavailable, match=r"The files of churn were collected meanwhile, nothing was registered; try again"):
        catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
    assert catalog.list_models() == []


def test_a_registration_waits_until_what_it_needs_is_gone(catalog: Catalog, path: Path) -> None:
    doomed, _ = catalog.doom(["a"], set(), nothing)
    timer = threading.Timer(0.3, lambda: open_catalog(str(path)).forget_doomed(doomed))
    timer.start()
    started = time.monotonic()
    catalog.pin({"a", "b"})
    assert time.monotonic() - started > 0.25
    timer.join()


def test_a_registration_that_waits_in_vain_says_for_whom(catalog: Catalog) -> None:
    catalog.doom(["a"], set(), nothing)
    with pytest.raises(
        Unavailable, match=r"The store is being cleaned by process \d+ on .+ since 20.+Z; nothing was registered. Try again"
    ):
        catalog.pin({"a"}, wait_seconds=0.1)
    assert catalog.pin({"b"}, wait_seconds=0.1)


def test_two_clean_ups_remove_nothing_twice(catalog: Catalog) -> None:
    assert catalog.doom(["a"], set(), nothing)[1] == {"a"}
    assert catalog.doom(["a", "b"], set(), nothing)[1] == {"b"}


def test_the_pin_of_a_dead_process_is_dropped(catalog: Catalog, path: Path) -> None:
    in_a_process_that_dies(path, "pin({'a'})")
    assert catalog.doom(["a"], set(), nothing)[1] == {"a"}


def test_what_a_dead_clean_up_had_chosen_is_free_again(catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_process_that_dies(path, "doom(['a'], set(), set)")
    assert catalog.doom(["a"], set(), nothing)[1] == {"a"}
    catalog.forget_doomed(str(catalog.rows("SELECT id FROM doomed")[0][0]))
    in_a_process_that_dies(path, "doom(['a'], set(), set)")
    monkeypatch.setattr(pins, "SETTLE_SECONDS", 0.2)
    assert catalog.pin({"a"}, wait_seconds=5)


def test_a_pin_is_held_whatever_the_clock_does(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_modelreg.catalog import database

    real = time.time
    for years in (-1, 10):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda years=years: real() + years * 365 * 86_400)
            assert database.utc_now()[:4] != time.strftime("%Y")
            pin = catalog.pin({"a"})
            assert catalog.doom(["a"], set(), nothing)[1] == set()
        if years < 0:  # the clock leaps ahead: the pin looks a year old, and its registration is told so
            assert catalog.doom(["a"], set(), nothing)[1] == {"a"}
            with pytest.raises(Unavailable, match="collected meanwhile"):
                catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
            catalog.forget_doomed(str(catalog.rows("SELECT id FROM doomed WHERE names = 'a'")[0][0]))


def test_live_digests_are_those_of_versions_that_are_not_deleted(catalog: Catalog) -> None:
    create(catalog, "a", "one")
    create(catalog, "b", "two")
    catalog.delete_version("b", "1")
    assert catalog.live_digests() == {manifest_of("one").digest}
