"""Losses of training runs, and how far two runs are apart (scripts/gpu_check.py). Python's standard library only."""
import json
import math

# bf16 sums in another order; a difference grows with the steps, and one step's loss is noisier than ten.
STEP_BOUND, AVERAGE_BOUND, AVERAGED_STEPS = 0.03, 0.01, 10


def losses(output):
    """Of every logged step of the run in the folder `output`."""
    return [row["loss"] for row in map(json.loads, (output / "metrics.jsonl").read_text().splitlines())]


def finite(values):
    """JSON has no NaN."""
    return [v if math.isfinite(v) else None for v in values]


def differences(expected, actual):
    """Relative differences of the steps, and of the means of AVERAGED_STEPS each."""
    relative = [abs(x - y) / abs(y) for x, y in zip(actual, expected)]
    means = []
    for start in range(0, len(expected) - AVERAGED_STEPS + 1, AVERAGED_STEPS):
        x, y = (sum(v[start:start + AVERAGED_STEPS]) / AVERAGED_STEPS for v in (actual, expected))
        means.append(abs(x - y) / abs(y))
    return relative, means


def median(values):
    """Of at least one number."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
