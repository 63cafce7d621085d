from __future__ import annotations

import json

import pytest
import yaml

from jupyter_modelreg.doors.display import (
    EMPTY,
    cell_text,
    empty_text,
    escape_control,
    milliseconds_text,
    rate_text,
    select,
    size_text,
    stable_text,
    to_text,
)
from jupyter_modelreg.entities import Model, OnlineEndpoint
from jupyter_modelreg.entities.answers import Comparison, Deleted, Difference, Downloaded, Invocation, LogText
from jupyter_modelreg.entities.model import ColumnSpec, CreationContext, Scan, Signature
from jupyter_modelreg.entities.online import EndpointKeys
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.operations import find_operation
from jupyter_modelreg.trees import ManifestFile


def model(name: str = "churn", **values: object) -> Model:
    return Model(name=name, version="1", type="custom_model", **values)


class TestTables:
    def test_columns_are_as_wide_as_they_must_be(self) -> None:
        text = to_text([model(size_bytes=12_345), model("a-longer-name", tags={"a": "b", "c": "d"})])
        assert text.splitlines() == [
            "Name           Version  Type          Tags      Size",
            "-------------  -------  ------------  --------  -------",
            "churn          1        custom_model            12.3 kB",
            "a-longer-name  1        custom_model  a=b, c=d",
        ]

    def test_a_column_that_is_empty_in_all_rows_is_left_out(self) -> None:
        assert to_text([model()]).splitlines()[0].split() == ["Name", "Version", "Type"]
        assert "Archived" in to_text([model(), model(is_archived=True)])

    def test_chinese_signs_take_two_columns_and_accents_none(self) -> None:
        lines = to_text(
            [OnlineEndpoint(name="x", state="healthy", tags={"模型": "é"}, traffic={}), OnlineEndpoint(name="y", state="ok")]
        ).splitlines()
        assert lines[1] == "----  -------  ------"
        rows = to_text([{"a": "模型", "b": 1}, {"a": "cafe\u0301", "b": 2}, {"a": "café", "b": 3}]).splitlines()
        assert [line[: -1 - 1].rstrip() for line in rows[2:]] == ["模型", "cafe\u0301", "café"]
        assert [len(line) for line in rows[2:]] == [5, 8, 7]  # signs; each is seven columns wide on the screen

    def test_names_stay_whole_and_prose_is_shortened(self) -> None:
        name, value = "n" * 255, "v" * 255
        row = to_text([model(name, tags={"t": value})]).splitlines()[2]
        assert row.startswith(name)
        assert "t=" + "v" * 45 + "…" in row
        assert len(row) == 255 + 2 + 7 + 2 + 12 + 2 + 48

    def test_one_long_name_does_not_widen_the_rows_of_others(self) -> None:
        lines = to_text([model("n" * 255), model()]).splitlines()
        assert lines[2].startswith("n" * 255 + "  1 ")
        assert [len(line) for line in (lines[1], lines[3])] == [60 + 2 + 7 + 2 + 12] * 2

    def test_an_empty_list_says_what_it_was_told_to_say(self) -> None:
        assert to_text([], empty="No models yet.") == "No models yet."
        assert to_text([], "json") == "[]"

    def test_how_to_begin_is_told_only_to_who_asked_for_everything(self) -> None:
        operation = find_operation("model", "list")
        assert empty_text(EMPTY, operation, operation.command()).startswith("No models yet. Register one")
        assert empty_text(EMPTY, operation, operation.command(tags={"a": "b"})) == "Nothing found."

    def test_lists_of_values_and_of_mappings_are_tables_too(self) -> None:
        assert to_text(["a", 2, None]) == "a\n2\n"
        assert to_text([{"a": 1}, {"b": True}]).splitlines() == ["a  b", "-  -", "1", "   ✓"]
        assert to_text({"a": 0.5, "b": {"c": 1}}) == "a  0.5\nb  c=1"

    def test_ten_thousand_rows_are_quick(self) -> None:
        assert len(to_text([model()] * 10_000).splitlines()) == 10_002


