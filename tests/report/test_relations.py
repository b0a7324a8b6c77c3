"""How samples relate, on the page: a line a row with its interval over seeds, and pictures that load nothing."""

import json
import re
from html.parser import HTMLParser

import pytest

from tutelage.errors import DataError
from tutelage.report import load_runs, write_page
from tutelage.report.fields import read_json
from tutelage.report.groups import groups_of
from tutelage.report.relations import relations_of
from tutelage.report.relations_table import relations_strips, relations_tables
from tutelage.report.statistics import estimate

PICTURE = "data:image/png;base64,iVBORw0KGgo="
OURS = "ab12cd34ef56"
"""The fingerprint of the teacher in the results of the study."""


def near(name, label, ours=0.9, theirs=0.8):
    return {"id": name, "label": label, "image": PICTURE, "similarity": ours, "student_similarity": theirs}


CHANNELS = {"role": "stage3", "above": 0.1, "student": {"all": 0.75}, "teacher": 0.9}


def halves(inheritance, exploration):
    every = {"all": (inheritance + exploration) / 2, "inheritance": inheritance, "exploration": exploration}
    return {"channels": CHANNELS | {"student": every}}


def relations(overlap=0.5, *, teacher=OURS, split="test", samples=101, features="embedding", **figures):
    sides = {"accuracy": 0.9, "ece": 0.03, "purity": 0.8, "ncm": 0.85, "nmi": 0.6}
    both = {"overlap": overlap, "cka_features": 0.7, "cka_logits": None, "agreement": 0.9, "correlation_gap": 0.2}
    both["seen_auc"] = 0.7
    picture = {"id": 4, "label": "cat", "image": PICTURE, "student_says": "dog"}
    picture |= {"positives": [near(7, "cat"), near(8, "cat", -0.1)], "negatives": [near(9, "fox", 0.5, None)]}
    return {
        "format": "tutelage-relations/1",
        "data": "digits",
        "split": split,
        "samples": samples,
        "k": 10,
        "bins": 15,
        "student": {"model": "s", "features": features, **sides},
        "teacher": {"model": "t", "features": "embedding", "fingerprint": teacher, **sides, "purity": 0.95}
        if teacher
        else None,
        "teacher_left_out": "" if teacher else "the run had no teacher",
        "figures": both | figures if teacher else None,
        "pictures": {"by": "teacher" if teacher else "student", "samples": [picture]},
    }


def add(study, method, seed, content, test=0.95):
    folder = study.add(method, seed, test)
    (folder / "relations.json").write_text(json.dumps(content))
    return folder


def group(study):
    (found,) = groups_of(load_runs(study.root))
    return found


def lines(table):
    return {
        label: dict(zip(table.headings, (cell.replace(chr(160), " ") for cell in cells), strict=True))
        for label, _, cells in table.lines
    }


