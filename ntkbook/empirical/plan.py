"""Planning a kernel: a route for each parameter, and tiles small enough for the memory allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ntkbook.empirical.accumulator import Outputs
from ntkbook.empirical.contraction import Order
from ntkbook.empirical.cost import cheaper_order, jacobian_cost, vector_product_cost
from ntkbook.empirical.network import Network
from ntkbook.empirical.recorder import Site
from ntkbook.empirical.structure import Structure, forward_cost

Route = Literal["structured", "jacobian", "vector_product"]

Remainder = Literal["jacobian", "vector_product", "cheaper"]

DEFAULT_WORKING_MEMORY = 2**31  # bytes beyond the result, where the caller sets no limit


@dataclass(frozen=True)
class Problem:
    """The sizes of a kernel.

    Attributes
    ----------
    outputs : {"full", "diagonal", "mean"}
        What is wanted of the K x K blocks.
    n1, n2, n_outputs : int
        N1, N2, K.
    symmetric : bool
        Whether both batches are the same.
    item : int
        Bytes of one entry of the result.
    copies : int
        How many kernels of this size are held (one for each layer if they are asked for by layer).
    """

    outputs: Outputs
    n1: int
    n2: int
    n_outputs: int
    symmetric: bool
    item: int
    copies: int = 1

    @property
    def result_bytes(self) -> int:
        """Bytes of all results."""
        heads = {"full": self.n_outputs**2, "diagonal": self.n_outputs, "mean": 1}[self.outputs]
        return self.copies * heads * self.n1 * self.n2 * self.item


@dataclass(frozen=True)
class Step:
    """A part of the kernel: the contribution of some parameters by one route.

    Attributes
    ----------
    route : {"structured", "jacobian", "vector_product"}
        How.
    names : tuple of str
        The parameters, or the sites if the route is structured.
    tile : int
        Samples of a batch that are held at a time.
    predicted_bytes : int
        Predicted peak beyond the result.
    directions : int
        Directions in parameter space that are held at a time, if the route is by vector products.
    """

    route: Route
    names: tuple[str, ...]
    tile: int
    predicted_bytes: int
    directions: int = 1


@dataclass
class Plan:
    """All steps, whose contributions add up to the kernel.

    Attributes
    ----------
    steps : list of Step
        What to do.
    orders : dict of str to {"gram", "gradient"}
        The order of summation at each site.
    scratch : int
        Bytes for temporary tensors of a contraction.
    reasons : dict of str to str
        For each parameter without a rule, why.
    """

    steps: list[Step] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    scratch: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the plan in words, one line for each step and site."""
        lines = []
        for step in self.steps:
            size = f"{step.predicted_bytes / 2**20:.1f} MiB beyond the result"
            lines.append(f"{step.route}: {len(step.names)} items, {step.tile} at a time, at most {size}")
            for name in step.names:
                detail = (
                    self.orders.get(name, "") if step.route == "structured" else self.reasons.get(name, "")
                )
                lines.append(f"  {name or '(root)'}" + (f": {detail}" if detail else ""))
        return "\n".join(lines)