class TestOneRecord:
    SHOWN = model(
        description="Two\nlines",
        tags={"a": "b"},
        metrics={"accuracy": 0.123456789},
        size_bytes=1500,
        path="azureml://datastores/x",
        digest="ab" * 32,
        creation_context=CreationContext(created_at="2026-01-01T00:00:00Z", created_by="ada"),
        signature=Signature(inputs=[ColumnSpec(name=f"c{i}") for i in range(6)], outputs=[ColumnSpec(type="float", shape=[-1, 3])]),
        scan=Scan(verdict="unknown-names", findings=["m.pkl: some.thing"]),
        files=[ManifestFile(path="model/a.bin", size_bytes=1_000, digest="d"), ManifestFile(path="b", size_bytes=1, digest="d")],
        is_archived=True,
    )

    def test_it_is_shown_a_field_a_line(self) -> None:
        assert stable_text(self.SHOWN).splitlines() == [
            "name         churn",
            "version      1",
            "type         custom_model",
            "description  Two lines",
            "tags         a=b",
            "archived     ✓",
            "size         1.5 kB",
            "metrics      accuracy=0.123457",
            "inputs       c0: double, c1: double, c2: double, c3: double and 2 more",
            "outputs      float[n, 3]",
            "scan         unknown-names",
            "             m.pkl: some.thing",
            "files         1.0 kB  model/a.bin",
            "                 1 B  b",
        ]

    def test_what_differs_from_run_to_run_is_not_in_its_text(self) -> None:
        text = stable_text(self.SHOWN)
        assert not [word for word in ("2026", "ada", "ab" * 32, "azureml://") if word in text]
        endpoint = OnlineEndpoint(name="e", state="healthy", scoring_uri="http://127.0.0.1:40123/score", provisioning_state="Succeeded")
        assert stable_text(endpoint) == "name   e\nstate  healthy"

    def test_a_shell_shows_it(self) -> None:
        text = to_text(self.SHOWN)
        assert "path         azureml://datastores/x\n" in text
        assert "created      2026-01-01 00:00 UTC\n" in text
        assert f"digest       {'ab' * 32}\n" in text
        endpoint = OnlineEndpoint(name="e", state="healthy", scoring_uri="http://127.0.0.1:40123/score")
        assert "url    http://127.0.0.1:40123/score" in to_text(endpoint)
        assert to_text([endpoint]).splitlines()[2].split() == ["e", "healthy", "http://127.0.0.1:40123/score"]
        assert "http" not in stable_text([endpoint])

    def test_a_terminal_obeys_nothing_that_a_model_says(self) -> None:
        hostile = "\x1b]0;owned\x07\x1b[2J\u202ename"
        for answer in (
            model(tags={hostile: hostile}, description=hostile),
            [model(stage=hostile)],
            LogText(text=hostile),
            [hostile],
            {hostile: hostile},
        ):
            text = to_text(answer)
            assert "\x1b" not in text
            assert "\u202e" not in text
        assert escape_control("a\x1b[0m\u202e") == "a\\x1b[0m\\u202e"


