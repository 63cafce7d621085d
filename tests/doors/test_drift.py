"""How a person sees drift: in a terminal, in a notebook, as a plot."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from jupyter_modelreg.doors.display import to_text
from jupyter_modelreg.doors.html import to_html
from jupyter_modelreg.doors.lines import Shown
from jupyter_modelreg.doors.plots import drift_plot, histogram_svg, histogram_texts
from jupyter_modelreg.entities import ColumnDrift, DriftReport, Histogram, MirrorReport

AGES = Histogram(labels=["1 to 2", "2 to 3", "3 to 4"], reference=[0.5, 0.5, 0.0], live=[0.0, 0.25, 0.75])
METRICS = {
    "population_stability_index": 1.25,
    "normalized_wasserstein_distance": 0.75,
    "two_sample_kolmogorov_smirnov_test": 1e-9,
    "null_value_rate": 0.25,
    "out_of_bounds_rate": 0.5,
}
COLUMNS = [
    ColumnDrift(
        column="age", kind="numerical", verdict="drift", reasons=["population_stability_index 1.25 > 0.2"], metrics=METRICS, histogram=AGES
    ),
    ColumnDrift(column="<b>gone</b>", kind="numerical", verdict="missing", reasons=["in no request"]),
    ColumnDrift(
        column="plan",
        kind="categorical",
        verdict="ok",
        metrics={"pearsons_chi_squared_test": 0.5, "jensen_shannon_distance": 0.01},
        histogram=Histogram(labels=["a<b", "\x1b[2J"], reference=[0.5, 0.5], live=[0.5, 0.5]),
    ),
]
REPORT = DriftReport(
    endpoint="churn",
    deployment="blue",
    collection="model_inputs",
    reference="training.csv",
    window="7d",
    since="2026-01-01T00:00:00Z",
    until="2026-01-08T00:00:00Z",
    verdict="drift",
    reference_rows=2000,
    live_rows=1,
    unread_lines=1,
    is_capped=True,
    columns=COLUMNS,
)
MIRROR = MirrorReport(
    endpoint="churn",
    deployment="green",
    window="7d",
    since="2026-01-01T00:00:00Z",
    until="2026-01-08T00:00:00Z",
    requests=4,
    same=1,
    failed=1,
    largest_difference=0.5,
    mean_difference=0.125,
    differing=["r<1>"],
)


def test_a_terminal_shows_a_table_with_both_samples_as_blocks_and_why() -> None:
    assert to_text(REPORT).splitlines() == [
        "3 columns: 1 drift, 1 missing, 1 ok.",
        "1 row of model_inputs in the last 7d, against 2,000 rows of training.csv.",
        "Only the latest rows of the window are looked at.",
        "1 line could not be read.",
        "",
        "Column       Verdict  PSI    Distance  Probability  Gaps   Outside  Training  Live",
        "-----------  -------  -----  --------  -----------  -----  -------  --------  ----",
        "age          drift    1.250  0.750     <0.001       25.0%  50.0%    ▆▆         ▃█",
        "<b>gone</b>  missing",
        "plan         ok              0.010     0.500                        ██        ██",
        "",
        "age: population_stability_index 1.25 > 0.2",
    ]


def test_a_notebook_keeps_the_same_text_whenever_it_is_run() -> None:
    later = REPORT.replace(since="2027-01-01T00:00:00Z", until="2027-01-08T00:00:00Z")
    assert repr(Shown(REPORT)) == repr(Shown(later))


def test_a_notebook_shows_a_table_with_pictures_and_obeys_no_name() -> None:
    html = to_html(REPORT)
    assert "<b>gone</b>" not in html
    assert "&lt;b&gt;gone&lt;/b&gt;" in html
    assert len(re.findall(r"width:6px;height:[1-9]", html)) == 8  # of ten boxes two have nothing to show
    assert "population_stability_index 1.25 &gt; 0.2" in html
    for word in ("<script", "http", "<style", "<svg", "class="):
        assert word not in html.replace('class="modelreg"', "")


def test_a_picture_is_well_formed_has_a_scale_for_both_and_says_its_numbers() -> None:
    picture = ET.fromstring(histogram_svg(AGES, "age"))
    assert picture.get("aria-label") == "age: training and live"
    groups = picture.findall("g")
    assert [len(group.findall("rect")) for group in groups] == [1, 2, 1]  # nothing is drawn of nothing
    assert groups[2].findtext("title") == "3 to 4: 0.0% of training, 75.0% of live"
    heights = [[float(str(bar.get("height"))) for bar in group.findall("rect")] for group in groups]
    assert heights[0][0] / heights[2][0] == pytest.approx(0.5 / 0.75, abs=0.01)


@pytest.mark.parametrize(
    ("histogram", "texts"),
    [
        (AGES, ["▆▆ ", " ▃█"]),
        (None, ["", ""]),
        (Histogram(), ["", ""]),
        (Histogram(labels=["a"], reference=[0.0], live=[0.001]), [" ", "█"]),
    ],
)
def test_blocks_have_one_scale_and_nothing_is_a_gap(histogram: Histogram | None, texts: list[str]) -> None:
    assert histogram_texts(histogram) == texts


def test_a_plot_needs_no_library_and_is_a_page_of_its_own(tmp_path: Path) -> None:
    plot = drift_plot(Shown(REPORT))
    assert plot._repr_html_() == drift_plot(REPORT)._repr_html_()
    assert repr(plot) == "DriftPlot of age, plan"
    assert repr(drift_plot(REPORT, ["plan"])) == "DriftPlot of plan"
    plot.save(str(tmp_path / "drift.html"))
    page = (tmp_path / "drift.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 2
    assert "a&lt;b" in page
    assert not re.search(r"src=|href=|<script", page)


def test_a_plot_of_a_thousand_columns_stays_small() -> None:
    many = REPORT.replace(columns=[COLUMNS[0].replace(column=f"c{number}") for number in range(1000)])
    assert drift_plot(many)._repr_html_().count("<svg") == 60
    assert "940 more columns are not shown; name them." in drift_plot(many)._repr_html_()
    assert "800 more columns are not shown" in to_html(many)
    assert to_html(many).count("inline-flex") == 60


def test_a_mirror_is_one_sentence() -> None:
    sentence = (
        "churn/green as a mirror in the last 7d: 1 of 4 answers are the same (25.0%); 1 is an error where the caller got none. "
        "Numbers differ by up to 0.5, 0.125 on average."
    )
    assert to_text(MIRROR).splitlines() == [sentence, "The latest that differ: r<1>"]
    assert sentence in to_html(MIRROR)
    assert "r&lt;1&gt;" in to_html(MIRROR)
    assert to_text(MIRROR.replace(largest_difference=None, mean_difference=None, failed=0, differing=[])).endswith("(25.0%).")