class TestTable:
    def test_a_row_has_mean_and_interval_over_seeds_and_the_teacher_a_line(self, study):
        for seed, overlap in enumerate((0.4, 0.5, 0.55)):
            add(study, "kd", seed, relations(overlap))
        (table,) = relations_tables(group(study))
        expected = estimate([0.4, 0.5, 0.55])
        assert table.title == "101 test images, k = 10"
        assert lines(table)["kd"]["Overlap (%)"] == f"{100 * expected.mean:.2f} ± {100 * expected.half_width:.2f}"
        assert lines(table)["kd"]["n"] == "3"
        assert lines(table)["kd"]["CKA, features"] == "0.700 ± 0.000"
        assert (lines(table)["teacher"]["Purity (%)"], lines(table)["teacher"]["Overlap (%)"]) == ("95.00", "–")
        assert "CKA, logits" not in table.headings  # undefined in every run

    def test_runs_of_one_seed_count_once(self, study):
        for seed, overlap in ((0, 0.2), (0, 0.4), (1, 0.5)):
            add(study, "kd", seed, relations(overlap))
        (table,) = relations_tables(group(study))
        expected = estimate([0.3, 0.5])
        assert lines(table)["kd"]["Overlap (%)"].startswith(f"{100 * expected.mean:.1f}")
        assert lines(table)["kd"]["n"] == "2"

    def test_a_figure_that_one_of_two_runs_of_a_seed_lacks_is_not_that_of_the_other(self, study):
        add(study, "kd", 0, relations(0.2, agreement=None))
        add(study, "kd", 0, relations(0.4))
        add(study, "rkd", 0, relations())
        (table,) = relations_tables(group(study))
        assert lines(table)["kd"]["Agreement (%)"] == "–"
        assert lines(table)["kd"]["Overlap (%)"] == "30.00"

    def test_a_figure_that_one_seed_lacks_is_no_mean_of_the_others(self, study):
        add(study, "kd", 0, relations())
        add(study, "kd", 1, relations(cka_features=None))
        add(study, "rkd", 0, relations(cka_features=-0.012))
        (table,) = relations_tables(group(study))
        assert lines(table)["kd"]["CKA, features"] == "–"
        assert lines(table)["rkd"]["CKA, features"] == "−0.012"

    def test_runs_without_relations_are_counted(self, study):
        add(study, "kd", 0, relations())
        study.add("kd", 1, 0.95)
        study.add("rkd", 0, 0.95)
        (table,) = relations_tables(group(study))
        assert list(lines(table)) == ["teacher", "kd"]
        assert "2 runs of this group have no relations: `tutelage relate RUN` measures them." in table.notes

    def test_other_conditions_make_another_table(self, study):
        add(study, "kd", 0, relations())
        add(study, "kd", 1, relations(split="validation", samples=51))
        tables = relations_tables(group(study))
        assert [table.title for table in tables] == ["101 test images, k = 10", "51 validation images, k = 10"]
        assert [lines(table)["kd"]["n"] for table in tables] == ["1", "1"]
        assert [table.notes[0] for table in tables] == [f"By chance the overlap is {p} %." for p in ("10.0", "20.0")]

    def test_a_student_without_a_teacher_has_its_own_figures_and_a_reason(self, study):
        add(study, "ce", 0, relations(teacher=None))
        add(study, "kd", 0, relations())
        (table,) = relations_tables(group(study))
        assert lines(table)["student alone"]["Purity (%)"] == "80.00"
        assert lines(table)["student alone"]["Overlap (%)"] == "–"
        assert "No teacher was asked for student alone: the run had no teacher." in table.notes

    def test_a_student_alone_that_was_compared_with_the_teacher_of_the_others_shows_it(self, study):
        add(study, "ce", 0, relations(0.3))
        add(study, "kd", 0, relations())
        (table,) = relations_tables(group(study))
        assert lines(table)["student alone"]["Overlap (%)"] == "30.00"

    def test_figures_against_a_network_that_taught_nobody_here_are_left_out(self, study):
        add(study, "ce", 0, relations(0.3, teacher="another"))
        add(study, "kd", 0, relations())
        (table,) = relations_tables(group(study))
        assert (lines(table)["student alone"]["Overlap (%)"], lines(table)["kd"]["Overlap (%)"]) == ("–", "50.00")
        assert lines(table)["student alone"]["Purity (%)"] == "80.00"
        assert list(lines(table)) == ["teacher", "kd", "student alone"]
        note = "Left out for student alone: the figures against a network that taught nobody here."
        assert note in table.notes

    def test_logits_in_the_place_of_features_are_told(self, study):
        add(study, "kd", 0, relations(features="logits"))
        (table,) = relations_tables(group(study))
        assert "The features of kd are the logits: there is no embedding." in table.notes


class TestChannels:
    def test_each_row_has_what_it_knows_and_the_teacher_its_own(self, study):
        for seed, (one, other) in enumerate([(0.8, 0.6), (0.9, 0.5)]):
            add(study, "iekd", seed, relations() | halves(one, other))
            add(study, "kd", seed, relations() | {"channels": CHANNELS})
        (table,) = relations_tables(group(study))
        shown = lines(table)
        assert shown["iekd"]["Active, inheriting (%)"].startswith("85.0")
        assert shown["iekd"]["Active, exploring (%)"].startswith("55.0")
        assert shown["kd"]["Active (%)"].startswith("75.0")
        assert (shown["kd"]["Active, inheriting (%)"], shown["teacher"]["Active (%)"]) == ("–", "90.00")
        assert "Active channels are those of stage3." in table.notes

    def test_runs_that_nobody_measured_it_of_have_no_column(self, study):
        add(study, "kd", 0, relations())
        (table,) = relations_tables(group(study))
        assert not [heading for heading in table.headings if heading.startswith("Active")]

    def test_a_half_that_is_not_there_is_no_number(self, study):
        add(study, "iekd", 0, relations() | {"channels": CHANNELS | {"student": {"all": 0.5, "exploration": None}}})
        (table,) = relations_tables(group(study))
        assert "Active, exploring (%)" not in table.headings


