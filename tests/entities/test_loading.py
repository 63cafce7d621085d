"""Entities from YAML and back; every error names file, line and key."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg.entities import Environment, Model, OnlineDeployment, OnlineEndpoint, Scan, Signature
from jupyter_modelreg.entities.loading import apply_update, dump_entity, load_entity, parse_yaml
from jupyter_modelreg.errors import InvalidInput

from ..trust.hostile import MADE

FULL_MODEL = """\
$schema: https://azuremlschemas.azureedge.net/latest/model.schema.json
name: churn
version: 1.10
type: MLFLOW_MODEL
path: ./model
description: Who leaves?
tags: {stage: dev, year: 2026, ok: yes, day: 2026-01-02, path: raw/x, code: a1}
properties:
  owner: me
stage: Development
flavors:
  sklearn: {sklearn_version: 0.23.2, size: 3, on: true}
  python_function: {}
datastore: workspaceblobstore
system_metadata: {a: {b: 1}}
default_deployment_template: {asset_id: azureml://registries/r/d/1}
allowed_deployment_templates: [{asset_id: x}]
id: azureml:/x
utc_time_created: 2026-01-01
creation_context: {created_by: me, created_by_type: User, anything: 3}
job_name: j
latest_version: 4
intellectual_property: {publisher: p, protection_level: all}
"""

DEPLOYMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: churn
model:
  path: model.pkl
  type: custom_model
code_configuration:
  code: ../src
  scoring_script: score.py
environment:
  conda_file: ./conda.yml
  image: mcr.microsoft.com/x:latest
environment_variables: {path: a/b, DEBUG: 1}
instance_type: Standard_DS3_v2
instance_count: 0x2
app_insights_enabled: on
request_settings: {request_timeout_ms: 90_000}
liveness_probe: {initial_delay: 5}
"""


def load(text: str, kind: Any = Model, **options: Any) -> Any:
    return load_entity(kind, io.StringIO(text), **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_every_key_of_a_model_is_read(folder: Path) -> None:
    (folder / "m.yml").write_text(FULL_MODEL)
    model = load_entity(Model, str(folder / "m.yml"))
    assert model == Model(
        name="churn",
        version="1.10",
        type="mlflow_model",
        path=f"{folder}/model",
        description="Who leaves?",
        tags={"stage": "dev", "year": "2026", "ok": "yes", "day": "2026-01-02", "path": "raw/x", "code": "a1"},
        properties={"owner": "me"},
        stage="Development",
        flavors={"sklearn": {"sklearn_version": "0.23.2", "size": 3, "on": True}, "python_function": {}},
        datastore="workspaceblobstore",
        system_metadata={"a": {"b": 1}},
        default_deployment_template={"asset_id": "azureml://registries/r/d/1"},
        allowed_deployment_templates=[{"asset_id": "x"}],
    )


def test_every_key_of_a_deployment_is_read_and_only_its_paths_are_resolved(folder: Path) -> None:
    (folder / "d.yml").write_text(DEPLOYMENT)
    deployment = load_entity(OnlineDeployment, str(folder / "d.yml"))
    assert isinstance(deployment.model, Model)
    assert isinstance(deployment.environment, Environment)
    assert deployment.code_configuration
    assert deployment.request_settings
    assert deployment.liveness_probe
    assert (deployment.model.path, deployment.code_configuration.code) == (f"{folder}/model.pkl", f"{folder}/../src")
    assert deployment.environment.conda_file == f"{folder}/conda.yml"
    assert deployment.environment_variables == {"path": "a/b", "DEBUG": "1"}
    assert (deployment.instance_count, deployment.app_insights_enabled) == (2, True)
    assert (deployment.request_settings.request_timeout_ms, deployment.request_settings.max_queue_wait_ms) == (90_000, 500)
    assert (deployment.liveness_probe.initial_delay, deployment.liveness_probe.period) == (5, 10)


def test_an_endpoint_is_read() -> None:
    endpoint = load("name: churn\nauth_mode: KEY\ntraffic: {blue: 90, green: '10'}\nscoring_uri: http://x\n", OnlineEndpoint)
    assert endpoint == OnlineEndpoint(name="churn", auth_mode="key", traffic={"blue": 90, "green": 10})


@pytest.mark.parametrize("path", ["azureml:churn:1", "azureml://datastores/d/paths/x", "runs:/abc/model", "/abs/x", "https://x/y", "~/x"])
def test_references_and_absolute_paths_stay_as_they_are(path: str, folder: Path) -> None:
    (folder / "m.yml").write_text(f"name: m\npath: {path}\n")
    assert load_entity(Model, str(folder / "m.yml")).path == path


def test_a_stream_without_a_name_resolves_nothing() -> None:
    assert load("name: m\npath: ./x\n").path == "./x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: m\ndescripton: x\n", 'm.yml:2: Unknown key "descripton". Did you mean "description"? Known: name, version,'),
        ("name: m\n\ntype: mlflow\n", 'm.yml:3: type is "mlflow"; it must be one of custom_model, mlflow_model, triton_model.'),
        ("name: m\ntype: MLFlowModel\n", 'm.yml:2: type is "MLFlowModel"; it must be one of'),
        ("name: m\ntags: [a]\n", "m.yml:2: tags must be a mapping, not a list."),
        ("name: m\ntags:\n  a: 1\n  b: {c: 1}\n", "m.yml:4: tags.b must be text, not a mapping."),
        ("name: m\ntags:\n  a:\n", "m.yml:3: tags.a must not be empty."),
        ("name: [m]\n", "m.yml:1: name must be text, not a list."),
        ("name: m\nname: n\n", 'm.yml:2: "name" stands twice.'),
        ("name: m\ntags: {a: 1, a: 2}\n", 'm.yml:2: "tags.a" stands twice.'),
        ("name: m\n? [a]\n: b\n", "m.yml:2: a key must be plain text."),
        ("name: m\ntags: {<<: {a: 1}}\n", 'm.yml:2: "<<" is not read; write out the keys'),
        ("version: 3\n", "m.yml:1: If version is specified, name must be specified also."),
        ("name: m\npath: !!python/object/apply:os.system ['touch canary']\n", 'm.yml:2: the tag "tag:yaml.org,2002:python/object/apply'),
        ("name: !own x\n", 'm.yml:1: the tag "!own" is not allowed.'),
        ("name: m\n  bad: x\n", "m.yml:2: this is no YAML: mapping values are not allowed here."),
        ("name: 'm\n", "m.yml:2: this is no YAML: found unexpected end of stream."),
        ("name: m\n---\nname: n\n", "m.yml:2: this is no YAML: but found another document."),
        ("", "m.yml is empty."),
        ("# only words\n", "m.yml is empty."),
        ("- a\n", "m.yml:1: a mapping of keys to values is wanted, such as name: churn."),
        ("just text\n", "m.yml:1: a mapping of keys to values is wanted"),
        ("name: m\npath: azureml:\n", "m.yml:2: "),
    ],
)
def test_an_error_names_file_line_and_key(text: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("m.yml").write_text(text)
    with pytest.raises(InvalidInput) as raised:
        load_entity(Model, "m.yml")
    assert raised.value.message.startswith(message)
    assert "\n" not in raised.value.message
    assert not Path("canary").exists()


def test_the_error_of_a_nested_key_names_its_own_line(folder: Path) -> None:
    (folder / "d.yml").write_text("name: blue\nmodel:\n  name: m\n  pth: x\nrequest_settings:\n  request_timeout_ms: fast\n")
    with pytest.raises(InvalidInput, match=r'd\.yml:4: Unknown key "pth"\. Did you mean "path"\?') as raised:
        load_entity(OnlineDeployment, str(folder / "d.yml"))
    assert raised.value.key == "model.pth"
    with pytest.raises(InvalidInput, match=r'd\.yml:6: request_settings\.request_timeout_ms must be a whole number, not "fast"'):
        load_entity(OnlineDeployment, str(folder / "d.yml"), overrides=["model=azureml:m:1"])


def test_a_missing_file_names_its_neighbour(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    Path("model.yml").write_text("name: m\n")
    with pytest.raises(InvalidInput, match=r'modle\.yml: no such file\. Did you mean "model\.yml"\?'):
        load_entity(Model, "modle.yml")
    with pytest.raises(InvalidInput, match=r"in is a folder; name the YAML file in it"):
        load_entity(Model, str(folder))
    Path("latin.yml").write_bytes(b"name: \xe4\n")
    with pytest.raises(InvalidInput, match=r"latin\.yml cannot be read: it is not UTF-8 text"):
        load_entity(Model, "latin.yml")


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, MADE["bomb/MLmodel"].decode(), "name: " + "x" * (5 << 20), "a: " + "{a: " * 60 + "1" + "}" * 60]
)
def test_what_is_too_deep_or_too_large_is_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidInput, match=r"nested too deeply|too large|larger than"):
        load(text)
    assert time.perf_counter() - start < 5


