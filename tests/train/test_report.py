"""The training's page says how it went, and shows nothing that was not measured."""

from __future__ import annotations

import re

import pytest

from pipeline import config
from pipeline.schema import Accounting, Epoch, FeedFacts, Prepared, PrivacyFacts, RankPace, ShuffleFacts, SplitFacts, Tensor, Trained
from pipeline.train.accounting import ACCOUNTING, epsilon
from pipeline.train.report import rank_totals, render, rows_per_second, verdict, what_stopped
from tests.conftest import PROJECT

SHUFFLE = ShuffleFacts(
    window_rows=1, rows_left_out=0, order_correlation=0, label_run=1, label_run_ideal=1, classes_per_batch=1, classes_per_batch_ideal=1
)


def pace(rows: int = 800, steps_s: float = 2.0, exchange_s: float = 0.5, feed_s: float = 0.2) -> RankPace:
    return RankPace(rows=rows, steps_s=steps_s, validation_s=0.5, exchange_s=exchange_s, feed_s=feed_s, cpu_s=2.5, memory_mb=512.4)


def epoch(number: int, ranks: tuple[RankPace, ...] = (), **more: float) -> Epoch:
    metrics = {"loss": 1 / number, "accuracy": 0.5, "val_loss": 1.5 / number, "val_accuracy": 0.4321, "learning_rate": 0.01}
    return Epoch(epoch=number, steps=10, metrics=metrics, seconds=2.5, ranks=ranks, **more)


def trained(history: tuple[Epoch, ...], best_epoch: int, **more) -> Trained:
    return Trained(
        num_parameters=1234, ranks=2, global_batch=160, steps_per_epoch=10, best_epoch=best_epoch, stopped_early=False,
        resumed_from=None, weight_digest="0" * 64, history=history, **more,
    )  # fmt: skip


def recipe(*overrides: str) -> config.Recipe:
    return config.load(PROJECT / "conf" / "iris.yaml", ["train.epochs=4", "train.early_stopping=null", *overrides])


@pytest.fixture
def data() -> Prepared:
    return Prepared(
        task="classification", label="species", classes=("a", "b"), tensor=Tensor(name="features", dtype="float32", shape=(4,)),
        splits={"train": SplitFacts(rows=4321, sources=4321, label_counts={})},
        accounting=Accounting(rows_in=1, rows_out=1, dropped={}, augmented=0),
    )  # fmt: skip


def page_of(data: Prepared, facts: Trained, *overrides: str) -> str:
    return render(recipe(*overrides), data, facts, run_id="manual-<b>", started_at="2026-01-03T04:05:06+00:00")


def test_the_page_loads_nothing_has_no_script_and_escapes_what_it_is_given(data):
    page = page_of(data, trained((epoch(1, (pace(), pace())),), 1))
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert "<script" not in page and [link for link in links if not link.startswith(("#", "data:"))] == []
    assert "manual-&lt;b&gt;" in page and "2026-01-03 04:05 UTC" in page


def test_the_page_has_the_figures_of_the_best_epoch_the_ranks_and_the_settings(data):
    facts = trained((epoch(1, (pace(), pace())), epoch(2, (pace(), pace(exchange_s=1.0))), epoch(3, (pace(), pace()))), 2)
    page = page_of(data, facts, "train.epochs=3")
    assert "<b>0.7500</b>val_loss, epoch 2" in page and "<b>0.4321</b>val_accuracy, epoch 2" in page
    assert "<b>3 of 3</b>epochs" in page and "<b>800.0</b>rows a second" in page
    assert page.count('<tr class="best"><td>2</td>') == 1
    assert page.count("<title>") == 3 and "Metrics by epoch" in page and "Learning rate and throughput by epoch" in page
    assert '<td class="number">65.0 %</td><td class="number">25.0 %</td><td class="number">10.0 %</td><td class="number">2,400</td>' in page
    assert "4,321" in page and "1,234" in page and "512 MB" in page and "early_stopping: null" in page