class TestPictures:
    def test_heat_maps_stand_beside_the_sample(self, study):
        content = relations()
        content["pictures"]["samples"][0]["heat"] = [{"of": "inheritance", "image": PICTURE}]
        add(study, "iekd", 0, content)
        ((_, (strip,)),) = relations_strips(group(study))
        assert strip.heat == (("inheritance", PICTURE),)
        text = page_of(study)
        assert 'alt="Where the channels of the inheritance answer, sample 4"' in text

    def test_a_heat_map_that_is_no_png_in_the_file_is_refused(self, study):
        content = relations()
        content["pictures"]["samples"][0]["heat"] = [{"of": "teacher", "image": "https://a.b/c.png"}]
        add(study, "iekd", 0, content)
        with pytest.raises(DataError, match=r"at pictures.samples.0.heat.0.image"):
            page_of(study)

    def test_they_are_of_the_lowest_seed_with_both_similarities(self, study):
        for seed in (2, 1):
            add(study, "kd", seed, relations())
        ((title, (strip,)),) = relations_strips(group(study))
        assert title == "kd, seed 1: nearest by the teacher’s features"
        assert (strip.title, strip.right) == ("cat: the student says dog", False)
        captions = {name: [similar for _, similar in every] for name, every in strip.lists}
        assert captions == {"Same class": ["0.90 · 0.80", "−0.10 · 0.80"], "Other classes": ["0.50"]}

    def test_a_list_without_samples_is_left_out(self, study):
        content = relations()
        content["pictures"]["samples"][0]["positives"] = []
        add(study, "kd", 0, content)
        ((_, (strip,)),) = relations_strips(group(study))
        assert [name for name, _ in strip.lists] == ["Other classes"]


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))


def page_of(study):
    return write_page(study.root, study.root.parent / "report.html").read_text(encoding="utf-8")


class TestPage:
    def test_it_shows_table_and_pictures_and_loads_nothing(self, study):
        for seed in (0, 1):
            add(study, "kd", seed, relations())
        text = page_of(study)
        assert text.count("How samples relate</h2>") == 1
        reader = Reader()
        reader.feed(text)
        assert [image["src"] for image in reader.images] == [PICTURE] * 4
        assert [image["alt"] for image in reader.images][:2] == [
            "Sample 4, cat: the student says dog",
            "Sample 7, cat",
        ]
        assert not re.search(r"https?://|@import|url\(", text)
        for table in re.findall(r"<table.*?</table>", text, re.S):
            assert len({len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr.*?</tr>", table, re.S)}) == 1

    def test_it_is_not_mentioned_where_no_run_has_relations(self, study):
        study.add("kd", 0, 0.95)
        assert "How samples relate" not in page_of(study)

    def test_relations_of_an_unfinished_run_do_not_stop_the_page(self, study):
        folder = study.start("kd", 0)
        (folder / "relations.json").write_text(json.dumps(relations()))
        assert "How samples relate" not in page_of(study)

    def test_hostile_names_stay_text(self, study):
        hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
        content = relations(teacher=None)
        content["teacher_left_out"] = hostile
        content["pictures"] = {
            "by": hostile,
            "samples": [content["pictures"]["samples"][0] | {"label": hostile, "student_says": hostile}],
        }
        add(study, "kd", 0, content)
        reader = Reader()
        reader.feed(page_of(study))
        assert reader.tags.count("script") == 1  # the page's own
        assert {image["src"] for image in reader.images} == {PICTURE}
        assert not any("onerror" in image for image in reader.images)

    @pytest.mark.parametrize(
        "image",
        ["https://a.b/c.png", "data:image/svg+xml;base64,AAAA", PICTURE + '" onload="x', PICTURE + "\n", "x.png", 3],
    )
    def test_a_picture_that_is_no_png_in_the_file_is_refused(self, study, image):
        content = relations()
        content["pictures"]["samples"][0]["negatives"][0]["image"] = image
        add(study, "kd", 0, content)
        with pytest.raises(DataError, match=r"relations.json: expected a .* at pictures.samples.0.negatives.0.image"):
            page_of(study)


class TestReading:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "tutelage-relations/2"}, "expected tutelage-relations/1 at format"),
            ({"samples": 1.5}, "a whole number at samples"),
            ({"student": None}, "an object at student"),
            ({"figures": {"overlap": "much"}}, "a finite number at figures.overlap"),
            ({"pictures": {"by": "teacher", "samples": {}}}, "a list of objects at pictures.samples"),
            ({"pictures": {"by": "teacher", "samples": [3]}}, "a list of objects at pictures.samples"),
            ({"channels": {"role": "stage3"}}, "an object at channels.student"),
            ({"noise": {"levels": 3}}, "a list of objects at noise.levels"),
            ({"noise": {"levels": [{"sigma": 0.1, "accuracy": []}]}}, "numbers at noise.levels.0.accuracy"),
            ({"noise": {"levels": [{"sigma": 0.1, "accuracy": [2]}]}}, "between 0 and 1 at noise.levels.0.accuracy.0"),
        ],
    )
    def test_what_is_damaged_is_named(self, tmp_path, change, message):
        (tmp_path / "relations.json").write_text(json.dumps(relations() | change))
        with pytest.raises(DataError, match=message):
            relations_of(read_json(tmp_path / "relations.json"))