def test_set_comes_before_validation_and_counts_as_if_it_stood_in_the_file(folder: Path) -> None:
    (folder / "m.yml").write_text("name: m\nversion: 1\ntype: nonsense\n")
    sets = ["type=custom_model", "tags.a.b=c=d", "version=2", "path=./x"]
    with pytest.raises(InvalidInput, match=r"--set tags\.a\.b: tags\.a must be text, not a mapping"):
        load_entity(Model, str(folder / "m.yml"), overrides=sets)
    model = load_entity(Model, str(folder / "m.yml"), overrides=[word.replace(".b", "") for word in sets])
    assert (model.type, model.tags, model.version, model.path) == ("custom_model", {"a": "c=d"}, "2", f"{folder}/x")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tags", 'usage error: --set KEY=VALUE [KEY=VALUE ...]; "tags" has no "=".'),
        ("=x", "usage error: --set KEY=VALUE"),
        ("descripton=x", '--set descripton: Unknown key "descripton". Did you mean "description"?'),
        ("name.first=x", "Cannot use '--set' on properties defined by reference strings: name.first."),
        ("tags[0]=x", '--set: there is no "tags[0]".'),
        ("tags[x]=x", '"tags[x]" is no path; write for example tags.stage or list[0].'),
        ("tags..a=x", '"tags..a" is no path'),
        (".=x", '"." is no path'),
        ("[0]=x", '"[0]" is no path'),
        ("allowed_deployment_templates[²]=x", "is no path"),
        ("type=x", '--set type: type is "x"; it must be one of'),
    ],
)
def test_a_bad_set_is_blamed_on_the_option_and_not_on_the_file(word: str, message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        load("name: m\n", overrides=[word])
    assert message in raised.value.message


def test_params_override_is_azures_form_of_set_and_changes_nothing_of_the_callers() -> None:
    given_values = {"name": "m", "tags": {"a": "1"}}
    model = load_entity(Model, given_values, params_override=[{"tags.a": 2}, {"description": "x"}])
    assert (model.tags, model.description) == ({"a": "2"}, "x")
    assert given_values == {"name": "m", "tags": {"a": "1"}}


def test_what_show_prints_loads_again() -> None:
    model = Model(
        name="churn",
        version="1.10",
        type="mlflow_model",
        tags={"a": "true", "b": "007", "c": "null", "d": "2026-01-02"},
        description="two\nlines: with # signs",
        flavors={"sklearn": {"code": None, "v": 1.5}},
        digest="ab" * 32,
        metrics={"auc": 0.5},
        scan=Scan(verdict="data-only"),
        signature=Signature(),
        is_archived=True,
    )
    for text in (dump_entity(model), json.dumps(model.to_dict()), yaml.safe_dump(model.to_dict())):
        again = load(text)
        wanted = ("name", "version", "type", "tags", "description", "flavors")
        assert [getattr(again, name) for name in wanted] == [getattr(model, name) for name in wanted]
        assert again.digest is None


@settings(deadline=None)
@given(
    st.builds(
        Model,
        name=st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True),
        version=st.one_of(st.none(), st.text("0123456789.e_-:xo", min_size=1)),
        description=st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))),
        tags=st.dictionaries(st.text("abc. -:#", min_size=1), st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))),
        system_metadata=st.dictionaries(st.text("abc", min_size=1), st.one_of(st.integers(), st.booleans(), st.text("abn0.~"), st.none())),
    )
)
def test_every_model_comes_back_from_its_yaml(model: Model) -> None:
    again = load(dump_entity(model))
    assert again == model.replace(system_metadata=model.system_metadata or None)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_an_entity_or_one_clear_line(text: str) -> None:
    try:
        load(text)
    except InvalidInput as error:
        assert error.message  # noqa: PT017 - the text may also be an entity


