import pandas as pd
import pytest

from lesionseg.report.scores import arm_means, ranking_text


@pytest.fixture
def rows():
    """Two arms whose order by F1 depends on the criterion; the second patient has two sessions."""
    values = {("a", "strict"): (0.2, 0.4, 0.6), ("a", "lenient"): (0.9, 0.9, 0.9)}
    values |= {("b", "strict"): (0.5, 0.5, 0.5), ("b", "lenient"): (0.5, 0.5, 0.5)}
    studies = [("p1", ""), ("p2", "1"), ("p2", "2")]
    return pd.DataFrame(
        [
            {
                **{"init": arm, "train_size": 2, "repeat": 0, "criterion": criterion, "subject": subject},
                **{"session": session, "study": subject + session, "n_reference": 1},
                **{"sensitivity": f1, "ppv": f1, "f1": f1},
            }
            for (arm, criterion), scores in values.items()
            for (subject, session), f1 in zip(studies, scores, strict=True)
        ]
    )


def test_means_are_over_patients_not_sessions(rows):
    means = arm_means(rows).set_index(["init", "criterion"])
    assert means.loc[("a", "strict"), "f1"] == pytest.approx((0.2 + 0.5) / 2)
    assert means.loc[("a", "strict"), "n_patients"] == 2


def test_an_order_that_depends_on_the_criterion_is_said(rows):
    text = ranking_text(arm_means(rows))
    assert "2 training studies, F1: b before a under strict; a before b under lenient." in text
    same = ranking_text(arm_means(rows[rows["criterion"] == "strict"]))
    assert "rank the same under every criterion" in same