class TestOtherAnswers:
    def test_a_comparison_says_what_changed(self) -> None:
        answer = Comparison(
            first="c:1",
            second="c:2",
            differences=[
                Difference(group="metadata", name="size_bytes", first="25700", second="40600", delta=14_900.0),
                Difference(group="metadata", name="stage", second="Production"),
                Difference(group="metrics", name="accuracy", first="0.1234567891", second="0.9", delta=0.7765432109),
                Difference(group="packages", name="numpy", first="1.9", second="2.4"),
                Difference(group="files", name="model.bin", first="a" * 64, second="b" * 64),
            ],
            same={"files": 2},
        )
        assert to_text(answer).splitlines() == [
            "          Name      c:1       c:2         Change",
            "--------  --------  --------  ----------  --------",
            "metadata  size      25.7 kB   40.6 kB     +14.9 kB",
            "metadata  stage     -         Production",
            "metrics   accuracy  0.123457  0.9         +0.7765",
            "packages  numpy     1.9       2.4",
            "1 file differs, 2 are the same.",
        ]
        assert to_text(Comparison(first="c:1", second="c:2")) == "c:1 and c:2 are the same."

    def test_the_others_are_a_line_or_two(self) -> None:
        assert to_text(Deleted(names=["c:1", "c:2"])) == "Deleted c:1\nDeleted c:2\nThe files stay until modelreg store clean."
        assert to_text(Deleted(names=["churn"])) == "Deleted churn"
        assert to_text(Downloaded(path="/d/c", files=["c/a"], size_bytes=10)) == "Wrote 1 file, 10 B, to /d/c\n  c/a"
        assert to_text(LogText(text="one\ntwo\n")) == "one\ntwo"
        assert to_text(Invocation(body={"a": ["é"]})) == '{"a": ["é"]}'
        assert to_text(Invocation(body="plain")) == "plain"
        assert to_text(EndpointKeys(primary_key="one", secondary_key="two")) == "primary    one\nsecondary  two"


class TestFormats:
    @pytest.mark.parametrize("output", ["json", "jsonc", "yaml", "yamlc"])
    def test_programs_read_back_what_was_answered(self, output: str) -> None:
        answer = [model(tags={"é": "x"}, description="a: b")]
        text = to_text(answer, output)
        assert (json.loads(text) if output.startswith("json") else yaml.safe_load(text)) == [answer[0].to_dict()]
        assert "é" in text

    def test_tsv_is_a_row_each_without_what_nests(self) -> None:
        assert to_text([["a", True], ["b\tc\nd", None]], "tsv") == "a\ttrue\nb c d\t"
        assert to_text("one", "tsv") == "one"
        assert to_text(["a", "b"], "tsv") == "a\nb"

    def test_none_is_nothing_and_an_unknown_format_names_the_nearest(self) -> None:
        assert to_text(model(), "none") == ""
        with pytest.raises(InvalidInput, match=r'no output format "jsn"\. Did you mean "json"'):
            to_text(model(), "jsn")

    def test_a_query_selects_from_the_json(self) -> None:
        assert select([model("a"), model("b")], "[].name") == ["a", "b"]
        with pytest.raises(InvalidInput, match="does not fit this answer"):
            select(model(), "length(is_archived)")

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (None, ""),
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (123_456, "123 kB"),
            (999_999, "1.0 MB"),
            (5 * 10**9, "5.0 GB"),
            (10**15, "1000.0 TB"),
        ],
    )
    def test_sizes_are_said_as_people_say_them(self, size: int | None, text: str) -> None:
        assert size_text(size) == text

    def test_cells_say_yes_and_no_and_nothing(self) -> None:
        assert [cell_text(value, "") for value in (True, False, None, {}, [], 1 / 3, ["a", 1])] == [
            "✓",
            "✗",
            "",
            "",
            "",
            "0.333333",
            "a, 1",
        ]


def test_a_download_of_many_files_names_the_first_of_them() -> None:
    text = to_text(Downloaded(path="out", files=[f"{number}.bin" for number in range(1000)], size_bytes=5), "table")
    assert text.splitlines()[0] == "Wrote 1,000 files, 5 B, to out"
    assert text.splitlines()[-2:] == ["  59.bin", "  … and 940 more"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 ms"), (0.314, "0.31 ms"), (4.04, "4.0 ms"), (9.96, "10 ms"), (123.4, "123 ms"), (999.6, "1.0 s"), (12345, "12 s")],
)
def test_a_time_has_two_or_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert milliseconds_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(18512.4, "18,512"), (12.3, "12"), (4.25, "4.2"), (0.314, "0.31"), (2, "2"), (0, "0")])
def test_a_rate_has_two_digits_and_no_exponent(value: float, text: str) -> None:
    assert rate_text(value) == text