def test_yaml_of_others_is_read_as_json_would_be() -> None:
    text = "a: 1\nb: yes\nc: 2026-01-02\nd: !!binary aGk=\ne: .nan\nf: '1'\ng: [1, {h: ~}]\n3: x\n"
    wanted = {"a": 1, "b": True, "c": "2026-01-02", "d": "aGk=", "e": ".nan", "f": "1", "g": [1, {"h": None}], "3": "x"}
    assert parse_yaml(text, "x") == wanted


# --- update ---------------------------------------------------------------------------------------------------------

HELD = {"tags": {"a": "1", "c": "2"}, "list": [1, {"x": "y"}], "description": None, "name": "m"}


@pytest.mark.parametrize(
    ("options", "key", "wanted"),
    [
        ({"set": ["tags.b=2"]}, "tags", {"a": "1", "c": "2", "b": 2}),
        ({"set": ["tags.b=2"], "force_string": True}, "tags", {"a": "1", "c": "2", "b": "2"}),
        ({"set": ["tags.b=a=b"]}, "tags", {"a": "1", "c": "2", "b": "a=b"}),
        ({"set": ["tags.b="]}, "tags", {"a": "1", "c": "2", "b": ""}),
        ({"set": ["tags.b=NaN", "tags.c=Infinity"]}, "tags", {"a": "1", "c": "Infinity", "b": "NaN"}),
        ({"set": ['tags={"z": [1]}']}, "tags", {"z": [1]}),
        ({"set": ["description.en=x"]}, "description", {"en": "x"}),
        ({"set": ["list[1].x=z", "list[0]=null"]}, "list", [None, {"x": "z"}]),
        ({"set": ["new.deep=" + "[" * 100_000]}, "new", {"deep": "[" * 100_000}),
        ({"add": ["tags b=2"]}, "tags", {"a": "1", "c": "2", "b": 2}),
        ({"add": ["tags b=two words"]}, "tags", {"a": "1", "c": "2", "b": "two words"}),
        ({"add": ["tags b=1 d=2"]}, "tags", {"a": "1", "c": "2", "b": 1, "d": 2}),
        ({"add": ["list 3"]}, "list", [1, {"x": "y"}, 3]),
        ({"add": ["list 3"], "force_string": True}, "list", [1, {"x": "y"}, "3"]),
        ({"add": ["list two words"]}, "list", [1, {"x": "y"}, "two words"]),
        ({"add": ["list k=v l=2"]}, "list", [1, {"x": "y"}, {"k": "v", "l": 2}]),
        ({"add": ['list {"k": "a=b"}']}, "list", [1, {"x": "y"}, {"k": "a=b"}]),
        ({"add": ["fresh one"]}, "fresh", ["one"]),
        ({"add": ["fresh k=v"]}, "fresh", {"k": "v"}),
        ({"remove": ["tags.a"]}, "tags", {"c": "2"}),
        ({"remove": ["tags a"]}, "tags", {"c": "2"}),
        ({"remove": ["list[0]"]}, "list", [{"x": "y"}]),
        ({"remove": ["list 1"]}, "list", [1]),
        ({"remove": ["list[1].x"]}, "list", [1, {}]),
        ({"set": ["tags.b=1"], "add": ["tags d=2"], "remove": ["tags.b"]}, "tags", {"a": "1", "c": "2", "d": 2}),
    ],
)
def test_generic_update_follows_azures_rules(options: dict[str, Any], key: str, wanted: Any) -> None:
    before = json.dumps(HELD)
    assert apply_update(HELD, **options)[key] == wanted
    assert json.dumps(HELD) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"set": ["tags"]}, 'usage error: --set KEY=VALUE [KEY=VALUE ...]; "tags" has no "=".'),
        ({"set": ["name.x=1"]}, "Cannot use '--set' on properties defined by reference strings"),
        ({"set": ["list[2]=1"]}, '"list[2]" lies behind the end of a list of 2'),
        ({"set": ["list[7].x=1"]}, 'there is no "list[7].x"'),
        ({"set": ["list.x=1"]}, 'there is no "list.x"'),
        ({"add": ["tags"]}, "usage error: --add PATH KEY=VALUE"),
        ({"add": ["tags word"]}, '"word" cannot be added there; write KEY=VALUE for a mapping'),
        ({"add": ["name x"]}, '"x" cannot be added there'),
        ({"remove": ["tags.b"]}, '--remove: there is no "tags.b".'),
        ({"remove": ["tasg"]}, 'there is no "tasg". Did you mean "tags"?'),
        ({"remove": ["list 5"]}, "lies behind the end of a list of 2"),
        ({"remove": [""]}, '"" is no path'),
    ],
)
def test_an_update_that_leads_nowhere_is_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        apply_update(HELD, **options)
    assert message in raised.value.message
