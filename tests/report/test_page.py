"""The page: self-contained, well-formed, safe, the same for the same runs."""

import ast
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
import scipy.stats

from tutelage import report
from tutelage.errors import DataError
from tutelage.report import write_page

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; refuses tags that are not balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts, self.ids, self.scripts = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def text_of(reader):
    return re.sub(r"\s+", " ", "".join(reader.texts).replace(chr(160), " "))


def page_of(study, **options):
    return write_page(study.root, study.root.parent / "report.html", **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(typical):
    return write_page(typical, typical.parent / "out" / "report.html").read_text(encoding="utf-8")


def test_the_tags_are_balanced_and_the_ids_unique(page):
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids)) > 0
    assert reader.tags[:2] == ["html", "head"]


def test_every_table_row_has_a_cell_for_every_column(page):
    for table in re.findall(r"<table.*?</table>", page, re.S):
        assert len({len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr.*?</tr>", table, re.S)}) == 1


def test_nothing_is_loaded(page):
    reader = read(page)
    assert not {"img", "iframe", "object", "embed"} & set(reader.tags)
    loaded = [value for _, name, value in reader.attributes if name in ("src", "href", "srcset", "xlink:href", "data")]
    assert [value for value in loaded if not value.startswith("#made-")] == ["data:,"]
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_one_script_is_ours_and_no_other_may_run(page):
    reader = read(page)
    (script,) = reader.scripts
    assert script == (Path(report.__file__).parent / "page.js").read_text(encoding="utf-8")
    assert [(name, value) for tag, name, value in reader.attributes if tag == "script"] == []
    (policy,) = [value for _, name, value in reader.attributes if name == "content" and "default-src" in value]
    assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}';" in policy


def test_the_cells_hold_the_numbers_by_which_a_heading_sorts(page):
    table = re.search(r'<table class="sortable">.*?</table>', page, re.S).group()
    gains = [float(value) for value in re.findall(r'<td class="over_alone [a-z]*" data-value="([^"]*)"', table)]
    assert gains == sorted(gains, reverse=True)  # crd, kd, rkd and iekd: the order of their accuracies
    assert len(gains) == 4
    assert gains[0] == pytest.approx((0.9701 + 0.9718 + 0.9689 - 0.9410 - 0.9432 - 0.9384) / 3, abs=1e-6)
    alone = next(row for row in re.findall(r"<tr.*?</tr>", table, re.S) if "student alone" in row)
    assert '<td class="over_alone ">–</td>' in alone  # what has no number is sorted last


def test_the_name_of_a_row_leads_to_how_its_number_was_made(page):
    links = re.findall(r'<a href="#(made-1-\d)">([^<]*)</a>', page)
    assert [name for _, name in links] == ["iekd", "crd", "kd", "rkd", "student alone"]
    for at, name in links:
        made = page[page.index(f'id="{at}"') :].split("</summary>")[0]
        assert name in made


def test_what_the_runs_of_a_row_share_is_said_once_and_what_differs_by_seed(study):
    for seed, commit in enumerate(("aaa", "aaa", "bbb-dirty")):
        study.add("kd", seed, 0.95, change=lambda result, commit=commit: result.update(commit=commit))
    text = text_of(read(page_of(study)))
    assert "aaa (seed 0 and 1) bbb-dirty (seed 2)" in text
    assert text.count("Some CPU, 2 cores, 1 thread") == 1


def test_tests_are_told_with_their_p_values(page):
    text = text_of(read(page))
    p = scipy.stats.ttest_rel((0.9566, 0.9570, 0.9541), (0.9410, 0.9432, 0.9384)).pvalue
    assert f"Over student alone, paired by seed: +1.50 ± 0.27 points, n = 3, p = {p:.2g}, " in text
    assert "after Holm’s correction for 4 comparisons" in text


def test_numbers_and_findings_are_on_the_page(page):
    text = text_of(read(page))
    assert "15 finished runs on digits, with seeds 0, 1 and 2." in text
    assert "zoo:digits_small (1,234 parameters) was taught by zoo:digits_large in 4 ways, and trained alone." in text
    assert "iekd is best: its gain over crd is +1.44 ± 0.19 points" in text
    assert "Of 4 ways to teach it, 3 can be called better than the student alone." in text
    assert "95.59 ± 0.39" in text
    assert "differences whose interval includes 0 are not called" in text


def test_every_number_can_be_reproduced(page):
    text = text_of(read(page))
    for method in ("ce", "kd", "crd", "rkd", "iekd"):
        for seed in range(3):
            assert f"tutelage distill --method {method} --seed {seed}" in text
    assert "abc123" in text
    assert "Some CPU, 2 cores, 1 thread" in text


def test_a_commit_that_was_not_recorded_is_said_so(study):
    study.add("kd", 0, 0.95, change=lambda result: result.update(commit=None))
    assert "not recorded" in text_of(read(page_of(study)))


def test_only_the_best_row_is_marked_best(page, study):
    assert page.count('class="pill"') == 1
    for seed, (kd, crd) in enumerate([(0.95, 0.96), (0.96, 0.955), (0.955, 0.96)]):
        study.add("kd", seed, kd)
        study.add("crd", seed, crd)
    text = page_of(study)
    assert 'class="pill"' not in text
    assert "No row is called best: crd has the highest mean, but its gain over kd is" in text


def test_unfinished_runs_are_listed(page):
    text = text_of(read(page))
    assert "1 run is unfinished and listed at the end." in text
    assert "runs/016-dkd-0" in text
    assert "epoch 12, validation" in text


def test_a_run_that_diverged_is_listed_with_its_reason(study):
    study.add("ce", 0, 0.95)
    (study.start("kd", 0) / "diverged.json").write_text('{"why": "the loss is nan at step 50"}')
    text = text_of(read(page_of(study)))
    assert "1 run diverged and is listed at the end: runs/002-kd-0." in text
    assert "it diverged: the loss is nan at step 50" in text
    assert "unfinished and" not in text


def test_a_page_of_unfinished_runs_alone_is_written(study):
    study.start("kd", 0)
    assert "No run is finished yet." in text_of(read(page_of(study)))


def test_no_runs_write_no_page(tmp_path):
    with pytest.raises(DataError, match="no run below"):
        write_page(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_hostile_names_stay_text(study):
    def change(result):
        result["student"]["model"] = result["data"] = result["command"] = result["commit"] = HOSTILE
        result["machine"]["cpu"] = result["precision"] = result["started"] = HOSTILE
        result["teacher"].update(model=HOSTILE, fingerprint=HOSTILE)

    lines = [
        {"kind": kind, "stage": stage, "epoch": epoch, "accuracy": 0.5, "terms": {HOSTILE: {"value": 1, "weight": 1}}}
        for kind in ("train", "validation")
        for stage in (HOSTILE, "b")
        for epoch in (1, 2)
    ]
    study.add(HOSTILE, 0, 0.95, change=change, metrics=lines)
    study.add(HOSTILE, 0, 0.96, change=change, settings={"method_settings": {HOSTILE: HOSTILE}})
    study.start(HOSTILE, 0)
    reader = read(page_of(study, title=HOSTILE))
    assert (reader.tags.count("script"), reader.tags.count("img")) == (1, 0)
    assert "alert" not in reader.scripts[0]
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert "<script>alert(1)" in text_of(reader)


def test_the_same_runs_give_the_same_page(typical, tmp_path, page):
    assert write_page(typical, tmp_path / "again.html").read_text(encoding="utf-8") == page
    shutil.copytree(typical, tmp_path / "elsewhere" / "runs")
    moved = write_page([tmp_path / "elsewhere" / "runs"], str(tmp_path / "moved.html"))
    assert moved.read_text(encoding="utf-8") == page


def test_no_place_on_the_disk_is_told(typical, page):
    assert str(typical.parent) not in page


def test_every_plot_says_what_it_shows(page):
    outer = re.findall(r"<svg [^>]*>", page)
    shown = [tag for tag in outer if 'class="plot' in tag or 'class="strip' in tag]
    assert len(shown) == 5 + 2 + 5  # a strip and a plot of terms for each row; the curves in two widths
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', tag) for tag in shown)


def test_different_machines_are_told(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.95, change=lambda result: result["machine"].update(gpu="Some GPU"))
    assert "Runs of 2 different machines" in text_of(read(page_of(study)))


def test_the_public_names_are_all():
    visible = {name for name, value in vars(report).items() if name[0] != "_" and type(value).__name__ != "module"}
    assert visible == set(report.__all__)
    assert report.__all__ == sorted(report.__all__)


def test_importing_is_light():
    code = "import sys, tutelage.report; print(*{'scipy', 'jinja2', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


def test_the_report_reads_files_and_needs_no_network_or_data_set():
    allowed = {"tutelage.errors", "tutelage.rundir"}
    for file in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = (
                node.module
                if isinstance(node, ast.ImportFrom)
                else node.names[0].name
                if isinstance(node, ast.Import)
                else ""
            )
            root = name.split(".")[0]
            assert root != "torch"
            assert root != "tutelage" or name in allowed or name.startswith("tutelage.report")
