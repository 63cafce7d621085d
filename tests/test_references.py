"""Every way to name a thing, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg.errors import InvalidReference
from jupyter_modelreg.references import (
    DatastorePath,
    JobOutput,
    LocalPath,
    MlflowRun,
    Reference,
    RegisteredModel,
    RegistryModel,
    WebAddress,
    parse_model_name,
    parse_reference,
)

ARM = "/subscriptions/0-1/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws/models/churn/versions/3"
LONG = "subscriptions/0-1/resourcegroups/rg/workspaces/ws/"

# Source: Azure ML, section "Path / reference forms": text, what it is, how it prints (None: as it was written).
FORMS: tuple[tuple[str, Reference, str | None], ...] = (
    ("./model/a.bin", LocalPath(path="./model/a.bin"), None),
    ("model/", LocalPath(path="model/"), None),
    ("/abs/model", LocalPath(path="/abs/model"), None),
    ("~/model", LocalPath(path="~/model"), None),
    ("my model.bin", LocalPath(path="my model.bin"), None),
    ("file:./model", LocalPath(path="./model"), "./model"),
    ("file:///abs/model", LocalPath(path="/abs/model"), "/abs/model"),
    ("folder:model", LocalPath(path="model"), "model"),
    ("file:azureml:x", LocalPath(path="azureml:x"), None),
    ("C:\\models\\m", LocalPath(path="C:\\models\\m"), None),
    ("./a://b", LocalPath(path="./a://b"), None),
    ("azureml://datastores/ds/paths/a/b", DatastorePath(datastore="ds", path="a/b"), None),
    ("azureml://datastores/ds/paths/a//./b/", DatastorePath(datastore="ds", path="a/b"), "azureml://datastores/ds/paths/a/b"),
    (f"azureml://{LONG}datastores/ds/paths/a", DatastorePath(datastore="ds", path="a", scope=LONG), None),
    (
        "azureml://subscriptions/datastores/resourceGroups/datastores/workspaces/datastores/datastores/ds/paths/a",
        DatastorePath(datastore="ds", path="a", scope="subscriptions/datastores/resourceGroups/datastores/workspaces/datastores/"),
        None,
    ),
    ("azureml://jobs/j/outputs/artifacts/paths/a/b", JobOutput(job="j", output="artifacts", path="a/b"), None),
    ("azureml://jobs/j/outputs/named", JobOutput(job="j", output="named"), None),
    (
        "azureml://jobs/j/outputs/artifacts/a",
        JobOutput(job="j", output="artifacts", path="a"),
        "azureml://jobs/j/outputs/artifacts/paths/a",
    ),
    ("runs:/abc/model/x", MlflowRun(run="abc", path="model/x"), None),
    ("runs:/abc", MlflowRun(run="abc"), None),
    ("azureml:churn:3", RegisteredModel(name="churn", version="3"), None),
    ("azureml:churn@latest", RegisteredModel(name="churn", label="latest"), None),
    ("azureml:churn:latest", RegisteredModel(name="churn", label="latest"), "azureml:churn@latest"),
    ("azureml:churn", RegisteredModel(name="churn"), None),
    ("AzureML:churn:3", RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    (f"azureml:{ARM}", RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    (ARM, RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    (ARM.replace("/3", "/latest"), RegisteredModel(name="churn", label="latest"), "azureml:churn@latest"),
    ("azureml://locations/eu/workspaces/0-1/models/churn/versions/3", RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    ("azureml://models/churn/versions/3", RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    ("azureml://registries/r/models/m/versions/3", RegistryModel(registry="r", name="m", version="3"), None),
    ("azureml://registries/r/models/m/labels/latest", RegistryModel(registry="r", name="m", label="latest"), None),
    ("https://host/a?b=c#d", WebAddress(url="https://host/a?b=c#d"), None),
    ("http://host/a", WebAddress(url="http://host/a"), None),
    ("wasbs://c@a.blob.core.windows.net/p", WebAddress(url="wasbs://c@a.blob.core.windows.net/p"), None),
    ("abfss://c@a.dfs.core.windows.net/p", WebAddress(url="abfss://c@a.dfs.core.windows.net/p"), None),
    ("adl://a/p", WebAddress(url="adl://a/p"), None),
    ("azureml://feeds/f/x", WebAddress(url="azureml://feeds/f/x"), None),
    ("models:/churn/3", RegisteredModel(name="churn", version="3"), "azureml:churn:3"),
    ("models:/churn@champion", RegisteredModel(name="churn", label="champion"), "azureml:churn@champion"),
    ("models:/churn/latest", RegisteredModel(name="churn", label="latest"), "azureml:churn@latest"),
)


@pytest.mark.parametrize(("text", "reference", "printed"), FORMS, ids=[text for text, _, _ in FORMS])
def test_every_documented_form_is_understood_and_printed_back(text: str, reference: Reference, printed: str | None) -> None:
    assert parse_reference(text) == reference
    assert str(reference) == (printed or text)
    assert parse_reference(str(reference)) == reference


MISTAKES = {
    "": "A path or reference is missing",
    "   ": "A path or reference is missing",
    "azureml:": "write azureml:NAME:VERSION or azureml:NAME@LABEL",
    "azureml:churn:": "write azureml:NAME:VERSION",
    "azureml:churn@": "write azureml:NAME:VERSION",
    "azureml:churn:1@latest": "write azureml:NAME:VERSION",
    "azureml:a:b:c": "write azureml:NAME:VERSION",
    "azureml:a/b:1": "write azureml:NAME:VERSION",
    "azureml:/datastores/ds/paths/x": 'Did you mean "azureml://datastores/ds/paths/x"?',
    "azureml://datastore/ds/paths/x": "Did you mean azureml://datastores/<datastore>/paths/<path> ?",
    "azureml://datastores/ds/x": "Did you mean azureml://datastores/<datastore>/paths/<path> ?",
    "azureml://job/j/outputs/o": "Did you mean azureml://jobs/<job>/outputs/<output>/paths/<path> ?",
    "azureml://models/churn": "Did you mean azureml://models/<name>/versions/<version> ?",
    "azureml://models/../versions/1": "Did you mean azureml://models/<name>/versions/<version> ?",
    "azureml://models/a@b/versions/1": "is no reference",
    "azureml://datastores/ds/paths/../../etc": 'a path here has no ".."',
    "azureml://datastores/ds/paths/a\\..\\b": "no backslash",
    "azureml://jobs/j/outputs/o/paths/../x": 'a path here has no ".."',
    "runs:abc/model": 'Did you mean "runs:/abc/model"?',
    "runs:/": "write runs:/RUN/PATH",
    "runs:/../x": "write runs:/RUN/PATH",
    "runs:/abc/../x": 'a path here has no ".."',
    "run:/abc/model": 'Did you mean "runs:"?',
    "azurml:churn:1": 'Did you mean "azureml:"?',
    "ftp://host/x": "Prefix a local path with ./",
    "file:": "write file:./path",
    "models:churn/1": "write models:/NAME/VERSION",
    "models:/a/b/c": "write models:/NAME/VERSION",
    "/subscriptions/0/models/m": "is no resource id of a model",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items())
def test_what_is_no_reference_is_told_the_form_that_was_meant(text: str, said: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("churn", ("churn", None, None)),
        ("churn:2", ("churn", "2", None)),
        ("churn@latest", ("churn", None, "latest")),
        ("churn:latest", ("churn", None, "latest")),
        ("azureml:churn:2", ("churn", "2", None)),
        (ARM, ("churn", "3", None)),
    ],
)
def test_a_models_name_may_carry_version_or_label(text: str, parts: tuple[str, str | None, str | None]) -> None:
    assert parse_model_name(text) == parts


@pytest.mark.parametrize(
    "text", ["a/b", "azureml://datastores/d/paths/x", "azureml://registries/r/models/m/versions/1", "./x", "a:b:c", ""]
)
def test_anything_else_is_no_models_name(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_model_name(text)


# --- properties -------------------------------------------------------------------------------------------------------

SEGMENTS = st.text(st.characters(exclude_characters="/:@\\\0", exclude_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), min_size=1).filter(
    lambda text: text not in (".", "..") and text == text.strip()
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
VERSIONS = SEGMENTS.filter(lambda text: text != "latest")
WORDS = st.sampled_from(
    [
        "azureml:",
        "//",
        "/",
        ":",
        "@",
        ".",
        "..",
        "latest",
        "runs:",
        "models:",
        "file:",
        "datastores",
        "paths",
        "jobs",
        "outputs",
        "subscriptions",
        "resourceGroups",
        "workspaces",
        "a",
        "https:",
    ]
)
BUILT = st.one_of(
    st.builds(LocalPath, path=st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda text: text == text.strip())),
    st.builds(DatastorePath, datastore=SEGMENTS, path=PATHS),
    st.builds(JobOutput, job=SEGMENTS, output=SEGMENTS, path=st.just("") | PATHS),
    st.builds(MlflowRun, run=SEGMENTS, path=st.just("") | PATHS),
    st.builds(RegisteredModel, name=SEGMENTS, version=st.none() | VERSIONS),
    st.builds(RegisteredModel, name=SEGMENTS, label=SEGMENTS),
    st.builds(RegistryModel, registry=SEGMENTS, name=SEGMENTS, version=SEGMENTS),
    st.builds(RegistryModel, registry=SEGMENTS, name=SEGMENTS, label=SEGMENTS),
)


@settings(deadline=None)
@given(BUILT)
def test_what_is_printed_is_understood_again(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@settings(deadline=None)
@given(st.text() | st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_is_a_reference_that_prints_itself_or_one_clear_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    assert parse_reference(str(reference)) == reference


@settings(deadline=None)
@given(st.text() | st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join))
def test_no_path_inside_a_store_ever_climbs(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return
    if isinstance(reference, (DatastorePath, JobOutput, MlflowRun)):
        assert not {"..", "."} & set(reference.path.split("/"))
        assert not reference.path.startswith("/")
