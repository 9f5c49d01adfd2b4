"""Wallet: real servers, a second or two, and that the check fails where nothing cures it."""

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import wallet
from dashboard.demo.lab.types import Result


def test_nobody_reads_a_balance_before_his_last_payment(quick_bench: LabBench) -> None:
    found = wallet.SCENARIO.run(quick_bench)
    before, after = found.sides
    for side in (before, after):
        assert (side.value("Payments") or 0) > 0 and (side.value("Balances read") or 0) > 0
        assert (side.value("Payment p50") or 0) <= (side.value("Payment p95") or 0)
    assert after.value(wallet.SERIES) == 0 and after.value("Balances left wrong") == 0
    assert [check.passed for check in found.checks[1:]] == [True, True, True]
    assert Result.from_json(found.to_json()) == found


def test_it_fails_with_cache_aside_in_the_cure_s_place(quick_bench: LabBench) -> None:
    found = wallet.pay_and_look(quick_bench, cure="naive")
    assert (found.sides[1].value(wallet.SERIES) or 0) > 0
    assert [check.passed for check in found.checks[:2]] == [True, False]
    assert not found.passed
