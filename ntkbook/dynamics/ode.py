"""Autonomous differential equations, stiff or not, small or large, by solvers of well-kept libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.float64]

# Up to here LSODA's own dense Jacobian costs less than what it saves.
DENSE_SIZE = 400
# Where the state runs off to infinity in finite time, or an explicit solver meets a stiff system, steps are
# without end. This many take about ten minutes at N = 500, K = 10.
MOST_EVALUATIONS = 500_000
# The errors of all steps together stay below the tolerance if each is this fraction of it. CVODE takes the
# most steps for its low order, and measures errors by their mean, not their largest.
_SAFETY = {"LSODA": 0.1, "DOP853": 0.1, "CVODE": 0.02}
_KRYLOV_DIMENSION = 20


@dataclass(frozen=True)
class System:
    """The equation dx/dt = velocity(x) from a start at t = 0.

    Attributes
    ----------
    velocity : callable
        Of a state of shape (size,); it must not keep its argument.
    start : Array, shape (size,)
        The state at t = 0.
    rtol, atol : float
        Relative and absolute error of the result that is aimed at.

    Notes
    -----
    Up to `DENSE_SIZE` unknowns: SciPy's LSODA, which turns to implicit formulas where the system is stiff.
    Above: CVODE of SUNDIALS with implicit formulas and GMRES, which needs no Jacobian, where scikit-sundae is
    installed; SciPy's explicit DOP853 where it is not.
    """

    velocity: Callable[[Array], Array]
    start: Array
    rtol: float
    atol: float

    def at(self, stops: Array) -> Array:
        """Return the states at increasing positive times: (T, size).

        Raises
        ------
        RuntimeError
            If the solver fails, with its reason.
        """
        if len(self.start) <= DENSE_SIZE:
            found: Array = self._scipy("LSODA", 0.0, stops[-1], self.start, t_eval=stops).y.T
            return found
        cvode = _cvode()
        if cvode is None:
            return self._explicit(stops)
        solver = self._cvode_solver(cvode)
        solver.init_step(0.0, self.start)
        return np.stack([_checked(solver.step(stop)).y.copy() for stop in stops])

    def first_zero(self, value: Callable[[Array], float], horizon: float) -> float:
        """Return the first time when a function of the state falls to 0; inf if not before the horizon."""
        if value(self.start) <= 0:
            return 0.0
        cvode = _cvode() if len(self.start) > DENSE_SIZE else None
        if cvode is not None:

            def events(_: float, state: Array, found: Array) -> None:
                found[0] = value(state)

            solver = self._cvode_solver(cvode, eventsfn=events, num_events=1)
            # Three times: of two, every step in between would be kept.
            result = _checked(solver.solve(np.array([0.0, horizon / 2, horizon]), self.start))
            times = result.t_events
        else:

            def event(_: float, state: Array) -> float:
                return value(state)

            event.terminal = True  # type: ignore[attr-defined]
            method = "LSODA" if len(self.start) <= DENSE_SIZE else "DOP853"
            times = self._scipy(method, 0.0, horizon, self.start, events=event).t_events[0]
        return math.inf if times is None or len(times) == 0 else float(times[0])

    def _explicit(self, stops: Array) -> Array:
        # Stop at each time: between two long steps the interpolant is less accurate than the steps.
        state, now, found = self.start, 0.0, []
        step: float | None = None
        for stop in stops:
            first = None if step is None else min(step, stop - now)
            solution = self._scipy("DOP853", now, stop, state, first_step=first)
            # The last step was cut off at the stop; the one before it tells the pace.
            now, state, step = float(stop), solution.y[:, -1], float(np.diff(solution.t)[-2:].max())
            found.append(state)
        return np.stack(found)

    def _scipy(self, method: str, start: float, end: float, state: Array, **options: Any) -> Any:
        solution = solve_ivp(
            self._counted(method),
            (start, end),
            state,
            method=method,
            rtol=_SAFETY[method] * self.rtol,
            atol=_SAFETY[method] * self.atol,
            **options,
        )
        if not solution.success:
            raise RuntimeError(f"the solver {method} stopped before t = {end:g}: {solution.message}")
        return solution

    def _counted(self, method: str) -> Callable[[float, Array], Array]:
        evaluations = 0
        remedy = (
            "if it is stiff, an implicit solver helps: pip install 'ntkbook[ode]'"
            if method == "DOP853"
            else "its solution may run off to infinity, or ask for a larger tolerance"
        )

        def velocity(t: float, x: Array) -> Array:
            nonlocal evaluations
            evaluations += 1
            if evaluations > MOST_EVALUATIONS:
                raise RuntimeError(
                    f"the solver {method} has evaluated the equation {MOST_EVALUATIONS} times and is at "
                    f"t = {t:.6g}; {remedy}"
                )
            return self.velocity(x)

        return velocity

    def _cvode_solver(self, cvode: Any, **options: Any) -> Any:
        counted = self._counted("CVODE")

        def velocity(t: float, x: Array, result: Array) -> None:
            result[:] = counted(t, x)

        return cvode(
            velocity,
            method="BDF",
            linsolver="gmres",
            krylov_dim=_KRYLOV_DIMENSION,
            rtol=_SAFETY["CVODE"] * self.rtol,
            atol=_SAFETY["CVODE"] * self.atol,
            max_num_steps=10**9,
            **options,
        )


def _cvode() -> Any:
    try:
        return import_module("sksundae.cvode").CVODE
    except ImportError:
        return None


def _checked(result: Any) -> Any:
    if not result.success:
        raise RuntimeError(f"the solver CVODE stopped at t = {np.max(result.t):g}: {result.message}")
    return result
