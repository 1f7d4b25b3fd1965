"""A prediction and what happened: in words that hold no measured time."""

import pytest

from halab.errors import UsageError
from halab.predict import Prediction


def test_says_what_was_predicted() -> None:
    assert (
        repr(Prediction(seconds=10, holder="another node", quorum=True)) == "predicted: seconds within 10; holder another node; quorum yes"
    )


@pytest.mark.parametrize(
    ("said", "seen", "right", "words"),
    [
        ({"seconds": 10}, {"seconds": 5.123}, True, "✔ seconds: within your 10 s"),
        ({"seconds": 10}, {"seconds": 10}, True, "✔ seconds: within your 10 s"),
        ({"seconds": 10}, {"seconds": 10.01}, False, "✘ seconds: it took 10.0 s, longer than your 10 s"),
        ({"seconds": 3600}, {"seconds": 5.1}, False, "✘ seconds: your 3600 s are more than 20 times too long"),
        ({"seconds": 20}, {"seconds": 0.3}, True, "✔ seconds: within your 20 s"),
        ({"seconds": 21}, {"seconds": 0.3}, False, "✘ seconds: your 21 s are more than 20 times too long"),
        ({"seconds": 10}, {"seconds": None}, False, "✘ seconds: you predicted within 10, it did not happen"),
        ({"seconds_gone": 10}, {"seconds_gone": 3}, True, "✔ seconds gone: within your 10 s"),
        ({"comes_back": True}, {"comes_back": True}, True, "✔ comes back: yes, as you predicted"),
        ({"comes_back": True}, {"comes_back": False}, False, "✘ comes back: you predicted yes, it was no"),
        ({"holder": "nobody"}, {"holder": "another node"}, False, "✘ holder: you predicted nobody, it was another node"),
        ({"needed": 2}, {"needed": 2}, True, "✔ needed: 2, as you predicted"),
    ],
)
def test_compares(said: dict, seen: dict, right: bool, words: str) -> None:
    compared = Prediction(**said).against(**seen)
    assert (compared.right, repr(compared)) == (right, words)


def test_one_wrong_answer_makes_the_whole_wrong() -> None:
    assert not Prediction(quorum=True, needed=3).against(quorum=True, needed=2).right


@pytest.mark.parametrize("said", [{}, {"seconds": 0}, {"seconds": "soon"}, {"seconds": -1}])
def test_what_says_nothing_is_no_prediction(said: dict) -> None:
    with pytest.raises(UsageError):
        Prediction(**said)


@pytest.mark.parametrize("seen", [{}, {"quorum": True}, {"seconds": 1, "quorum": True}])
def test_every_question_is_answered_and_no_other(seen: dict) -> None:
    with pytest.raises(UsageError):
        Prediction(seconds=5).against(**seen)


def test_an_answer_without_the_name_of_its_question_is_refused() -> None:
    with pytest.raises(UsageError, match="name of its question"):
        Prediction(True, False)
