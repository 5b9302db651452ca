"""The page of nonaligned.py in Markdown: costs, a table of each figure, crops."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

Figures = dict[str, float]
Results = Mapping[tuple[str, str], Sequence[Figures]]
"""(case, loss) -> the figures of each seed."""

FIGURES = {
    "lpips": "LPIPS (AlexNet); lower is better",
    "dists": "DISTS; lower is better",
    "energy": "Gradient energy of Y, divided by that of the ground truth; 1 is as sharp",
    "psnr": "PSNR after alignment, in dB; higher is better",
}
DIGITS = {"lpips": 3, "dists": 3, "energy": 2, "psnr": 2}
BEST = {"lpips": min, "dists": min, "psnr": max}


def cost_table(results: Results, costs: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the lines of the table of what each loss costs.

    Args:
        results: The figures; `steps` and `time_s` are used.
        costs: Loss -> `step_s` and `memory_mib` at x4.
    """
    yield "| loss | a step | peak memory | steps of a run | processor seconds of a run |"
    yield "|---|---|---|---|---|"
    for loss in losses_of(results):
        runs = [run for (_, of), runs in results.items() if of == loss for run in runs]
        steps = sorted({round(run["steps"]) for run in runs})
        yield (
            f"| {loss} | {1000 * costs[loss]['step_s']:.0f} ms | {costs[loss]['memory_mib']:.0f} MiB | "
            f"{', '.join(map(str, steps))} | {fmean(run['time_s'] for run in runs):.1f} |"
        )


def figure_tables(results: Results, starts: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the lines of one table for each figure: losses down, cases across.

    Args:
        results: The figures.
        starts: Case -> figures of the network before the runs.
    """
    cases, losses = list(dict.fromkeys(case for case, _ in results)), losses_of(results)
    for figure, title in FIGURES.items():
        yield from (f"{title}:", "", f"| loss | {' | '.join(cases)} |", "|---" * (1 + len(cases)) + "|")
        row = " | ".join(f"{starts[case][figure]:.{DIGITS[figure]}f}" for case in cases)
        yield f"| (the start) | {row} |"
        for loss in losses:
            yield f"| {loss} | {' | '.join(_cell(figure, case, loss, results) for case in cases)} |"
        yield ""


def changes(results: Results, *, of: str, to: str) -> Iterator[str]:
    """Yield a sentence for each loss: how LPIPS and DISTS change from one case to another."""
    for loss in losses_of(results):
        before, after = results.get((of, loss)), results.get((to, loss))
        if before and after:
            said = [
                f"{FIGURES[figure].split()[0].rstrip(';')} "
                f"{100 * (_mean(after, figure) / _mean(before, figure) - 1):+.1f} %"
                for figure in ("lpips", "dists")
            ]
            yield f"- {loss}: {', '.join(said)}."


def losses_of(results: Results) -> list[str]:
    """Return the losses that have results, in the order of the first case's."""
    return list(dict.fromkeys(loss for _, loss in results))


def _cell(figure: str, case: str, loss: str, results: Results) -> str:
    """Return the mean of the seeds ± their standard deviation, bold if no other loss has a better mean."""
    runs = results.get((case, loss))
    if not runs:
        return "-"
    digits, mean = DIGITS[figure], _mean(runs, figure)
    text = f"{mean:.{digits}f}"
    means = [_mean(others, figure) for (of, _), others in results.items() if of == case]
    if figure in BEST and mean == BEST[figure](means):
        text = f"**{text}**"
    return text if len(runs) == 1 else f"{text} ±{stdev(run[figure] for run in runs):.{digits}f}"


def _mean(runs: Sequence[Figures], figure: str) -> float:
    return fmean(run[figure] for run in runs)
