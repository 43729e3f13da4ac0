"""Metrics and oracles against those of the reference."""

import re

import numpy as np
import pytest
from scipy.optimize import brentq

from openretina_jax.data.masked import correlation
from openretina_jax.evaluation import metrics
from openretina_jax.evaluation import metrics as oracles
from tests.goldens_case import Case, cases

CASES = cases("metrics")


def trials(case: Case, name: str = "targets") -> np.ndarray:
    """``(trial, time, neuron)`` from the reference's ``(time, trial, neuron)``."""
    return case.array(f"input/{name}").transpose(1, 0, 2)


def check_correlation_numpy(case: Case) -> None:
    a, b = case.array("input/y1"), case.array("input/y2")
    if case.name == "correlation_numpy_constant":
        case.check("output", correlation(a, b))
        return
    case.check("output/axis0", correlation(a, b))
    case.check("output/axis_last", correlation(a, b, -1))
    case.check("output/axis_none", correlation(a.reshape(-1, 1), b.reshape(-1, 1))[0])
    (epsilon,) = re.findall(r"with eps=([\d.]+)", case.entry["doc"])
    case.check("output/axis0_eps", correlation(a, b, epsilon=float(epsilon)))


def check_mse_numpy(case: Case) -> None:
    a, b = case.array("input/y1"), case.array("input/y2")
    case.check("output/axis0", metrics.squared_error(a, b))
    case.check("output/axis_last", metrics.squared_error(a, b, -1))


def check_poisson_loss_numpy(case: Case) -> None:
    response, prediction = case.array("input/y1"), case.array("input/y2")
    case.check("output/axis0", metrics.poisson_loss(response, prediction))
    case.check("output/axis_last", metrics.poisson_loss(response, prediction, -1))
    # the case does not say its epsilon: the one that is right for the first neuron must be right for all
    first = float(case.array("output/axis0_eps")[0])
    epsilon = brentq(lambda e: metrics.poisson_loss(response, prediction, epsilon=e)[0] - first, 1e-12, 1.0)
    case.check("output/axis0_eps", metrics.poisson_loss(response, prediction, epsilon=epsilon))


def check_explainable_vs_total_var(case: Case) -> None:
    ratio, explainable = metrics.explainable_variance(trials(case))
    case.check("output/var_ratio", ratio)
    case.check("output/explainable_var", explainable)


def check_feve(case: Case) -> None:
    case.check("output/pred_2d", metrics.feve(trials(case), case.array("input/predictions")))
    case.check("output/pred_3d", metrics.feve(trials(case), trials(case, "predictions3")))


def check_oracle_corr_jackknife(case: Case) -> None:
    responses = trials(case)[:, case.kwargs.get("cut_first_n_frames", 0) :]
    case.check("output/score", oracles.jackknife_oracle(responses))
    case.check("output/oracle", oracles.means_of_other_trials(responses).transpose(1, 0, 2))


def check_global_mean_oracle(case: Case) -> None:
    case.check("output/repeats", oracles.global_mean_oracle(trials(case)))
    cut = case.kwargs["two_d_cut"]["cut_first_n_frames"]
    case.check("output/two_d_cut", oracles.global_mean_oracle(case.array("input/predictions")[cut:]))


def check_crop_responses(case: Case) -> None:
    responses, frames = case.array("input/responses"), len(case.array("input/predictions"))
    case.check("output/cropped", metrics.aligned(responses.T, frames).T)
    case.check("output/lag", responses.shape[1] - frames)


def check_align_responses_to_model_output(case: Case) -> None:
    average, by_trial = case.array("input/avg"), trials(case, "by")
    for variant, options in case.kwargs.items():
        skip = sum(options.get(name, 0) for name in ("frame_overhead", "lag", "extra_frame")) or None
        frames = options["model_len"]
        case.check(f"{variant}/avg", metrics.aligned(average, frames, skip))
        case.check(f"{variant}/by_trial", metrics.aligned(by_trial, frames, skip).transpose(1, 0, 2))
        assert case.array(f"{variant}/lag") == (skip or len(average) - frames)


def stop_batches(case: Case, lag: int) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Predictions (the input without its first frames) and responses of every batch, by session."""

    def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
        return case.array(f"{name}/x")[..., lag:, :], case.array(f"{name}/responses")[..., lag:, :]

    return {
        session: [
            batch(name.removesuffix("/x")) for name in case.names if re.fullmatch(rf"input/{session}/\d+/x", name)
        ]
        for session in case.kwargs["sessions_in_order"]
    }


def check_stop3d(case: Case) -> None:
    """The reference's validation scores: means over clips within each session."""
    joined = {
        session: [np.concatenate(part) for part in zip(*batches, strict=True)]
        for session, batches in stop_batches(case, case.kwargs["lag"]).items()
    }
    for number, what in enumerate(("output", "target")):
        (name,) = [name for name in case.names if name.startswith(f"output/predictions_{what}_")]
        case.check(name, joined[name.removeprefix(f"output/predictions_{what}_")][number])
    correlations = np.concatenate([correlation(p, r, axis=1).mean(axis=0) for p, r in joined.values()])
    case.check("output/corr_stop3d_all", correlations)
    case.check("output/corr_stop3d", correlations.mean())
    normaliser = len(correlations) * sum(len(p) for p, _ in joined.values())
    poisson = sum(np.nansum(metrics.poisson_loss(r[None], p[None])) for p, r in joined.values())
    squared = sum(metrics.squared_error(p[None], r[None]).sum() for p, r in joined.values())
    for name, total in (("poisson", poisson), ("MSE", squared)):
        case.check(f"output/{name}_stop3d_sum", total)
        case.check(f"output/{name}_stop3d", total / normaliser)


def check_stop2d(case: Case) -> None:
    joined = {
        session: [np.concatenate(part) for part in zip(*batches, strict=True)]
        for session, batches in stop_batches(case, 0).items()
    }
    correlations = np.concatenate([correlation(p, r) for p, r in joined.values()])
    case.check("output/corr_stop_all", correlations)
    case.check("output/corr_stop", correlations.mean())
    total = sum(np.nansum(metrics.poisson_loss(r[None], p[None])) for p, r in joined.values())
    case.check("output/poisson_stop", total)
    case.check("output/poisson_stop_avg", total / len(correlations))


CHECKS = {
    "correlation_numpy": check_correlation_numpy,
    "MSE_numpy": check_mse_numpy,
    "poisson_loss_numpy": check_poisson_loss_numpy,
    "explainable_vs_total_var": check_explainable_vs_total_var,
    "feve": check_feve,
    "oracle_corr_jackknife": check_oracle_corr_jackknife,
    "global_mean_oracle": check_global_mean_oracle,
    "crop_responses": check_crop_responses,
    "align_responses_to_model_output": check_align_responses_to_model_output,
    "*_stop3d": check_stop3d,
    "corr_stop/poisson_stop": check_stop2d,
}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden(case: Case) -> None:
    CHECKS[case.entry["path"].rpartition("metrics.")[2].rpartition("oracles.")[2].rpartition("utils.")[2]](case)
