"""Few-shot episodes: classifiers against their definitions, episodes that do not feel each other, clear refusals."""

import json

import pytest
import torch
import torch.nn.functional as F

from tutelage.data import open_dataset
from tutelage.data.episodes import EpisodeSampler, EpisodeShape
from tutelage.engine import EngineConfig
from tutelage.engine.episode_heads import HEADS, Tuning
from tutelage.engine.episode_tuning import EpisodeTuner
from tutelage.engine.fewshot import FEWSHOT, FewShotConfig, measure_episodes
from tutelage.engine.session import open_fabric
from tutelage.errors import ConfigError, InputError, LabelSpaceError, UnknownNameError
from tutelage.losses.refilled import adaptive_weights
from tutelage.losses.tuple_matching import tuple_matching
from tutelage.models import ModelCard, build_network, load_network, save_network
from tutelage.types import Outputs

NEW = "5:10"
CPU = EngineConfig(accelerator="cpu", precision="32")
FEW = {"ways": 3, "shots": (1, 4), "queries": 6, "episodes": 8, "classes": NEW}


def features(seed, *shape):
    """Bundles that overlap: some queries are told wrongly."""
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    ways = F.one_hot(torch.arange(shape[1]), shape[-1]).view(1, shape[1], 1, shape[-1])
    return 0.5 * noise + ways


def stored(path, model, seed, count=5):
    """A network of the first digits, as it was born."""
    digits = open_dataset("digits")
    torch.manual_seed(seed)
    classes = digits.labels.names[:count]
    card = ModelCard(model=model, classes=classes, image=(1, 8, 8), mean=digits.mean, std=digits.std)
    save_network(build_network(card), path / "student.safetensors")
    return path


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("student"), "zoo:digits_small", 0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("teacher"), "zoo:digits_large", 1)


