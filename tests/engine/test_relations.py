"""`relations.json` of real runs: the figures are those of the stored networks, and nobody is asked who costs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tutelage.data import open_dataset
from tutelage.data.protocols import Standard, divided
from tutelage.engine import HttpConfig, TeacherConfig, start
from tutelage.engine.relations import relate, why_not_asked
from tutelage.engine.teacher_config import AnswersConfig
from tutelage.errors import ConfigError, DataError, InputError, RunError
from tutelage.methods import IEDMLConfig, IEKDConfig, KDConfig
from tutelage.models import load_network, save_network
from tutelage.ops.judges import cluster_nmi

N = 60
FEW = {"samples": N, "k": 5}


@pytest.fixture(scope="module")
def student_run(tiny, teacher_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / "run"
    start(tiny(KDConfig(), teacher_run), path)
    return path


@pytest.fixture(scope="module")
def alone_run(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("alone") / "run"
    start(tiny(), path)
    return path


@pytest.fixture(scope="module")
def found(student_run):
    relate(student_run, **FEW)
    return json.loads((student_run / "relations.json").read_text())


@pytest.fixture
def copied(student_run, tmp_path):
    """A copy of the run, whose config and result a test may change."""
    path = tmp_path / "copy"
    shutil.copytree(student_run, path)
    (path / "relations.json").unlink(missing_ok=True)

    def change(name="config.json", **sections):
        content = json.loads((path / name).read_text())
        for section, values in sections.items():
            content[section] = content[section] | values
        (path / name).write_text(json.dumps(content))
        return path

    return change


def seen(path, rows):
    """Embedding and logits of a stored network for test images of digits, in the plainest way."""
    network = load_network(path).eval()
    network.listen(["embedding"])
    with torch.inference_mode():
        out = network(open_dataset("digits").test.images[rows].permute(0, 3, 1, 2))
    return out.taps["embedding"].flatten(1).double(), out.logits.double()


def drawn(count):
    every = len(open_dataset("digits").test)
    return torch.randperm(every, generator=torch.Generator().manual_seed(0))[:count].sort().values


def nearest_mean(path, rows):
    """Accuracy of the nearest mean of the training images that are not held out."""
    digits, network = open_dataset("digits"), load_network(path).eval()
    network.listen(["embedding"])
    train = divided(Standard(validation=0.52), digits.train.labels, seed=0).train
    with torch.inference_mode():
        known, asked = (
            torch.nn.functional.normalize(network(part.images[ids].permute(0, 3, 1, 2)).taps["embedding"].flatten(1))
            for part, ids in ((digits.train, train), (digits.test, rows))
        )
    means = torch.stack([known[digits.train.labels[train] == k].mean(0) for k in range(10)])
    said = (asked @ torch.nn.functional.normalize(means).T).argmax(1)
    return (said == digits.test.labels[rows]).double().mean().item()


def k_nearest(x, k):
    unit = x / x.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    return [set([j for j in row.argsort(descending=True).tolist() if j != i][:k]) for i, row in enumerate(cosines)]


def test_the_figures_are_those_of_the_stored_networks(found, student_run, teacher_run):
    rows = drawn(N)
    labels = open_dataset("digits").test.labels[rows]
    (ours, logits), (theirs, teacher_logits) = (seen(path, rows) for path in (student_run, teacher_run))
    assert (found["split"], found["samples"], found["k"], found["bins"]) == ("test", N, 5, 15)
    for who, outputs, features in (("student", logits, ours), ("teacher", teacher_logits, theirs)):
        assert found[who]["accuracy"] == pytest.approx((outputs.argmax(1) == labels).double().mean().item())
        pure = sum(labels[j] == labels[i] for i, near in enumerate(k_nearest(features, 5)) for j in near) / (5 * N)
        assert found[who]["purity"] == pytest.approx(float(pure))
        assert found[who]["features"] == "embedding"
        run = {"student": student_run, "teacher": teacher_run}[who]
        assert found[who]["ncm"] == pytest.approx(nearest_mean(run, rows))
        assert found[who]["nmi"] == pytest.approx(cluster_nmi(features, labels))
    assert found["figures"]["seen_auc"] is None  # it knows all classes
    near = zip(k_nearest(ours, 5), k_nearest(theirs, 5), strict=True)
    figures = found["figures"]
    assert figures["overlap"] == pytest.approx(sum(len(a & b) for a, b in near) / (5 * N))
    same = (logits.argmax(1) == teacher_logits.argmax(1)).double().mean().item()
    assert figures["agreement"] == pytest.approx(same)
    apart = ~torch.eye(N, dtype=torch.bool)
    gap = (torch.corrcoef(logits) - torch.corrcoef(teacher_logits)).abs()[apart].mean().item()
    assert figures["correlation_gap"] == pytest.approx(gap, abs=1e-5)
    assert -0.1 < figures["cka_features"] < 1
    assert -0.1 < figures["cka_logits"] < 1


def test_a_network_compared_with_itself_is_alike_in_everything(student_run):
    figures = relate(student_run, teacher=student_run, **FEW)["figures"]
    expected = {"overlap": 1, "cka_features": 1, "cka_logits": 1, "agreement": 1, "correlation_gap": 0}
    assert figures.pop("seen_auc") is None
    assert figures == pytest.approx(expected, abs=1e-9)


def test_the_pictures_are_near_samples_of_the_right_classes(found, teacher_run):
    rows, labels = drawn(N), open_dataset("digits").test.labels
    features = seen(teacher_run, rows)[0]
    unit = features / features.norm(dim=1, keepdim=True)
    place = {row: i for i, row in enumerate(rows.tolist())}
    assert found["pictures"]["by"] == "teacher"
    samples = found["pictures"]["samples"]
    assert len(samples) == 6
    right = [each["student_says"] == each["label"] for each in samples]
    assert right == sorted(right)
    assert not all(right)
    for each in samples:
        assert each["label"] == str(int(labels[each["id"]]))
        assert {near["label"] for near in each["positives"]} == {each["label"]}
        assert each["label"] not in {near["label"] for near in each["negatives"]}
        assert each["id"] not in [near["id"] for near in each["positives"]]
        best = max(
            (j for j in place if labels[j] != labels[each["id"]]),
            key=lambda j: float(unit[place[j]] @ unit[place[each["id"]]]),
        )
        assert each["negatives"][0]["id"] == best


class TestChannels:
    def test_the_shares_are_those_of_the_stored_networks(self, found, student_run, teacher_run):
        images = open_dataset("digits").test.images[drawn(N)].permute(0, 3, 1, 2)
        expected = []
        for path in (student_run, teacher_run):
            network = load_network(path).eval()
            network.listen(["stage2"])
            with torch.inference_mode():
                peaks = network(images).taps["stage2"].amax((2, 3))
            expected.append((peaks > 0.1 * peaks.amax(1, keepdim=True)).double().mean().item())
        channels = found["channels"]
        assert (channels["role"], channels["above"]) == ("stage2", 0.1)
        assert channels["student"] == {"all": pytest.approx(expected[0])}
        assert channels["teacher"] == pytest.approx(expected[1])

    def test_those_of_iekd_are_told_by_halves_and_shown(self, tiny, teacher_run, tmp_path):
        start(tiny(IEKDConfig(split="random"), teacher_run), tmp_path / "run")
        found = relate(tmp_path / "run", **FEW)
        shares = found["channels"]["student"]
        assert list(shares) == ["all", "inheritance", "exploration"]
        assert shares["all"] == pytest.approx((shares["inheritance"] + shares["exploration"]) / 2)
        for sample in found["pictures"]["samples"]:
            assert [each["of"] for each in sample["heat"]] == ["inheritance", "exploration", "teacher"]

    def test_those_of_peers_are_split_by_whom_they_learnt_from(self, tiny, tmp_path):
        start(tiny(IEDMLConfig()), tmp_path / "run")
        found = relate(tmp_path / "run", **FEW)
        assert list(found["channels"]["student"]) == ["all", "inheritance", "exploration"]
        assert [each["of"] for each in found["pictures"]["samples"][0]["heat"]] == ["inheritance", "exploration"]

    def test_each_shown_sample_has_a_map_of_each_network(self, found):
        for sample in found["pictures"]["samples"]:
            assert [each["of"] for each in sample["heat"]] == ["student", "teacher"]
            assert all(each["image"].startswith("data:image/png;base64,") for each in sample["heat"])


class TestNoise:
    def test_each_level_has_its_draws_and_none_of_it_moves_the_other_figures(self, found, student_run):
        assert found["noise"]["draws"] == 5
        assert [level["sigma"] for level in found["noise"]["levels"]] == [0.05, 0.1, 0.2]
        assert all(len(level["accuracy"]) == 5 for level in found["noise"]["levels"])
        without = relate(student_run, noise=(), **FEW)
        assert without["noise"] is None
        assert {**without, "noise": found["noise"]} == found

    def test_at_zero_it_is_the_accuracy_exactly(self, student_run):
        found = relate(student_run, noise=[0.0, 5.0], **FEW)
        plain, wild = found["noise"]["levels"]
        assert plain["accuracy"] == [found["student"]["accuracy"]] * 5
        assert sum(wild["accuracy"]) / 5 < found["student"]["accuracy"]

    def test_a_level_below_zero_is_refused_before_anything_is_read(self, tmp_path):
        with pytest.raises(ConfigError, match="noise on the weights is 0 or more"):
            relate(tmp_path / "nowhere", noise=[-0.1])


def test_measuring_again_gives_the_same_file(student_run):
    relate(student_run, **FEW)
    before = (student_run / "relations.json").read_bytes()
    relate(student_run, **FEW)
    assert (student_run / "relations.json").read_bytes() == before
    assert not list(student_run.glob("*.part"))


def test_all_images_are_taken_where_there_are_fewer_than_may_be(student_run, copied):
    assert relate(copied())["samples"] == 449
    assert relate(copied(), split="validation", k=3)["samples"] == round(0.52 * 1348)


class TestWhoIsAsked:
    def test_a_run_without_a_teacher_has_figures_of_the_student_alone(self, alone_run):
        found = relate(alone_run, **FEW)
        assert (found["teacher"], found["figures"]) == (None, None)
        assert found["teacher_left_out"] == "the run had no teacher"
        assert 0 < found["student"]["purity"] < 1
        assert found["pictures"]["by"] == "student"
        assert found["pictures"]["samples"][0]["positives"][0]["student_similarity"] is None

    def test_it_can_be_compared_with_a_network_that_is_named(self, alone_run, teacher_run):
        found = relate(alone_run, teacher=teacher_run, **FEW)
        assert found["figures"]["agreement"] > 0.1
        assert found["teacher"]["fingerprint"] == load_network(teacher_run).fingerprint()

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"weights": "python:nowhere:build"}, "no stored network"),
            ({"weights": "http://127.0.0.1:1"}, "no stored network"),
            ({"answers": {"budget": 10}}, "a budget or a price"),
            ({"answers": {"price_per_call": 0.5}}, "a budget or a price"),
        ],
    )
    def test_a_teacher_whose_calls_cost_is_not_even_opened(self, copied, monkeypatch, change, why):
        monkeypatch.setattr("tutelage.engine.relations.open_teacher", None)  # to call it would be a TypeError
        found = relate(copied(teacher=change), **FEW)
        assert why in found["teacher_left_out"]
        assert found["figures"] is None

    def test_to_name_the_teacher_whose_calls_cost_does_not_make_them_free(self, copied, teacher_run, student_run):
        path = copied(teacher={"answers": {"budget": 10}})
        with pytest.raises(ConfigError, match=r"taught this run, and its calls cost: .* leave out --teacher"):
            relate(path, teacher=teacher_run, **FEW)
        assert relate(path, teacher=student_run, **FEW)["figures"]["overlap"] == 1

    @pytest.mark.parametrize("name", ["python:nowhere:build", "http://127.0.0.1:1", "ema"])
    def test_only_a_stored_network_can_be_named(self, alone_run, name):
        with pytest.raises(ConfigError, match="a teacher to compare with is a stored network, got "):
            relate(alone_run, teacher=name, **FEW)

    def test_a_copy_of_the_student_is_no_teacher_to_ask(self):
        assert why_not_asked(TeacherConfig(weights="ema")) == "it was a copy of the student"
        assert why_not_asked(TeacherConfig(weights="t.safetensors", http=HttpConfig(rate=1.0))) == ""
        assert why_not_asked(TeacherConfig(weights="t", answers=AnswersConfig(cache="on"))) == ""

    def test_another_network_in_the_place_of_the_teacher_is_refused(self, copied):
        with pytest.raises(DataError, match="is not any more the network that taught this run: wanted 0123"):
            relate(copied("result.json", teacher={"fingerprint": "0123"}), **FEW)

    def test_a_teacher_that_is_gone_is_told(self, copied, tmp_path):
        with pytest.raises(DataError, match="no network at"):
            relate(copied(teacher={"weights": str(tmp_path / "gone")}), **FEW)

    def test_a_teacher_of_the_same_classes_in_another_order_has_features_but_no_accuracy(
        self, alone_run, teacher_run, tmp_path
    ):
        network = load_network(teacher_run)
        object.__setattr__(network.card, "classes", network.card.classes[::-1])
        save_network(network, tmp_path / "t.safetensors")
        found = relate(alone_run, teacher=tmp_path / "t.safetensors", **FEW)
        assert (found["teacher"]["accuracy"], found["teacher"]["ece"], found["figures"]["agreement"]) == (None,) * 3
        assert found["teacher"]["purity"] > 0.5
        assert found["figures"]["overlap"] > 5 / (N - 1)

    def test_a_teacher_that_knows_some_of_the_classes_tells_them_from_others(self, alone_run, tiny, tmp_path):
        config = tiny()
        start(replace(config, data=replace(config.data, classes="0:6")), tmp_path / "six")
        found = relate(alone_run, teacher=tmp_path / "six", **FEW)
        rows = drawn(N)
        logits, labels = seen(tmp_path / "six", rows)[1], open_dataset("digits").test.labels[rows]
        sure = logits.log_softmax(1).amax(1)
        inside, outside = sure[labels < 6], sure[labels >= 6]
        ranks = (inside[:, None] > outside).double() + 0.5 * (inside[:, None] == outside).double()
        assert found["figures"]["seen_auc"] == pytest.approx(ranks.mean().item(), abs=1e-6)
        assert found["teacher"]["accuracy"] is None
        assert 0 < found["teacher"]["ncm"] < 1


def test_a_student_without_an_embedding_is_judged_by_its_logits(tiny, own_model, tmp_path):
    def make(num_classes):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))
        network.taps = {"flat": "0"}
        return network

    path = tmp_path / "run"
    start(tiny(model=own_model(make)), path)
    found = relate(path, teacher=path, **FEW)
    assert found["student"]["features"] == found["teacher"]["features"] == "logits"
    assert found["channels"] is None
    assert found["pictures"]["samples"][0]["heat"] == []
    assert found["figures"]["cka_features"] == pytest.approx(1)


def test_collapsed_features_leave_alignment_undefined(copied):
    path = copied()
    network = load_network(path)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    save_network(network, path / "student.safetensors")
    figures = relate(path, **FEW)["figures"]
    assert (figures["cka_features"], figures["cka_logits"]) == (None, None)
    assert "NaN" not in (path / "relations.json").read_text()


class TestRefusals:
    def test_a_run_that_is_not_finished_is_left_as_it_is(self, copied):
        path = copied()
        (path / "result.json").unlink()
        (path / "state.ckpt.1.part").touch()
        with pytest.raises(RunError, match="is not finished: go on with `tutelage resume"):
            relate(path, **FEW)
        assert (path / "state.ckpt.1.part").exists()  # another process may be writing it

    def test_a_place_without_a_run(self, tmp_path):
        with pytest.raises(RunError, match="holds none: name a run"):
            relate(tmp_path, **FEW)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"k": 0}, "k must be from 1 to 59, one below the number of samples, got 0"),
            ({"k": 60}, "k must be from 1 to 59"),
            ({"samples": 3}, "at least 4 samples, got 3"),
        ],
    )
    def test_settings_out_of_range(self, student_run, setting, message):
        with pytest.raises(ConfigError, match=message):
            relate(student_run, **{**FEW, **setting})

    def test_a_network_that_diverged(self, copied):
        path = copied()
        network = load_network(path)
        with torch.no_grad():
            next(network.parameters()).fill_(torch.nan)
        save_network(network, path / "student.safetensors")
        with pytest.raises(InputError, match="numbers that are not finite: it has diverged"):
            relate(path, **FEW)
        assert not (path / "relations.json").exists()