def test_what_was_not_measured_is_not_shown(data):
    page = page_of(data, trained((epoch(1),), 1))
    assert "Ranks side by side" not in page and "waiting for rows" not in page and "epsilon" not in page.lower()


def test_the_feeds_stall_and_advice_are_shown(data):
    feed = FeedFacts(shuffle=SHUFFLE, files=7, files_read_twice=1, window_mb=3.25, limit_mb=99, stalled=0.123, advice="Raise <it>.")
    page = page_of(data, trained((epoch(1),), 1, feed=feed))
    assert "<b>12.3 %</b>of steps waiting for rows" in page and "Raise &lt;it&gt;." in page


@pytest.mark.parametrize("is_secret", [True, False])
def test_privacy_says_what_was_spent_how_it_is_counted_and_when_nothing_holds(data, is_secret):
    spent = epsilon(2.0, 2, 1e-5)
    facts = PrivacyFacts(
        epsilon=spent,
        delta=1e-5,
        noise_multiplier=2.0,
        max_grad_norm=1.0,
        epsilon_budget=4.0,
        accounting=ACCOUNTING,
        noise_is_secret=is_secret,
    )
    page = page_of(data, trained((epoch(1), epoch(2)), 2, privacy=facts))
    assert f"({spent:.3f}, 1e-05)-differential privacy" in page and "Amplification by sampling is not claimed" in page
    assert ("Nothing is guaranteed" in page) is not is_secret


@pytest.mark.parametrize(
    ("overrides", "epochs", "best", "privacy_budget", "expected"),
    [
        ((), 4, 4, None, "all 4 epochs"),
        (("train.early_stopping={patience: 2}",), 3, 1, None, "Early stopping: val_loss was best in epoch 1"),
        (("train.callbacks={time_limit_s: 60}",), 3, 3, None, "time limit of 60 s"),
        (("train.early_stopping={patience: 2}", "train.callbacks={time_limit_s: 60}"), 3, 2, None, "time limit of 60 s"),
        ((), 2, 2, epsilon(2.0, 2, 1e-5), "privacy budget: another epoch would have exceeded"),
        ((), 2, 2, epsilon(2.0, 3, 1e-5), "A callback ended it after 2 of 4"),
    ],
    ids=["epochs", "early stopping", "time limit", "patience not over", "privacy", "callback"],
)
def test_the_reason_of_the_end_is_read_off_what_happened(overrides, epochs, best, privacy_budget, expected):
    privacy = None
    if privacy_budget is not None:
        privacy = PrivacyFacts(
            epsilon=0.5,
            delta=1e-5,
            noise_multiplier=2.0,
            max_grad_norm=1.0,
            epsilon_budget=privacy_budget,
            accounting="",
            noise_is_secret=True,
        )
    facts = trained(tuple(epoch(number + 1) for number in range(epochs)), best, privacy=privacy)
    assert expected in what_stopped(recipe(*overrides), facts)


def test_throughput_is_of_steps_where_they_were_timed_and_else_of_whole_epochs():
    assert rows_per_second(epoch(1, (pace(steps_s=2.0), pace(steps_s=4.0))), 160) == pytest.approx(1600 / 4)
    assert rows_per_second(epoch(1), 160) == pytest.approx(10 * 160 / 2.5)


def test_a_slow_rank_is_named_by_the_others_waiting():
    ranks = rank_totals([epoch(1, (pace(exchange_s=1.2), pace(exchange_s=0.1), pace(exchange_s=1.1)))])
    assert (verdict(ranks) or "").startswith("Rank 1 is the one that the others wait for: it spends 5.0 %")
    assert verdict(ranks[:1]) is None


def test_epochs_of_another_number_of_ranks_do_not_mix():
    totals = rank_totals([epoch(1, (pace(),) * 3), epoch(2, (pace(),) * 2), epoch(3, (pace(),) * 2)])
    assert [(total.rank, total.rows) for total in totals] == [(0, 1600), (1, 1600)]