def make_plan(
    problem: Problem,
    network: Network,
    structure: Structure,
    x: Tensor,
    *,
    remainder: Remainder,
    chunk_size: int | None,
    memory_limit: int | None,
) -> Plan:
    """Choose routes, orders and tiles.

    Sites take the structured route; the other parameters take ``remainder``. ``x`` is a batch whose first
    sample is run, if the other two routes must be compared, to count its multiply-adds.

    Raises
    ------
    ValueError
        If the memory allowed cannot hold the result, or one sample of one layer.
    """
    allowed = DEFAULT_WORKING_MEMORY if memory_limit is None else memory_limit - problem.result_bytes
    if allowed <= 0:
        raise ValueError(
            f"memory_limit={memory_limit} bytes cannot hold the result, which takes {problem.result_bytes}; "
            "raise it, compute fewer samples at a time, or ask for outputs='diagonal' or 'mean'"
        )
    plan = Plan(scratch=max(allowed // 4, 1), reasons=dict(structure.unexplained))
    budget = _Budget(problem, structure, allowed - plan.scratch, chunk_size, memory_limit)
    for site in structure.sites:
        shape = structure.shapes[site.name]
        plan.orders[site.name] = cheaper_order(
            shape, problem.outputs, problem.n1, problem.n2, problem.n_outputs, problem.symmetric
        )
    explained = {parameter_name(site, name) for site in structure.sites for name in site.trainable}
    rest = [name for name in network.parameters if name not in explained]
    if structure.sites:
        plan.steps += budget.structured()
    if rest:
        sizes = {name: network.parameters[name].numel() for name in rest}
        if remainder == "cheaper":
            n_parameters = sum(sizes.values())
            case = (forward_cost(network, x), n_parameters, problem.outputs, problem.n1, problem.n2)
            by_rows = jacobian_cost(*case, problem.n_outputs, problem.symmetric)
            by_products = vector_product_cost(*case, problem.n_outputs, problem.symmetric)
            remainder = "jacobian" if by_rows <= by_products else "vector_product"
        plan.steps += budget.jacobian(sizes) if remainder == "jacobian" else budget.vector_product(sizes)
    return plan


def parameter_name(site: Site, name: str) -> str:
    """Return a parameter's full name."""
    return f"{site.name}.{name}" if site.name else name


class _Budget:
    """Cuts the work of each route into steps that fit the memory allowed."""

    def __init__(
        self,
        problem: Problem,
        structure: Structure,
        allowed: int,
        chunk_size: int | None,
        memory_limit: int | None,
    ) -> None:
        self.problem, self.structure, self.allowed = problem, structure, allowed
        self.memory_limit = memory_limit
        longest = max(problem.n1, problem.n2)
        self.tiles = [min(chunk_size, longest)] if chunk_size is not None else _halvings(longest)

    def structured(self) -> list[Step]:
        """Return steps for the sites: few backward passes, many layers at a time, as memory allows."""
        k, item = self.problem.n_outputs, self.problem.item
        held, features = {}, {}
        for site in self.structure.sites:
            shape = self.structure.shapes[site.name]
            width = 1 if shape.one_hot else shape.features
            features[site.name] = shape.groups * shape.positions * width * item
            held[site.name] = shape.stored_entries(k) * item + features[site.name]
        graph = self.structure.graph_bytes + self.structure.output_bytes

        def peak(tile: int, names: Sequence[str]) -> int:
            sides = self._sides(tile)
            return tile * (
                graph + sides * sum(held[n] for n in names) + sides * max(features[n] for n in names)
            )

        return self._pack("structured", list(held), peak)

    def jacobian(self, sizes: Mapping[str, int]) -> list[Step]:
        """Return steps for parameters whose gradients are held whole, sample by sample."""
        k, item = self.problem.n_outputs, self.problem.item
        graph = self.structure.graph_bytes * (1 + k)  # all K outputs go backward at once

        def peak(tile: int, names: Sequence[str]) -> int:
            # Autograd's gradients and their flattened copies exist together for a moment.
            gradients = sum(sizes[n] for n in names) * k * item
            return tile * (graph + (1 + self._sides(tile)) * gradients)

        return self._pack("jacobian", list(sizes), peak)

    def vector_product(self, sizes: Mapping[str, int]) -> list[Step]:
        """Return one step: as many samples pushed to, and then directions, at a time as memory allows."""

        def peak(tile: int) -> int:
            # A direction is pulled and pushed, with value and tangent at every sample.
            return 2 * sum(sizes.values()) * self.problem.item + 2 * self.structure.graph_bytes * tile

        tile = next((t for t in self.tiles if peak(t) <= self.allowed), self.tiles[-1])
        if self.memory_limit is not None and peak(tile) > self.allowed:
            self._refuse(f"one direction of all parameters and {tile} samples", peak(tile))
        directions = max(1, min(self.problem.n_outputs, self.allowed // peak(tile)))
        return [Step("vector_product", tuple(sizes), tile, directions * peak(tile), directions)]

    def _sides(self, tile: int) -> int:
        return 1 if self.problem.symmetric and tile >= self.problem.n1 else 2

    def _pack(self, route: Route, names: list[str], peak: Callable[[int, Sequence[str]], int]) -> list[Step]:
        best: list[Step] = []
        best_work = float("inf")
        for tile in self.tiles:
            steps: list[Step] = []
            group: list[str] = []
            for name in names:
                if group and peak(tile, [*group, name]) > self.allowed:
                    steps.append(Step(route, tuple(group), tile, peak(tile, group)))
                    group = []
                group.append(name)
            steps.append(Step(route, tuple(group), tile, peak(tile, group)))
            fits = all(step.predicted_bytes <= self.allowed for step in steps)
            # Each step loads every tile of rows, and for each of them the tiles of columns.
            rows = -(-self.problem.n1 // tile)
            work = len(steps) * (1 if rows == 1 and self.problem.symmetric else rows + 1)
            if (fits or tile == self.tiles[-1]) and work < best_work:
                best, best_work = steps, work
        worst = max(best, key=lambda step: step.predicted_bytes)
        if self.memory_limit is not None and worst.predicted_bytes > self.allowed:
            self._refuse(f"{worst.tile} samples of {worst.names[0] or '(root)'}", worst.predicted_bytes)
        return best

    def _refuse(self, what: str, needed: int) -> None:
        total = self.problem.result_bytes + (needed * 4) // 3 + 1
        raise ValueError(
            f"memory_limit={self.memory_limit} bytes is too small: {what} and the result need about "
            f"{total}; raise the limit, or lower chunk_size if it is set"
        )


def _halvings(n: int) -> list[int]:
    sizes = [n]
    while n > 1:
        n = -(-n // 2)
        sizes.append(n)
    return sizes