@pytest.fixture(scope="module")
def found(student, teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    config = FewShotConfig(
        **FEW, split="all", classifiers=("ncm", "refilled"), tuning=Tuning(steps=1, matching_steps=1)
    )
    content = measure_episodes(student, "digits", config, teacher=teacher, engine=CPU, out=out)
    assert json.loads((out / FEWSHOT).read_text()) == content
    return content


class TestHeads:
    support, query = features(0, 5, 4, 3, 8), features(1, 5, 4, 6, 8)

    @pytest.mark.parametrize("name", HEADS)
    def test_episodes_do_not_feel_each_other(self, name):
        together = HEADS[name](self.support, self.query, Tuning())
        alone = [HEADS[name](self.support[i : i + 1], self.query[i : i + 1], Tuning()) for i in range(5)]
        assert together.shape == (5, 4, 6)
        assert torch.equal(together, torch.cat(alone))
        right = (together == torch.arange(4).view(1, 4, 1)).double().mean()
        assert 0.5 < right < 1

    @pytest.mark.parametrize("name", ["ncm", "protonet"])
    def test_the_nearest_mean_is_told_by_cosine_or_by_distance(self, name):
        told = HEADS[name](self.support, self.query, Tuning())
        for episode, way, place in torch.cartesian_prod(torch.arange(5), torch.arange(4), torch.arange(6)).tolist():
            x, means = self.query[episode, way, place], self.support[episode].mean(1)
            gaps = [
                1 - F.cosine_similarity(x, mean, dim=0) if name == "ncm" else (x - mean).square().sum()
                for mean in means
            ]
            assert told[episode, way, place] == min(range(4), key=lambda number: gaps[number])

    @pytest.mark.parametrize("name", ["ncm", "logistic", "head"])
    def test_the_length_of_a_query_does_not_count(self, name):
        longer = self.query * torch.arange(1, 7).view(1, 1, 6, 1)
        assert torch.equal(HEADS[name](self.support, longer, Tuning()), HEADS[name](self.support, self.query, Tuning()))

    def test_a_tuned_head_is_that_of_a_linear_layer_trained_alone(self):
        tuning = Tuning(steps=3)
        rows, asked = (F.normalize(x[0].flatten(0, 1), dim=1) for x in (self.support, self.query))
        layer = torch.nn.Linear(8, 4)
        layer.weight.data = tuning.scale * F.normalize(self.support[0].mean(1), dim=1)
        layer.bias.data.zero_()
        optimizer = torch.optim.SGD(layer.parameters(), lr=tuning.head_lr, momentum=0.9, weight_decay=5e-4)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(layer(rows), torch.arange(4).repeat_interleave(3)).backward()
            optimizer.step()
        assert torch.equal(HEADS["head"](self.support, self.query, tuning)[0].flatten(), layer(asked).argmax(1))

    def test_coincident_rows_and_rows_of_zeros_are_told_something(self):
        for name in ("ncm", "protonet", "head"):
            told = HEADS[name](torch.zeros(2, 3, 2, 4), torch.ones(2, 3, 1, 4), Tuning(steps=2))
            assert ((told >= 0) & (told < 3)).all()


class TestTuner:
    @pytest.fixture
    def pool(self):
        test = open_dataset("digits").test
        rows = (test.labels >= 5).nonzero().flatten()
        return test.images[rows].permute(0, 3, 1, 2).contiguous(), test.labels[rows]

    @pytest.fixture
    def taught(self, student, teacher, pool):
        """The network, the teacher's answers, and a tuner with settings."""
        network, source = load_network(student), load_network(teacher).eval()
        with torch.no_grad():
            answers = source(pool[0])
        answers = Outputs(answers.logits, {"embedding": answers.taps["embedding"].flatten(1)})
        autocast = open_fabric(CPU).autocast

        def build(guided=True, **settings):
            return EpisodeTuner(network, pool[0], answers if guided else None, Tuning(**settings), autocast)

        return network, answers, build

    def episode(self, pool, number=0, shots=2):
        drawn = EpisodeSampler(pool[1], EpisodeShape(ways=3, shots=shots, queries=5), seed=0).draw(number, 1)
        return type(drawn)(*(part[0] for part in drawn))

    @pytest.mark.parametrize("name", ["finetune", "refilled"])
    def test_an_episode_leaves_nothing_behind(self, pool, taught, name):
        build = taught[2]
        tuner = build(steps=2, matching_steps=2)
        first = tuner(name, self.episode(pool))
        weights = {key: value.clone() for key, value in taught[0].state_dict().items()}
        tuner(name, self.episode(pool, 1))
        assert torch.equal(tuner(name, self.episode(pool)), first)
        assert all(torch.equal(value, weights[key]) for key, value in taught[0].state_dict().items())

    @pytest.mark.parametrize("shots", [1, 3])
    def test_refilled_is_its_two_losses_one_after_the_other(self, student, pool, taught, shots):
        network, answers, build = taught
        settings = {"steps": 2, "matching_steps": 2, "lr": 0.01, "matching_weight": 50.0, "distillation": 3.0}
        told = build(temperature=0.5, **settings)("refilled", self.episode(pool, shots=shots))
        copy, episode = load_network(student).eval(), self.episode(pool, shots=shots)
        rows, labels = episode.support.flatten(), torch.arange(3).repeat_interleave(shots)
        theirs = answers.taps["embedding"][rows]

        def embedded(of):
            return F.normalize(copy(pool[0][of]).taps["embedding"].flatten(1), dim=1)

        sgd = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
        optimizer = torch.optim.SGD(copy.parameters(), **sgd)
        for _ in range(2 if shots > 1 else 0):
            optimizer.zero_grad()
            (50 * tuple_matching(embedded(rows), theirs, labels).mean()).backward()
            optimizer.step()
        means = [embedded(rows)[labels == way].mean(0) for way in range(3)]
        weight = (10 * F.normalize(torch.stack(means), dim=1)).detach().requires_grad_()
        bias = torch.zeros(3, requires_grad=True)
        centres = F.normalize(torch.stack([theirs[labels == way].mean(0) for way in range(3)]), dim=1)
        weights = adaptive_weights(answers.logits[rows])
        head = {"params": [weight, bias], "lr": 0.1}
        optimizer = torch.optim.SGD([{"params": copy.parameters()}, head], **sgd)
        for _ in range(2):
            optimizer.zero_grad()
            logits = embedded(rows) @ weight.T + bias
            loss = F.cross_entropy(logits, labels)
            for i, row in enumerate(rows):
                p, log_q = (answers.taps["embedding"][row] @ centres.T / 0.5).softmax(0), logits[i].log_softmax(0)
                loss = loss + 3 * weights[i] * (p * (p.log() - log_q)).sum() / len(rows)
            loss.backward()
            optimizer.step()
        for (name, ours), reference in zip(network.named_parameters(), copy.parameters(), strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4, msg=name)
        expected = (embedded(episode.query.flatten()) @ weight.T + bias).argmax(1).view(3, 5)
        assert torch.equal(told, expected)

    def test_refilled_without_its_losses_is_fine_tuning(self, pool, taught):
        tuner = taught[2](steps=2, matching_steps=0, distillation=0.0)
        refilled = tuner("refilled", self.episode(pool))
        weights = [value.clone() for value in taught[0].parameters()]
        assert torch.equal(tuner("finetune", self.episode(pool)), refilled)
        assert all(torch.equal(a, b) for a, b in zip(weights, taught[0].parameters(), strict=True))

    @pytest.mark.parametrize("name", ["finetune", "refilled"])
    def test_a_step_sees_a_batch_of_a_large_support(self, pool, taught, name):
        tuner, seen = taught[2](steps=6, matching_steps=3, batch_size=5), []
        embed, episode = tuner._features, self.episode(pool, shots=4)
        tuner._features = lambda rows: seen.append(rows.tolist()) or embed(rows)
        tuner(name, episode)
        support, stages = episode.support.flatten().tolist(), [3, 6] if name == "refilled" else [6]
        assert len(seen) == sum(stages) + 2  # the class means that the classifier begins as, and the queries
        assert seen[stages[0] if name == "refilled" else 0] == support
        steps = [rows for rows in seen[:-1] if rows != support]
        assert all(len(set(rows)) == 5 and set(rows) <= set(support) for rows in steps)
        for begin, end in [(0, 3), (3, 9)] if name == "refilled" else [(0, 6)]:
            rounds = [(steps[at], steps[at + 1]) for at in range(begin, end - 1, 2)]
            assert all(set(first).isdisjoint(second) for first, second in rounds)
        assert len({tuple(rows) for rows in steps[-6:]}) == 6

    def test_statistics_of_batch_norm_stay_those_it_was_given(self, student, pool, taught):
        taught[2](steps=2)("finetune", self.episode(pool))
        before, after = load_network(student), taught[0]
        assert all(torch.equal(a, b) for a, b in zip(before.buffers(), after.buffers(), strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))

    def test_images_that_coincide_have_no_tuple_and_nothing_is_nan(self, pool, taught):
        network, _, build = taught
        tuner = build(steps=2, matching_steps=2)
        tuner._images = torch.zeros_like(pool[0])
        tuner("refilled", self.episode(pool))
        assert all(value.isfinite().all() for value in network.parameters())

    def test_refilled_needs_a_teacher(self, pool, taught):
        with pytest.raises(ConfigError, match="learns from a teacher, and there is none"):
            taught[2](guided=False)("refilled", self.episode(pool))


class TestMeasure:
    def test_it_says_which_networks_were_measured_also_where_one_was_tuned(self, found, student, teacher):
        for who, path in (("network", student), ("teacher", teacher)):
            assert found[who]["fingerprint"] == load_network(path).fingerprint()

    def test_every_network_classifier_and_number_of_shots_has_a_row(self, found):
        rows = [(row["features"], row["classifier"], row["shots"]) for row in found["results"]]
        frozen = [(who, "ncm", shots) for who in ("network", "teacher") for shots in (1, 4)]
        assert rows == [*frozen, ("network", "refilled", 1), ("network", "refilled", 4)]

    def test_accuracies_are_those_of_the_stored_networks_in_the_drawn_episodes(self, found, student, teacher):
        digits = open_dataset("digits")
        images = torch.cat([store.images[store.labels >= 5] for store in (digits.train, digits.test)])
        labels = torch.cat([store.labels[store.labels >= 5] for store in (digits.train, digits.test)])
        for who, path in (("network", student), ("teacher", teacher)):
            with torch.no_grad():
                x = load_network(path).eval()(images.permute(0, 3, 1, 2)).taps["embedding"].flatten(1)
            for shots in (1, 4):
                row = next(r for r in found["results"] if (r["features"], r["shots"]) == (who, shots))
                shape = EpisodeShape(ways=3, shots=shots, queries=6)
                drawn = EpisodeSampler(labels - 5, shape, seed=0).draw(0, 8)
                right = []
                for support, query in zip(drawn.support, drawn.query, strict=True):
                    cosines = F.normalize(x[query], dim=-1) @ F.normalize(x[support].mean(1), dim=-1).T
                    right.append(int((cosines.argmax(-1) == torch.arange(3).unsqueeze(1)).sum()))
                assert row["right"] == right
                assert row["accuracy"] == pytest.approx(sum(right) / (8 * 18))

    def test_it_says_whether_the_classes_are_new(self, found, student):
        assert (found["network"]["seen"], found["teacher"]["seen"]) == (0, 0)
        assert found["classes"] == list("56789")
        few = FewShotConfig(**{**FEW, "classes": "4,8,3,9"}, classifiers=("ncm",))
        assert measure_episodes(student, "digits", few, engine=CPU)["network"]["seen"] == 2

    def test_a_small_block_gives_the_same(self, student, monkeypatch):
        few = FewShotConfig(**FEW, classifiers=("ncm", "head"))
        whole = measure_episodes(student, "digits", few, engine=CPU)["results"]
        monkeypatch.setattr("tutelage.engine.fewshot._NUMBERS", 1)
        parts = measure_episodes(student, "digits", few, engine=CPU)["results"]
        assert [row["right"] for row in parts] == [row["right"] for row in whole]


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            (
                {"shots": (50,)},
                ConfigError,
                r"50 shots and 6 queries needs 56 images of a class, but class '\d' has 4\d",
            ),
            ({"ways": 6}, ConfigError, "6 ways needs at least as many classes, there are 5"),
            ({"classes": "5,6,ten"}, LabelSpaceError, "1 of the 3 classes that were asked for are not in the data"),
            ({"classifiers": ("refilled",)}, ConfigError, "name one, --teacher RUN"),
        ],
    )
    def test_what_the_data_cannot_give_is_refused(self, student, settings, error, message):
        with pytest.raises(error, match=message):
            measure_episodes(student, "digits", FewShotConfig(**{**FEW, **settings}), engine=CPU)

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"episodes": 1}, ConfigError, "at least 2 episodes, got 1"),
            ({"shots": ()}, ConfigError, "shots need at least one value"),
            ({"shots": (1, 1)}, ConfigError, r"none twice, got \[1, 1\]"),
            ({"shots": (0,)}, ConfigError, "at least 1 shot"),
            ({"classifiers": ("knn",)}, UnknownNameError, "unknown classifier 'knn'"),
        ],
    )
    def test_a_setting_out_of_range_is_refused(self, settings, error, message):
        with pytest.raises(error, match=message):
            FewShotConfig(**settings)

    def test_a_network_that_has_diverged_is_refused(self, tmp_path):
        path = stored(tmp_path, "zoo:digits_small", 0)
        network = load_network(path)
        next(network.model.parameters()).data.fill_(torch.nan)
        save_network(network, path / "student.safetensors")
        with pytest.raises(InputError, match="it has diverged"):
            measure_episodes(path, "digits", FewShotConfig(**FEW), engine=CPU)

    @pytest.mark.parametrize(
        "settings", [{"steps": 0}, {"lr": 0.0}, {"head_lr": -1.0}, {"batch_size": 0}, {"scale": 0.0}]
    )
    def test_tuning_without_steps_or_rates_is_refused(self, settings):
        with pytest.raises(ConfigError, match=f"{next(iter(settings))} must be"):
            Tuning(**settings)
