"""Golden numbers of the scalability report: writes scaling.json beside this file.

Run by hand with NumPy and SciPy when a case is added; tests/scaling_numbers.rs compares. What is
computed here shares nothing with the Rust code: Student's t and the fits (non-linear, in the
laws' own parameters, Levenberg-Marquardt) are SciPy's, and quantiles are NumPy's. Only the order
of random numbers (SplitMix64) is that of the report, so that a bootstrap can be compared.
"""

import json
import pathlib

import numpy as np
from scipy import optimize, stats


def splitmix(seed):
    mask = 2**64 - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def bootstrap(epochs, seed, resamples=2000):
    epochs = np.asarray(epochs)
    count = len(epochs)
    block = max(1, int(np.floor(np.cbrt(count) + 0.5)))
    stream = splitmix(seed)
    medians = []
    for _ in range(resamples):
        index = []
        while len(index) < count:
            first = next(stream) % count
            index.extend((first + offset) % count for offset in range(block))
        medians.append(np.median(epochs[index[:count]]))
    return [float(x) for x in np.quantile(medians, [0.025, 0.975])]


def fitted(model, start, ranks, times):
    ranks, times = np.asarray(ranks, float), np.asarray(times, float)
    values, covariance = optimize.curve_fit(
        model, ranks, times, p0=start, sigma=times, xtol=1e-15, ftol=1e-15, gtol=1e-15, maxfev=100000)
    t = stats.t.ppf(0.975, len(times) - len(values))
    half = t * np.sqrt(np.diag(covariance))
    relative = (times - model(ranks, *values)) / times
    return {
        "values": values.tolist(),
        "low": (values - half).tolist(),
        "high": (values + half).tolist(),
        "residual_rms": float(np.sqrt(np.mean(relative**2))),
    }


def amdahl(n, t1, s):
    return t1 * (s + (1 - s) / n)


def usl(n, rate, sigma, kappa):
    return (1 + sigma * (n - 1) + kappa * n * (n - 1)) / (rate * n)


def usl_weak(n, rate, sigma, kappa):
    return (1 + sigma * (n - 1) + kappa * n * (n - 1)) / rate


def main():
    noise = np.random.default_rng(20)
    sizes = np.repeat([1, 2, 4, 8, 16, 32], 3).astype(float)
    noisy = lambda exact: (exact * (1 + 0.01 * noise.standard_normal(len(exact)))).tolist()
    cases = []

    def case(name, law, weak, model, start, ranks, times):
        ranks = [float(n) for n in ranks]
        cases.append({"name": name, "law": law, "weak": weak, "ranks": ranks, "times": times,
                      **fitted(model, start, ranks, times)})

    times = noisy(amdahl(sizes, 100.0, 0.05))
    case("amdahl, 3 replicates", "amdahl", False, amdahl, [90, 0.1], sizes, times)
    times = noisy(usl(sizes, 0.01, 0.03, 0.0008))
    case("usl, 3 replicates", "usl", False, usl, [0.01, 0.01, 0.001], sizes, times)
    times = noisy(usl_weak(sizes, 0.1, 0.02, 0.0002))
    case("usl, weak", "usl", True, usl_weak, [0.1, 0.01, 0.001], sizes, times)
    few = [4, 8, 16, 32]
    times = [57.83, 31.0, 17.9, 11.07]
    case("one run each of 4 to 32", "amdahl", False, amdahl, [200, 0.05], few, times)
    times = noisy(usl(np.array([64.0, 128, 256, 512, 1024, 2048]), 0.002, 0.0004, 2e-7))
    case("usl, many ranks", "usl", False, usl, [0.002, 0.001, 1e-7], [64, 128, 256, 512, 1024, 2048], times)

    walk = noise.standard_normal(40)
    epochs = (10 + 0.2 * np.convolve(walk, [0.5, 0.3, 0.2], mode="same")).tolist()
    replicates = [10.2, 10.9, 9.8, 10.4]
    out = {
        "student_t": [[df, float(stats.t.ppf(0.975, df))] for df in (1, 2, 3, 4, 5, 7, 10, 16, 30, 100, 1000)],
        "replicates": replicates,
        "half_width": float(stats.t.ppf(0.975, 3) * stats.sem(replicates)),
        "epochs": epochs,
        "bootstrap": [[seed, *bootstrap(epochs, seed)] for seed in (1, 7)],
        "fits": cases,
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(out, indent=1) + "\n")


main()
