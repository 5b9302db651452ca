"""The comparison of two objectives takes the weight with the lowest LPIPS, and says which one that was."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/pages"))
    import objectives

    yield objectives
    del sys.modules["objectives"]


def trained_run(page, root, name, weight, seed, lpips):
    run = root / f"{name}_{weight:g}_seed{seed}"
    (run / "models").mkdir(parents=True)
    (run / "models/net_g_latest.pth").touch()
    rows = [(0, "lpips", 0.01), (240, "lpips", lpips), (240, "niqe", 5), (240, "psnr", 25)]
    lines = [f"{iteration},validation,{metric},{value}\n" for iteration, metric, value in rows]
    (run / "metrics.csv").write_text("iter,set,metric,value\n" + "".join(lines))
    return run


def test_the_weight_with_the_lowest_lpips_at_the_end_gets_all_seeds(page, tmp_path):
    weights = page.OBJECTIVES["cx"].weights
    first = {
        weight: trained_run(page, tmp_path, "cx", weight, 0, lpips)
        for weight, lpips in zip(weights, (0.3, 0.2, 0.4), strict=True)
    }
    more = [trained_run(page, tmp_path, "cx", weights[1], seed, 0.25) for seed in page.SEEDS[1:]]
    searched, seeds = page.train_all("cx", tmp_path, 240)
    assert list(searched) == [weights[1], weights[0], weights[2]]
    assert seeds == [first[weights[1]], *more]
    rows = list(page.search_table({"cx": searched}))
    assert rows[3] == "| contextual | **0.2** | 0.2000 | 5.00 | 25.00 |"
    assert "**" not in rows[2] + rows[4]


def test_mean_and_deviation_have_the_digits_of_the_metric(page):
    assert page.spread([0.1, 0.2, 0.3]) == "0.2000 ±0.1000"
    assert page.spread([25.0, 26.0, 27.0]) == "26.00 ±1.00"
