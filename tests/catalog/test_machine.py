"""Any sequence of operations gives what a small model in memory gives."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from jupyter_modelreg.catalog import Catalog, open_catalog
from jupyter_modelreg.entities.model import Model
from jupyter_modelreg.entities.online import OnlineDeployment, OnlineEndpoint
from jupyter_modelreg.errors import Conflict, NotFound, Unavailable
from tests.postgres import Server

from .conftest import create, manifest_of

NAMES = st.sampled_from(["a", "b"])
CONTENT = st.sampled_from(["one", "two"])
VERSIONS = st.sampled_from(["1", "2", "3", "final"])
TAGS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]))


class Version:
    def __init__(self, content: str, tags: dict[str, str]) -> None:
        self.content, self.tags = content, tags
        self.is_archived = self.is_deleted = False


class Book:
    """One model: what the catalog ought to hold, in the order of creation."""

    def __init__(self) -> None:
        self.versions: dict[str, Version] = {}
        self.next = 1
        self.is_archived = False

    def alive(self) -> dict[str, Version]:
        return {number: item for number, item in self.versions.items() if not item.is_deleted}


class CatalogMachine(RuleBasedStateMachine):
    """The catalog beside the books, and a store that is a set of digests."""

    @initialize()
    def start(self) -> None:
        self.path = self.new_url()
        self.catalog: Catalog = open_catalog(self.path)
        self.books = {"a": Book(), "b": Book()}
        self.deployed: set[tuple[str, str]] = set()
        self.stored: set[str] = set()
        self.running: list[tuple[str, str]] = []  # pins of registrations that are under way, and their content
        self.looked: tuple[set[str], set[str]] | None = None  # candidates of a clean-up and what was live then
        self.doomed: tuple[str, set[str]] | None = None

    def new_url(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        return os.path.join(self.folder.name, "catalog.sqlite")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(name=NAMES, content=CONTENT, wanted=st.none() | VERSIONS, tags=TAGS)
    def create(self, name: str, content: str, wanted: str | None, tags: dict[str, str]) -> None:
        book = self.books[name]
        existing = book.versions.get(wanted or "")
        if existing and (existing.is_deleted or existing.content != content):
            with pytest.raises(Conflict):
                create(self.catalog, name, content, version=wanted, tags=tags)
            return
        pin = self._pin(content)
        if pin is None:
            return
        model = Model(name=name, version=wanted, tags=tags)
        made = self.catalog.create_version(model, manifest_of(content), pin=pin)
        number = wanted or str(self._take_number(book))
        assert made.version == number
        if number.isdigit():
            book.next = max(book.next, int(number) + 1)
        if not existing:
            book.versions[number] = Version(content, tags)
        assert made.tags == book.versions[number].tags

    def _pin(self, content: str) -> str | None:
        """Begin a registration; None while a clean-up removes its content."""
        digest = manifest_of(content).digest
        if self.doomed and digest in self.doomed[1]:
            with pytest.raises(Unavailable):
                self.catalog.pin({digest}, wait_seconds=0)
            return None
        pin = self.catalog.pin({digest}, wait_seconds=0)
        self.stored.add(digest)
        return pin

    @rule(content=CONTENT)
    def begin_to_register(self, content: str) -> None:
        pin = self._pin(content)
        if pin:
            self.running.append((pin, content))

    @precondition(lambda self: self.running)
    @rule(name=NAMES, is_sound=st.booleans())
    def end_to_register(self, name: str, is_sound: bool) -> None:
        pin, content = self.running.pop(0)
        if not is_sound:
            self.catalog.unpin(pin)
            return
        book = self.books[name]
        number = str(self._take_number(book))
        assert self.catalog.create_version(Model(name=name), manifest_of(content), pin=pin).version == number
        book.next = int(number) + 1
        book.versions[number] = Version(content, {})

    @precondition(lambda self: self.doomed is None)
    @rule()
    def look_for_garbage(self) -> None:
        since = self.catalog.last_rows()
        self.looked = (self.stored - self.catalog.live_digests(), since)

    @precondition(lambda self: self.looked and self.doomed is None)
    @rule()
    def doom(self) -> None:
        assert self.looked
        self.doomed = self.catalog.doom(*self.looked, lambda digest: {digest})
        self.looked = None

    @precondition(lambda self: self.doomed)
    @rule()
    def remove(self) -> None:
        assert self.doomed
        self.stored -= self.doomed[1]
        self.catalog.forget_doomed(self.doomed[0])
        self.doomed = None

    def _take_number(self, book: Book) -> int:
        while str(book.next) in book.versions:
            book.next += 1
        return book.next

    @rule(name=NAMES, version=VERSIONS, tags=TAGS)
    def update(self, name: str, version: str, tags: dict[str, str]) -> None:
        change = lambda model: model.replace(tags=tags)  # noqa: E731
        if self._is_missing(name, version, lambda: self.catalog.update_version(name, version, change)):
            return
        assert self.catalog.update_version(name, version, change).tags == tags
        self.books[name].versions[version].tags = tags

    @rule(name=NAMES, version=st.none() | VERSIONS, is_archived=st.booleans())
    def archive(self, name: str, version: str | None, is_archived: bool) -> None:
        def act() -> None:
            self.catalog.set_archived(name, version, is_archived)

        book = self.books[name]
        if self._is_missing(name, version, act):
            return
        if version and book.is_archived and not is_archived:
            with pytest.raises(Conflict):
                act()
            return
        act()
        if version:
            book.versions[version].is_archived = is_archived
        else:
            book.is_archived = is_archived

    @rule(name=NAMES, version=VERSIONS)
    def delete_version(self, name: str, version: str) -> None:
        def act() -> None:
            self.catalog.delete_version(name, version)

        if self._is_missing(name, version, act):
            return
        if (name, version) in self.deployed:
            with pytest.raises(Conflict):
                act()
            return
        act()
        self.books[name].versions[version].is_deleted = True
        self._forget_if_empty(name)

    @rule(name=NAMES)
    def delete_model(self, name: str) -> None:
        if self._is_missing(name, None, lambda: self.catalog.delete_model(name)):
            return
        alive = self.books[name].alive()
        if any((name, version) in self.deployed for version in alive):
            with pytest.raises(Conflict):
                self.catalog.delete_model(name)
            return
        assert self.catalog.delete_model(name) == list(reversed(alive))
        for item in alive.values():
            item.is_deleted = True
        self._forget_if_empty(name)

    def _forget_if_empty(self, name: str) -> None:
        if not self.books[name].alive():
            self.books[name].is_archived = False

    @rule(name=NAMES, version=VERSIONS)
    def deploy(self, name: str, version: str) -> None:
        endpoint = f"{name}-{version}"
        if (name, version) in self.deployed:
            self.catalog.delete_endpoint(endpoint)
            self.deployed.remove((name, version))
            return
        self.catalog.create_endpoint(OnlineEndpoint(name=endpoint))
        deployment = OnlineDeployment(name="blue", endpoint_name=endpoint, model=f"azureml:{name}:{version}")
        if version not in self.books[name].alive():
            with pytest.raises(NotFound):
                self.catalog.put_deployment(deployment, None)
            self.catalog.delete_endpoint(endpoint)
            return
        self.catalog.put_deployment(deployment, None)
        self.deployed.add((name, version))

    @rule()
    def reopen(self) -> None:
        self.catalog = open_catalog(self.path)

    def _is_missing(self, name: str, version: str | None, act: Any) -> bool:
        alive = self.books[name].alive()
        if alive and (version is None or version in alive):
            return False
        with pytest.raises(NotFound):
            act()
        return True

    @invariant()
    def every_list_is_right(self) -> None:
        for name, book in self.books.items():
            alive = book.alive()
            if not alive:
                with pytest.raises(NotFound):
                    self.catalog.list_models(name=name)
                continue
            for archived, is_shown in (
                ("active", lambda hidden: not hidden),
                ("only", lambda hidden: hidden),
                ("all", lambda hidden: True),
            ):
                wanted = [(number, item.tags) for number, item in reversed(alive.items()) if is_shown(item.is_archived or book.is_archived)]
                assert [(item.version, item.tags) for item in self.catalog.list_models(name=name, archived=archived)] == wanted
                latest = [item.version for item in self.catalog.list_models(archived=archived) if item.name == name]
                assert latest == [number for number, _ in wanted[:1]]
            assert self.catalog.get_version(name, label="latest").version == next(reversed(alive))

    @invariant()
    def nothing_that_is_relied_on_is_gone(self) -> None:
        assert self.catalog.live_digests() <= self.stored
        assert {manifest_of(content).digest for _, content in self.running} <= self.stored
        assert self.catalog.broken_audit() is None

    @invariant()
    def exactly_what_is_used_is_kept(self) -> None:
        alive = [item for book in self.books.values() for item in book.alive().values()]
        assert self.catalog.live_digests() == {manifest_of(item.content).digest for item in alive}


CatalogMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestCatalogMachine = CatalogMachine.TestCase


def test_a_catalog_on_a_server_is_no_other(postgres: Server) -> None:
    class Machine(CatalogMachine):
        def new_url(self) -> str:
            return postgres.new_url()

    run_state_machine_as_test(Machine, settings=settings(CatalogMachine.TestCase.settings, max_examples=5))
