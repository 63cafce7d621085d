"""Tests that every catalog passes::

class TestMyCatalog(CatalogSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return "what open_catalog takes, of a catalog in which nothing is"
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from ..catalog import Catalog, database, open_catalog, pins
from ..entities.environment import Environment
from ..entities.model import Lineage, Model, Signature
from ..entities.online import OnlineDeployment, OnlineEndpoint
from ..errors import Conflict, Corrupted, InvalidInput, NotFound, Unavailable
from ..trees import Manifest, ManifestFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


START = (0, 0)  # before any version


def manifest_of(content: str) -> Manifest:
    """Make the manifest of a file that is nowhere; a catalog knows only digests."""
    digest = content.encode().hex().ljust(64, "0")
    return Manifest(root="m", files=(ManifestFile(path="m", size_bytes=len(content), digest=digest),), digest=digest)


def create(catalog: Catalog, name: str, content: str = "one", **values: Any) -> Model:
    """Register a version of a content."""
    return catalog.create_version(Model(name=name, **values), manifest_of(content), user="ada")


def define(catalog: Catalog, digest: str, **values: Any) -> Environment:
    """Record an environment of a definition; a catalog knows only its digest."""
    return catalog.create_environment(Environment(name="tools", image="python:3.11", digest=digest, **values), user="ada")


class CatalogSuite:
    """Inherit it and say where the catalog lies; the tests come along."""

    @pytest.fixture
    def url(self) -> str:
        """Return what `open_catalog` takes, of a catalog in which nothing is."""
        raise NotImplementedError

    @pytest.fixture
    def catalog(self, url: str) -> Catalog:
        """Open it."""
        return open_catalog(url)

    def test_numbers_begin_at_one_and_count(self, catalog: Catalog) -> None:
        assert [create(catalog, "churn", content).version for content in ("one", "two", "one")] == ["1", "2", "3"]

    def test_a_number_of_ones_own_moves_the_counter(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="7")
        assert create(catalog, "churn", "two").version == "8"

    def test_a_text_version_leaves_the_counter_alone(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="final")
        assert create(catalog, "churn", "two").version == "1"
        assert catalog.get_version("churn", label="latest").version == "1"

    def test_the_largest_number_still_has_a_next_one(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="9" * 18)
        assert create(catalog, "churn", "two").version == "1" + "0" * 18

    def test_the_same_version_with_the_same_content_is_returned_as_it_stands(self, catalog: Catalog) -> None:
        first = create(catalog, "churn", version="1", tags={"a": "b"})
        assert create(catalog, "churn", version="1") == first

    def test_the_same_version_with_other_content_is_refused(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="1")
        with pytest.raises(Conflict, match=r"churn:1 exists with other content; versions never change. Leave the version out"):
            create(catalog, "churn", "two", version="1")
        assert names(catalog.list_models(name="churn")) == ["churn:1"]

    def test_an_archived_version_is_not_free_either(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="1")
        catalog.set_archived("churn", "1", True)
        with pytest.raises(Conflict):
            create(catalog, "churn", "two", version="1")

    def test_names_that_differ_by_case_only_are_one(self, catalog: Catalog) -> None:
        create(catalog, "Iris")
        with pytest.raises(Conflict, match='There is a model "Iris"'):
            create(catalog, "iris")
        with pytest.raises(NotFound, match='Did you mean "Iris"'):
            catalog.get_version("iris")
        catalog.delete_model("Iris")
        assert create(catalog, "iris").version == "2"
        assert [item.name for item in catalog.list_models()] == ["iris"]

    def test_a_bad_tag_records_nothing(self, catalog: Catalog) -> None:
        with pytest.raises(InvalidInput):
            create(catalog, "churn", tags={"a=b": "x"})
        assert catalog.list_models(archived="all") == []
        assert create(catalog, "churn").version == "1"

    def test_eight_processes_give_no_number_twice_and_leave_none_out(self, url: str) -> None:
        code = (
            "import sys; from jupyter_modelreg.testing.catalogs import create; from jupyter_modelreg.catalog import open_catalog;"
            "c = open_catalog(sys.argv[1]);"
            "print(*[create(c, 'churn', sys.argv[2] + str(n), tags={'by': sys.argv[2]}).version for n in range(25)])"
        )
        runs = [
            subprocess.Popen([sys.executable, "-c", code, url, f"p{number}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for number in range(8)
        ]
        answers = [run.communicate() for run in runs]
        assert [error for _, error in answers] == [b""] * 8
        given = [[int(word) for word in answer.split()] for answer, _ in answers]
        assert sorted(number for numbers in given for number in numbers) == list(range(1, 201))
        assert all(numbers == sorted(numbers) for numbers in given)
        listed = open_catalog(url).list_models(name="churn")
        assert [item.version for item in listed] == [str(number) for number in range(200, 0, -1)]
        assert all(item.tags["by"] for item in listed)

    def test_threads_of_one_process_share_a_catalog(self, catalog: Catalog) -> None:
        given: list[str] = []
        threads = [
            threading.Thread(target=lambda number=number: given.append(str(create(catalog, "churn", str(number)).version)))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(given, key=int) == [str(number) for number in range(1, 9)]

    def test_a_forked_child_opens_its_own_connection(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        child = os.fork()
        if child == 0:
            os._exit(0 if create(catalog, "churn", "two").version == "2" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert create(catalog, "churn", "three").version == "3"

    def test_everything_that_was_given_comes_back(self, catalog: Catalog) -> None:
        given = Model(
            name="churn",
            description="für alle 🎉",
            tags={"b": "2", "a": "1"},
            stage="Production",
            properties={"p": "q"},
            flavors={"sklearn": {"version": 1.5}},
            metrics={"auc": 0.1, "loss": float("inf")},
            signature=Signature(),
            lineage=Lineage(code="fit()", packages={"numpy": "2"}),
            input_example=[[1, None]],
            system_metadata={"a": [1]},
        )
        created = catalog.create_version(given, manifest_of("one"), user="ada")
        found = catalog.get_version("churn", "1")
        assert found == created
        for field in ("description", "tags", "stage", "properties", "flavors", "metrics", "lineage", "input_example", "system_metadata"):
            assert getattr(found, field) == getattr(given, field)
        assert found.creation_context
        assert found.creation_context.created_by == "ada"
        assert found.id == "azureml://models/churn/versions/1"

    def test_latest_is_what_was_created_last_not_changed_last(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="5")
        create(catalog, "churn", "two", version="3")
        catalog.update_version("churn", "5", tagged(new="yes"))
        assert catalog.get_version("churn").version == "3"
        assert catalog.get_version("churn", label="latest").version == "3"

    def test_any_other_label_is_not_found(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        with pytest.raises(NotFound, match="Asset churn with version label prod does not exist in the workspace; the only label is"):
            catalog.get_version("churn", label="prod")
        with pytest.raises(InvalidInput, match="Cannot specify both version and label"):
            catalog.get_version("churn", "1", "latest")

    def test_what_is_not_there_names_what_is(self, catalog: Catalog) -> None:
        for number in range(8):
            create(catalog, "churn", str(number))
        with pytest.raises(NotFound, match=r'There is no model "chrun". Did you mean "churn"?'):
            catalog.get_version("chrun")
        with pytest.raises(NotFound, match='churn has no version "9"; it has 8, 7, 6, 5, 4 …'):
            catalog.get_version("churn", "9")

    def test_a_list_shows_the_latest_of_each_and_never_none(self, catalog: Catalog) -> None:
        create(catalog, "a")
        create(catalog, "b")
        create(catalog, "a", "two")
        listed = catalog.list_models()
        assert names(listed) == ["a:2", "b:1"]
        assert [item.latest_version for item in listed] == ["2", "1"]
        assert names(catalog.list_models(name="a")) == ["a:2", "a:1"]
        assert names(catalog.list_models(max_results=1)) == ["a:2"]

    def test_a_list_is_filtered_by_tag_stage_and_text(self, catalog: Catalog) -> None:
        create(catalog, "a", tags={"stage": "dev", "team": "x"}, stage="Production", description="predicts 100% of it")
        create(catalog, "a", "two", tags={"stage": "prod"})
        create(catalog, "b", tags={"team": "y"})
        assert names(catalog.list_models(tags={"stage": "dev"})) == ["a:1"]
        assert names(catalog.list_models(tags={"team": ""})) == ["b:1", "a:1"]
        assert names(catalog.list_models(tags={"team": "x", "stage": "dev"})) == ["a:1"]
        assert catalog.list_models(tags={"team": "x", "stage": "prod"}) == []
        assert names(catalog.list_models(stage="Production")) == ["a:1"]
        assert names(catalog.list_models(search="100%")) == ["a:1"]
        assert names(catalog.list_models(search="team=y")) == ["b:1"]
        assert catalog.list_models(search="1_0") == []
        assert names(catalog.list_models(tags={"' OR 1=1 --": "x"})) == []

    def test_a_listed_model_is_a_whole_record(self, catalog: Catalog) -> None:
        from ..records import from_dict

        create(catalog, "a", tags={"b": "c"}, stage="Production")
        (listed,) = catalog.list_models()
        assert listed == from_dict(Model, listed.to_dict(), drop_read_only=False)
        assert (listed.properties, listed.flavors, listed.metrics, listed.files) == ({}, {}, {}, None)

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_limit_below_one_is_refused(self, catalog: Catalog, limit: int) -> None:
        with pytest.raises(InvalidInput, match="max_results must be at least 1"):
            catalog.list_models(max_results=limit)

    def test_more_than_can_be_searched_for_is_refused(self, catalog: Catalog) -> None:
        for words in ({"tags": {str(number): "x" for number in range(10_000)}}, {"search": "x" * 100_000}):
            with pytest.raises(InvalidInput, match="At most 100 tags and 1000 characters"):
                catalog.list_models(**words)

    def test_any_larger_limit_is_a_limit(self, catalog: Catalog) -> None:
        create(catalog, "a")
        assert names(catalog.list_models(max_results=10**30)) == ["a:1"]

    def test_ten_thousand_versions_are_listed_with_their_tags(self, catalog: Catalog) -> None:
        with catalog._database.writing() as transaction:
            transaction.execute("INSERT INTO model (name, folded, next_version) VALUES ('hot', 'hot', 10001)")
            transaction.executemany(
                "INSERT INTO version (model_id, version, digest, size_bytes, created_at, modified_at) VALUES (1, ?, 'd', 1, '', '')",
                [(str(number),) for number in range(1, 10_001)],
            )
            transaction.executemany("INSERT INTO tag VALUES ('number', ?, ?)", [(str(number), number) for number in range(1, 10_001)])
        listed = catalog.list_models(name="hot")
        assert [int(str(item.version)) for item in listed] == list(range(10_000, 0, -1))
        assert all(item.tags == {"number": item.version} for item in listed)
        assert names(catalog.list_models(name="hot", tags={"number": "5000"})) == ["hot:5000"]

    def test_an_update_changes_what_may_change_and_says_who(self, catalog: Catalog) -> None:
        before = create(catalog, "churn", tags={"a": "1"}, properties={"p": "1"})
        after = catalog.update_version(
            "churn",
            "1",
            lambda model: model.replace(description="new", tags={"b": "2"}, stage="Production", properties={"p": "1", "q": "2"}),
            user="bob",
        )
        assert (after.description, after.tags, after.stage, after.properties) == ("new", {"b": "2"}, "Production", {"p": "1", "q": "2"})
        assert after.digest == before.digest
        assert after.creation_context
        assert before.creation_context
        assert after.creation_context.last_modified_by == "bob"
        assert after.creation_context.created_at == before.creation_context.created_at
        assert names(catalog.list_models(tags={"a": ""})) == []

    @pytest.mark.parametrize("properties", [{}, {"p": "2"}])
    def test_a_property_never_changes_nor_goes(self, catalog: Catalog, properties: dict[str, str]) -> None:
        create(catalog, "churn", properties={"p": "1"})
        with pytest.raises(InvalidInput, match='Value of property "p" cannot be replaced'):
            catalog.update_version("churn", "1", lambda model: model.replace(properties=properties, tags={"x": "y"}))
        assert catalog.get_version("churn").tags == {}

    def test_of_two_changes_at_once_none_is_lost(self, url: str) -> None:
        create(open_catalog(url), "churn")
        code = (
            "import sys; from jupyter_modelreg.catalog import open_catalog; c = open_catalog(sys.argv[1]);"
            "[c.update_version('churn', '1', lambda m: m.replace(tags={**m.tags, sys.argv[2] + str(n): 'x'})) for n in range(20)]"
        )
        runs = [subprocess.Popen([sys.executable, "-c", code, url, word]) for word in "abcd"]
        assert [run.wait() for run in runs] == [0] * 4
        assert len(open_catalog(url).get_version("churn").tags) == 80

    def test_text_that_is_no_unicode_is_refused(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        with pytest.raises(InvalidInput, match="is no Unicode text; nothing was changed"):
            catalog.update_version("churn", "1", lambda model: model.replace(description="\udcff"))
        with pytest.raises(InvalidInput, match="is no Unicode text"):
            catalog.get_version("\udcff")
        assert catalog.get_version("churn").description is None

    def test_an_archived_version_leaves_the_lists_and_can_be_used(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        create(catalog, "churn", "two")
        catalog.set_archived("churn", "2", True)
        assert names(catalog.list_models()) == ["churn:1"]
        assert names(catalog.list_models(name="churn")) == ["churn:1"]
        assert names(catalog.list_models(name="churn", archived="only")) == ["churn:2"]
        assert names(catalog.list_models(name="churn", archived="all")) == ["churn:2", "churn:1"]
        assert catalog.get_version("churn", "2").is_archived
        assert catalog.get_version("churn", label="latest").version == "2"
        catalog.set_archived("churn", "2", False)
        assert names(catalog.list_models()) == ["churn:2"]

    def test_an_archived_model_hides_its_versions_old_and_new(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        catalog.set_archived("churn", None, True)
        assert create(catalog, "churn", "two").is_archived
        assert catalog.list_models() == catalog.list_models(name="churn") == []
        with pytest.raises(Conflict, match="The whole model churn is archived; restore it first"):
            catalog.set_archived("churn", "1", False)
        catalog.set_archived("churn", None, False)
        assert names(catalog.list_models(name="churn")) == ["churn:2", "churn:1"]

    def test_a_version_archived_by_itself_stays_so_when_its_model_comes_back(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        create(catalog, "churn", "two")
        catalog.set_archived("churn", "1", True)
        catalog.set_archived("churn", None, True)
        catalog.set_archived("churn", None, False)
        assert names(catalog.list_models(name="churn")) == ["churn:2"]

    def test_archiving_what_is_not_there_is_not_found(self, catalog: Catalog) -> None:
        with pytest.raises(NotFound):
            catalog.set_archived("churn", None, True)
        create(catalog, "churn")
        with pytest.raises(NotFound):
            catalog.set_archived("churn", "2", True)

    def test_a_deleted_number_is_never_given_again(self, catalog: Catalog) -> None:
        create(catalog, "churn", tags={"a": "b"})
        catalog.delete_version("churn", "1")
        for content in ("one", "two"):
            with pytest.raises(Conflict, match=r"churn:1 was deleted at .*, it cannot be recreated"):
                create(catalog, "churn", content, version="1")
        assert catalog.list_models(archived="all") == []
        assert create(catalog, "churn").version == "2"
        assert names(catalog.list_models(tags={"a": ""})) == []

    def test_deleting_a_model_says_what_went_and_keeps_the_counter(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        create(catalog, "churn", "two")
        catalog.set_archived("churn", None, True)
        assert catalog.delete_model("churn") == ["2", "1"]
        with pytest.raises(NotFound, match='There is no model "churn"'):
            catalog.get_version("churn")
        again = create(catalog, "churn")
        assert (again.version, again.is_archived) == ("3", False)

    def test_deleting_twice_is_not_found(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        create(catalog, "churn", "two")
        catalog.delete_version("churn", "1")
        with pytest.raises(NotFound, match='churn has no version "1"; it has 2'):
            catalog.delete_version("churn", "1")

    def test_what_is_deployed_is_not_deleted(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        create(catalog, "churn", "two")
        deploy(catalog, "1")
        for delete in (lambda: catalog.delete_version("churn", "1"), lambda: catalog.delete_model("churn")):
            with pytest.raises(Conflict, match="is deployed at live/blue; delete the deployment first"):
                delete()
        catalog.delete_version("churn", "2")
        catalog.delete_endpoint("live")
        catalog.delete_model("churn")
        assert catalog.list_models(archived="all") == []

    def test_what_was_deleted_is_not_deployed(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        catalog.delete_version("churn", "1")
        with pytest.raises(NotFound, match="churn:1 was deleted meanwhile"):
            deploy(catalog, "1")

    def test_an_endpoint_and_its_deployment_come_back(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        deploy(catalog, "1")
        catalog.put_deployment(OnlineDeployment(name="blue", endpoint_name="live", model="azureml:churn:1"), {"pid": 7})
        assert catalog.get_process("live", "blue") == {"pid": 7}
        assert catalog.deployments_of("churn") == catalog.deployments_of("churn", "1") == ["live/blue"]
        assert [item.name for item in catalog.list_endpoints()] == ["live"]
        assert catalog.get_deployment("live", "blue").model == "azureml:churn:1"
        with pytest.raises(Conflict, match="already exists"):
            catalog.create_endpoint(OnlineEndpoint(name="live"))
        with pytest.raises(NotFound, match=r'Endpoint "live" has no deployment "green"; it has blue'):
            catalog.get_deployment("live", "green")
        with pytest.raises(NotFound, match=r'There is no endpoint "live2". Did you mean "live"?'):
            catalog.update_endpoint(OnlineEndpoint(name="live2"))
        changed = catalog.update_endpoint(OnlineEndpoint(name="live", description="new"), user="bob")
        assert changed.creation_context
        assert changed.creation_context.last_modified_by == "bob"
        catalog.delete_deployment("live", "blue")
        assert catalog.list_deployments("live") == []

    def test_an_environment_that_differs_in_nothing_is_the_latest_one(self, catalog: Catalog) -> None:
        first = define(catalog, "a", tags={"team": "north"})
        assert (first.version, first.latest_version) == ("1", "1")
        assert define(catalog, "a") == first
        assert [define(catalog, digest).version for digest in ("b", "a")] == ["2", "3"]
        again = define(catalog, "a", description="Tools", tags={"stage": "prod"})
        assert (again.version, again.description, again.tags) == ("3", "Tools", {"stage": "prod"})
        assert [item.version for item in catalog.list_environments("tools")] == ["3", "2", "1"]
        assert [(item.name, item.version) for item in catalog.list_environments()] == [("tools", "3")]

    def test_an_environments_version_never_changes_and_is_never_used_twice(self, catalog: Catalog) -> None:
        assert define(catalog, "a", version="7").version == "7"
        assert define(catalog, "b").version == "8"
        with pytest.raises(Conflict, match=r"tools:7 exists with another definition; versions never change"):
            define(catalog, "b", version="7")
        assert catalog.delete_environment("tools", "8") == ["8"]
        with pytest.raises(Conflict, match=r"tools:8 was deleted at 20.+Z, it cannot be recreated"):
            define(catalog, "b", version="8")
        assert define(catalog, "b").version == "9"
        assert catalog.delete_environment("tools") == ["9", "7"]
        with pytest.raises(NotFound, match='There is no environment "tools"'):
            catalog.get_environment("tools")
        assert define(catalog, "b").version == "10"

    def test_an_environment_is_found_by_version_and_label(self, catalog: Catalog) -> None:
        for digest in ("a", "b"):
            define(catalog, digest)
        assert [catalog.get_environment("tools", *words).version for words in ((), ("1",), (None, "latest"))] == ["2", "1", "2"]
        with pytest.raises(NotFound, match=r'Environment tools has no version "9"; it has 2, 1'):
            catalog.get_environment("tools", "9")
        with pytest.raises(NotFound, match=r"version label champion does not exist"):
            catalog.get_environment("tools", label="champion")
        with pytest.raises(NotFound, match='Did you mean "tools"'):
            catalog.list_environments("tool")
        with pytest.raises(InvalidInput, match="Cannot specify both"):
            catalog.get_environment("tools", "1", "latest")
        with pytest.raises(Conflict, match='There is an environment "tools"'):
            catalog.create_environment(Environment(name="Tools", image="i", digest="a"))
        wrong: list[dict[str, Any]] = [{"name": "a b"}, {"version": "latest"}, {"tags": {"a=b": "c"}}]
        for bad in wrong:
            with pytest.raises(InvalidInput):
                catalog.create_environment(Environment(**{"name": "tools", "image": "i", "digest": "z", **bad}))
        assert len(catalog.list_environments("tools", archived="all")) == 2
        assert len(catalog.list_environments("tools", max_results=1)) == 1

    def test_an_archived_environment_is_hidden_and_can_be_used(self, catalog: Catalog) -> None:
        for digest in ("a", "b"):
            define(catalog, digest)
        catalog.set_environment_archived("tools", "2", True)
        assert [item.version for item in catalog.list_environments()] == ["1"]
        assert [item.version for item in catalog.list_environments(archived="only")] == ["2"]
        assert catalog.get_environment("tools").is_archived
        catalog.set_environment_archived("tools", None, True)
        assert catalog.list_environments() == []
        assert define(catalog, "c").is_archived
        with pytest.raises(Conflict, match="The whole environment tools is archived; restore it first"):
            catalog.set_environment_archived("tools", "2", False)
        catalog.set_environment_archived("tools", None, False)
        assert [item.version for item in catalog.list_environments("tools")] == ["3", "1"]

    def test_an_environment_in_use_is_not_deleted(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        define(catalog, "a")
        catalog.create_endpoint(OnlineEndpoint(name="live"))
        deployment = OnlineDeployment(name="blue", endpoint_name="live", model="azureml:churn:1", environment="azureml:tools:1")
        catalog.put_deployment(deployment, None)
        for version in ("1", None):
            with pytest.raises(Conflict, match=r"Environment tools:1 is used at live/blue; delete the deployment first"):
                catalog.delete_environment("tools", version)
        catalog.delete_deployment("live", "blue")
        assert catalog.delete_environment("tools") == ["1"]

    def test_a_build_context_is_spared_by_a_clean_up_as_long_as_its_environment_stands(self, catalog: Catalog) -> None:
        context = manifest_of("Dockerfile")
        pin = catalog.pin({context.digest})
        catalog.create_environment(Environment(name="tools", image="i", digest="a"), manifest=context, pin=pin)
        assert catalog.live_digests() == {context.digest}
        assert catalog.kept_contexts() == [("environment tools:1", context.digest, context.size_bytes)]
        assert catalog.rows("SELECT * FROM pin") == []
        catalog.delete_environment("tools")
        assert catalog.live_digests() == set()
        assert catalog.kept_contexts() == []

    def test_every_change_of_an_environment_is_recorded(self, catalog: Catalog) -> None:
        define(catalog, "a")
        define(catalog, "a")
        catalog.update_environment("tools", "1", lambda found: found.replace(description="new"), user="eve")
        catalog.set_environment_archived("tools", "1", True)
        catalog.delete_environment("tools", "1")
        assert [(row.action, row.subject) for row in reversed(catalog.audit())] == [
            ("create environment", "tools:1"),
            ("update environment", "tools:1"),
            ("archive environment", "tools:1"),
            ("delete environment", "tools:1"),
        ]
        assert catalog.broken_audit() is None

    def test_eight_processes_that_define_the_same_environment_make_one(self, url: str) -> None:
        code = (
            "import sys; from jupyter_modelreg.testing.catalogs import define; from jupyter_modelreg.catalog import open_catalog;"
            "print(define(open_catalog(sys.argv[1]), 'a').version)"
        )
        runs = [subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
        assert [run.communicate() for run in runs] == [(b"1\n", b"")] * 8

    def test_every_change_is_counted_and_no_failed_one(self, catalog: Catalog) -> None:
        before = catalog.change_number()
        create(catalog, "churn")
        with pytest.raises(InvalidInput):
            create(catalog, "churn", tags={"": "x"})
        with pytest.raises(NotFound):
            catalog.delete_version("churn", "9")
        assert catalog.change_number() == before + 1

    def test_what_is_pinned_is_passed_over(self, catalog: Catalog) -> None:
        pin = catalog.pin({"a", "b"})
        assert catalog.doom(["a", "c"], START, nothing)[1] == {"c"}
        catalog.unpin(pin)
        assert catalog.doom(["a"], START, nothing)[1] == {"a"}

    def test_a_version_takes_the_place_of_its_pin(self, catalog: Catalog) -> None:
        digest = manifest_of("one").digest
        pin = catalog.pin({"a", digest})
        catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
        assert catalog.rows("SELECT * FROM pin") == []
        names_of = {digest: {"a", digest}}.__getitem__
        assert catalog.doom(["a", digest, "c"], START, names_of)[1] == {"c"}  # it came while the candidates were looked for

    def test_content_that_went_and_came_back_may_lie_elsewhere(self, catalog: Catalog) -> None:
        create(catalog, "churn", "one")
        since, digest = catalog.last_rows(), manifest_of("one").digest
        catalog.delete_version("churn", "1")
        create(catalog, "churn", "one")
        names_of = {digest: {"old pack"}}.__getitem__
        assert catalog.doom(["old pack", "c"], since, names_of)[1] == {"c"}
        assert catalog.doom(["old pack"], catalog.last_rows(), names_of)[1] == {"old pack"}

    def test_a_version_whose_pin_is_gone_is_not_recorded(self, catalog: Catalog) -> None:
        pin = catalog.pin({"a"})
        catalog.unpin(pin)
        with pytest.raises(Unavailable, match=r"The files of churn were collected meanwhile, nothing was registered; try again"):
            catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
        assert catalog.list_models() == []

    def test_a_registration_waits_until_what_it_needs_is_gone(self, catalog: Catalog, url: str) -> None:
        doomed, _ = catalog.doom(["a"], START, nothing)
        timer = threading.Timer(0.3, lambda: open_catalog(url).forget_doomed(doomed))
        timer.start()
        started = time.monotonic()
        catalog.pin({"a", "b"})
        assert time.monotonic() - started > 0.25
        timer.join()

    def test_a_registration_that_waits_in_vain_says_for_whom(self, catalog: Catalog) -> None:
        catalog.doom(["a"], START, nothing)
        with pytest.raises(
            Unavailable, match=r"The store is being cleaned by process \d+ on .+ since 20.+Z; nothing was registered. Try again"
        ):
            catalog.pin({"a"}, wait_seconds=0.1)
        assert catalog.pin({"b"}, wait_seconds=0.1)

    def test_two_clean_ups_remove_nothing_twice(self, catalog: Catalog) -> None:
        assert catalog.doom(["a"], START, nothing)[1] == {"a"}
        assert catalog.doom(["a", "b"], START, nothing)[1] == {"b"}

    def test_the_pin_of_a_dead_process_is_dropped(self, catalog: Catalog, url: str) -> None:
        in_a_process_that_dies(url, "pin({'a'})")
        assert catalog.doom(["a"], START, nothing)[1] == {"a"}

    def test_what_a_dead_clean_up_had_chosen_is_free_again(self, catalog: Catalog, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        in_a_process_that_dies(url, "doom(['a'], (0, 0), set)")
        assert catalog.doom(["a"], START, nothing)[1] == {"a"}
        catalog.forget_doomed(str(catalog.rows("SELECT id FROM doomed")[0][0]))
        in_a_process_that_dies(url, "doom(['a'], (0, 0), set)")
        monkeypatch.setattr(pins, "SETTLE_SECONDS", 0.2)
        assert catalog.pin({"a"}, wait_seconds=5)

    def test_a_pin_is_held_whatever_the_clock_does(self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
        real = time.time
        for years in (-1, 10):
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda years=years: real() + years * 365 * 86_400)
                assert database.utc_now()[:4] != time.strftime("%Y")
                pin = catalog.pin({"a"})
                assert catalog.doom(["a"], START, nothing)[1] == set()
            if years < 0:  # the clock leaps ahead: the pin looks a year old, and its registration is told so
                assert catalog.doom(["a"], START, nothing)[1] == {"a"}
                with pytest.raises(Unavailable, match="collected meanwhile"):
                    catalog.create_version(Model(name="churn"), manifest_of("one"), pin=pin)
                catalog.forget_doomed(str(catalog.rows("SELECT id FROM doomed WHERE names = 'a'")[0][0]))

    def test_live_digests_are_those_of_versions_that_are_not_deleted(self, catalog: Catalog) -> None:
        create(catalog, "a", "one")
        create(catalog, "b", "two")
        catalog.delete_version("b", "1")
        assert catalog.live_digests() == {manifest_of("one").digest}

    def test_every_change_is_recorded_once_with_who_did_it(self, url: str) -> None:
        catalog = open_catalog(url, user="bob")
        create(catalog, "churn")
        create(catalog, "churn", version="1")  # it stands already
        catalog.update_version("churn", "1", tagged(a="b"), user="eve")
        for is_archived in (True, False):
            catalog.set_archived("churn", "1", is_archived)
        catalog.set_archived("churn", None, False)
        deploy(catalog, "1")
        catalog.update_endpoint(catalog.get_endpoint("live"), user="eve")
        catalog.delete_deployment("live", "blue")
        catalog.delete_endpoint("live")
        create(catalog, "other", "two")
        catalog.delete_version("churn", "1")
        catalog.delete_model("other")
        catalog.unpin(catalog.pin({"a"}))
        catalog.forget_doomed(catalog.doom(["a"], START, nothing)[0])
        rows = catalog.audit()
        assert [(row.number, row.actor, row.action, row.subject) for row in reversed(rows)] == [
            (1, "ada", "create", "churn:1"),
            (2, "eve", "update", "churn:1"),
            (3, "bob", "archive", "churn:1"),
            (4, "bob", "restore", "churn:1"),
            (5, "bob", "restore", "churn"),
            (6, "bob", "create endpoint", "live"),
            (7, "bob", "deploy", "churn:1 at live/blue"),
            (8, "eve", "update endpoint", "live"),
            (9, "bob", "delete deployment", "live/blue"),
            (10, "bob", "delete endpoint", "live"),
            (11, "ada", "create", "other:1"),
            (12, "bob", "delete", "churn:1"),
            (13, "bob", "delete", "other"),
        ]
        assert [row.number for row in catalog.audit(model="churn", max_results=2)] == [12, 7]
        assert catalog.audit()[-1].digest == manifest_of("one").digest
        assert catalog.change_number() == 13
        assert catalog.broken_audit() is None

    def test_a_change_that_fails_is_not_recorded(self, catalog: Catalog) -> None:
        create(catalog, "churn", version="1")
        with pytest.raises(Conflict):
            create(catalog, "churn", "two", version="1")
        with pytest.raises(NotFound):
            catalog.delete_version("churn", "2")
        assert len(catalog.audit()) == 1

    @pytest.mark.parametrize("column", ["details", "properties", "metrics"])
    def test_a_row_that_cannot_be_read_is_named(self, catalog: Catalog, column: str) -> None:
        create(catalog, "churn")
        with catalog._database.writing() as transaction:
            transaction.execute(f"UPDATE version SET {column} = '{{'")  # noqa: S608 - one of three
        with pytest.raises(Corrupted, match="record of churn:1 is damaged"):
            catalog.get_version("churn", "1")

    @pytest.mark.parametrize(
        ("statement", "first"),
        [
            ("UPDATE audit SET actor = 'eve' WHERE number = 3", 3),
            ("UPDATE audit SET at = '2000-01-01T00:00:00.000000Z' WHERE number = 1", 1),
            ("DELETE FROM audit WHERE number = 2", 3),
            ("DELETE FROM audit WHERE number = 1", 2),
            ("DELETE FROM audit WHERE number > 3", 4),
            ("DELETE FROM audit", 5),
            ("UPDATE audit SET number = 6 WHERE number = 5", 6),
            ("UPDATE change SET number = 4", 6),
        ],
    )
    def test_a_row_that_was_edited_or_removed_is_named(self, catalog: Catalog, statement: str, first: int) -> None:
        for number in range(5):
            create(catalog, "churn", str(number))
        assert catalog.broken_audit() is None
        with catalog._database.writing() as transaction:
            transaction.execute(statement)
        assert catalog.broken_audit() == first

    def test_a_version_that_was_given_other_content_by_hand_is_named(self, catalog: Catalog) -> None:
        create(catalog, "churn", "one")
        create(catalog, "churn", "two")
        assert catalog.edited_versions() == []
        with catalog._database.writing() as transaction:
            transaction.execute("UPDATE version SET digest = ? WHERE version = '2'", (manifest_of("one").digest,))
        assert catalog.edited_versions() == ["churn:2"]

    def test_a_line_break_in_a_name_makes_no_second_row(self, catalog: Catalog) -> None:
        actor = "eve\n2026-11-25T00:00:00Z INFO admin deleted all"
        catalog.create_version(Model(name="churn"), manifest_of("one"), user=actor)
        assert [row.actor for row in catalog.audit()] == [actor]

    def test_text_that_not_every_database_keeps_is_refused_in_the_same_words(self, catalog: Catalog) -> None:
        create(catalog, "churn")
        for text in ("a\0b", "a\udcffb"):
            with pytest.raises(InvalidInput, match=r"holds a zero byte; nothing was changed|is no Unicode text; nothing was changed"):
                catalog.update_version("churn", "1", described(text))
            with pytest.raises(InvalidInput):
                catalog.get_version("churn", text)
        for values in ({"properties": {"a": "\udcff"}}, {"stage": "x" * 257}, {"metrics": {"k" * 257: 1.0}}):
            with pytest.raises(InvalidInput):
                create(catalog, "churn", "two", **values)
        assert len(catalog.audit()) == 1

    def test_any_number_is_a_metric(self, catalog: Catalog) -> None:
        given = {"a": 0.1, "b": float("inf"), "c": float("-inf"), "d": 3, "e": 1e-320, "ä b": -0.0}
        create(catalog, "churn", metrics={**given, "nan": float("nan")})
        assert {key: value for key, value in catalog.get_version("churn").metrics.items() if key != "nan"} == given
        query = "SELECT key FROM metric WHERE value > ? ORDER BY key"
        assert [row[0] for row in catalog.rows(query, (0.05,))] == ["a", "b", "d"]
        catalog.delete_version("churn", "1")
        assert catalog.rows("SELECT key FROM metric") == []

    def test_the_order_of_versions_is_that_of_their_creation_whatever_the_clock_does(
        self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = time.time
        for number, years in enumerate((0, -1, 10, 0)):
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda years=years: real() + years * 365 * 86_400)
                create(catalog, "churn", str(number))
        assert [item.version for item in catalog.list_models(name="churn")] == ["4", "3", "2", "1"]
        assert catalog.get_version("churn").version == "4"
        assert [row.subject for row in catalog.audit()] == ["churn:4", "churn:3", "churn:2", "churn:1"]
        assert catalog.broken_audit() is None

    def test_a_writer_waits_for_another_and_a_reader_for_nobody(self, catalog: Catalog, url: str) -> None:
        create(catalog, "churn")
        thread = threading.Thread(target=lambda: create(open_catalog(url), "churn", "two"))
        with catalog._database.writing():
            thread.start()
            time.sleep(0.2)
            reader: list[list[Model]] = []
            other = threading.Thread(target=lambda: reader.append(open_catalog(url).list_models(name="churn")))
            other.start()
            other.join(timeout=5)
            assert names(reader[0]) == ["churn:1"]
        thread.join()
        assert names(catalog.list_models(name="churn")) == ["churn:2", "churn:1"]

    @pytest.mark.parametrize(
        "read",
        [
            lambda catalog: [(item.version, item.tags) for item in catalog.list_models(name="churn", tags={"stage": ""})],
            lambda catalog: [(item.version, item.tags) for item in [catalog.get_version("churn", "1")]],
            lambda catalog: (catalog.broken_audit(), catalog.edited_versions()),
        ],
        ids=["list", "show", "audit"],
    )
    def test_a_reader_sees_one_moment(self, catalog: Catalog, read: Callable[[Catalog], object], monkeypatch: pytest.MonkeyPatch) -> None:
        create(catalog, "churn", tags={"stage": "prod"})
        expected, ask, changes = read(catalog), catalog._database.rows, [lambda: catalog.delete_version("churn", "1")]

        def rows(*query: Any) -> list[Any]:
            found = ask(*query)
            if changes:
                thread = threading.Thread(target=changes.pop())
                thread.start()
                thread.join()
            return found

        monkeypatch.setattr(catalog._database, "rows", rows)
        assert read(catalog) == expected
        assert not changes
        with pytest.raises(NotFound):
            catalog.get_version("churn", "1")


def names(models: list[Model]) -> list[str]:
    """Return the references of models."""
    return [f"{item.name}:{item.version}" for item in models]


def deploy(catalog: Catalog, version: str, endpoint: str = "live") -> None:
    """Record that a version of churn is served."""
    catalog.create_endpoint(OnlineEndpoint(name=endpoint))
    catalog.put_deployment(OnlineDeployment(name="blue", endpoint_name=endpoint, model=f"azureml:churn:{version}"), None)


def tagged(**tags: str) -> Callable[[Model], Model]:
    """Return the change that gives a version these tags."""
    return lambda model: model.replace(tags=tags)


def described(text: str) -> Callable[[Model], Model]:
    """Return the change that gives a version this description."""
    return lambda model: model.replace(description=text)


def nothing(digest: str) -> set[str]:
    """Return the names that a manifest without files relies on."""
    return set()


def in_a_process_that_dies(url: str, call: str) -> None:
    """Call a method of the catalog in a process that ends without another word."""
    code = f"import sys, os; from jupyter_modelreg.catalog import open_catalog; c = open_catalog(sys.argv[1]); c.{call}; os._exit(0)"
    subprocess.run([sys.executable, "-c", code, url], check=True)
