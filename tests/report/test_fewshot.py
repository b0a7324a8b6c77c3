"""Few-shot tables: gains are paired by episode, over the first classifier of the same network."""

import pytest
from scipy import stats

from tutelage.report.fewshot import fewshot_table

RIGHT = {
    ("network", "logistic"): [40, 50, 45],
    ("network", "head"): [42, 55, 48],
    ("teacher", "logistic"): [70, 71, 72],
    ("teacher", "head"): [70, 70, 70],
}


def found(right, shots=(5,)):
    net = {"model": "zoo:resnet8", "classes": 64, "seen": 0}
    return {
        "data": "cifar100",
        "split": "all",
        "classes": ["fox"] * 20,
        "ways": 5,
        "shots": list(shots),
        "queries": 15,
        "episodes": 3,
        "seed": 0,
        "network": net,
        "teacher": net,
        "results": [
            {
                "features": who,
                "classifier": name,
                "shots": number,
                "accuracy": sum(rows) / 225,
                "half_width": 0.01,
                "right": rows,
            }
            for (who, name), rows in right.items()
            for number in shots
        ],
    }


def gains(told):
    return told.split("**Gain over logistic regression, paired by episode, in points**")[1].strip().splitlines()


def test_a_gain_is_the_mean_of_the_differences_in_each_episode():
    head, _, ours, theirs = gains(fewshot_table(found(RIGHT)))
    differences = [100 * gain / 75 for gain in (2, 5, 3)]
    low, high = stats.t.interval(0.95, 2, loc=sum(differences) / 3, scale=stats.sem(differences))
    half_width = (high - low) / 2
    assert head == "| | 5 shots |"
    assert ours == f"| zoo:resnet8: linear classifier, tuned | +{100 * 10 / 225:.2f}\xa0±\xa0{half_width:.2f} |"
    assert theirs.startswith("| zoo:resnet8 (teacher): linear classifier, tuned | −1.33")


def test_every_number_of_shots_has_its_gain():
    assert gains(fewshot_table(found(RIGHT, shots=(1, 5))))[2].count("+4.44") == 2


@pytest.mark.parametrize("names", [["logistic"], []])
def test_one_classifier_has_no_gain(names):
    right = {key: rows for key, rows in RIGHT.items() if key[1] in names or key == ("network", "head")}
    told = fewshot_table(found({key: right[key] for key in list(right)[:1]}))
    assert "Gain" not in told


def test_a_network_without_the_first_classifier_has_no_gain():
    right = {key: rows for key, rows in RIGHT.items() if key != ("teacher", "logistic")}
    assert len(gains(fewshot_table(found(right)))) == 3
