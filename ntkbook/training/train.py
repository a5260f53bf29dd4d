"""``train``: an experiment on finite networks in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ntkbook._validation import check_choice, check_count, check_positive, check_seed
from ntkbook.dynamics.losses import LossFunction
from ntkbook.dynamics.propagator import check_momentum
from ntkbook.empirical.network import Network, exact_operators
from ntkbook.training.checks import check_batch, check_keep
from ntkbook.training.descent import Descent, Experiment
from ntkbook.training.ensemble import Trained, check_draws, draw, rate_factors, working_bytes
from ntkbook.training.moments import moments
from ntkbook.training.recorder import Notes, assemble
from ntkbook.training.results import TrainingRun
from ntkbook.training.tangent import TangentKernel

# Networks that are trained together on a CPU should fit into its caches: a step is then bound by
# arithmetic. On a GPU they may take a quarter of the free memory.
_CPU_WORKING_SET = 8 * 2**20


def train(
    make_net: Callable[[], nn.Module],
    x_train: Tensor,
    y_train: Tensor,
    *,
    learning_rate: float,
    steps: int,
    loss: str | LossFunction = "mse",
    reduction: str = "mean",
    momentum: float = 0.0,
    integrator: str = "euler",
    n_networks: int = 1,
    seed: int = 0,
    trained: Trained = "all",
    centre: bool = False,
    output_scale: float = 1.0,
    x_test: Tensor | None = None,
    record: int | Iterable[int] = 50,
    keep: Collection[str] = (),
    kernel_inputs: Tensor | None = None,
    kernel_outputs: Literal["full", "mean"] = "full",
    diverged: str = "raise",
    chunk_size: int | None = None,
    progress: bool = False,
) -> TrainingRun:
    r"""Train independently drawn networks by full-batch gradient descent, and record how they move.

    Network s is ``make_net()`` after ``torch.manual_seed(seed + s)``. Its outputs are
    :math:`F = \alpha f(\,\cdot\,; \theta)`, or :math:`\alpha (f(\,\cdot\,; \theta) - f(\,\cdot\,; \theta_0))`
    if they are centred, and its parameters take the steps

    .. math::
        v_p \leftarrow \beta v_p + \frac{1}{\alpha^2} \frac{\partial \mathcal L(F(X), Y)}{\partial \theta_p},
        \qquad \theta_p \leftarrow \theta_p - \eta r_p v_p,

    with v = 0 at first and all factors :math:`r_p = 1` unless ``trained`` says otherwise. For
    :math:`\alpha = 1` these are the steps of ``torch.optim.SGD``.

    Parameters
    ----------
    make_net : callable
        Returns a newly drawn network, which draws its weights from torch's global generator.
    x_train : Tensor, shape (N, ...)
        Training points, on the networks' device.
    y_train : Tensor
        Targets (N, K); for cross-entropy class labels (N,) or probabilities (N, K).
    learning_rate : float
        :math:`\eta`.
    steps : int
        How many steps to take.
    loss : {"mse", "cross_entropy", "logistic", "huber"} or callable
        As in :class:`ntkbook.dynamics.LossFlow`. A callable maps the outputs (N, K) of one network and
        ``y_train`` to a scalar.
    reduction : {"mean", "sum"}
        Of the named losses, as in :class:`ntkbook.dynamics.LossFlow`: half the squares' mean or sum over all
        entries; the mean or sum over samples for cross-entropy.
    momentum : float
        :math:`\beta`, in [0, 1).
    integrator : {"euler", "midpoint"}
        The midpoint rule follows gradient flow to second order in the learning rate.
    n_networks : int
        How many networks, S.
    seed : int
        See above. The caller's random state is left alone.
    trained : {"all", "last_layer"} or callable
        Which parameters move. A callable maps a parameter's name to the factor :math:`r_p` on its learning
        rate; ``False`` and 0 freeze it. Parameters that do not require grad never move.
    centre : bool
        Whether to subtract the outputs at initialization.
    output_scale : float
        :math:`\alpha`. The loss is divided by its square, so that F, if it is centred, obeys the same
        linearized dynamics for every scale (Chizat, Oyallon and Bach 2019, section 2).
    x_test : Tensor, shape (M, ...), optional
        Where outputs are recorded beside the training points.
    record : int or sequence of int
        How many moments to record, equally spaced from the start to the end, or after which steps; see
        :func:`log_steps`.
    keep : collection of str
        What to record beyond outputs, loss and movement: ``"kernel"`` (initial and last tangent kernel, and
        the drift), ``"kernels"`` (all of them), ``"linearization"`` (the linearized networks, trained by
        the same steps), ``"parameters"`` (at each record; or some of them, by their names), ``"networks"``
        (with their final weights).
    kernel_inputs : Tensor, optional
        The points of the kernel; by default those of ``x_train``.
    kernel_outputs : {"full", "mean"}
        As in :func:`ntkbook.empirical_ntk`.
    diverged : {"raise", "nan"}
        What becomes of a network whose loss is not finite: an error, or NaN in its records.
    chunk_size : int, optional
        Networks trained at the same time; by default as many as fit into the cache of a CPU, or a quarter
        of the free memory of a GPU. 1 serves modules that cannot be vectorized.
    progress : bool
        Show a progress bar.

    Returns
    -------
    TrainingRun
        For instance ``run.outputs_test`` (S, T, M, K), ``run.times`` (T,), ``run.movement.relative`` (S, T),
        ``run.kernel.drift`` (S, T), ``run.linear.error_test`` (S, T).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    FloatingPointError
        If a loss is not finite, with the step and, for the squared loss, the largest stable learning rate.

    Notes
    -----
    A step costs one forward and backward pass of each network, a recorded kernel K backward passes, and the
    linearized network :math:`S N (N + M) K^2` multiply-adds a step: it is trained in the space of outputs,
    which is exact for any loss. Networks with P parameters need some 6 P numbers each while they train, kept
    parameters S T P.

    Examples
    --------
    Ten networks, their mean and spread at the test points, and how far they are from their linearizations:

    >>> import torch
    >>> from ntkbook import nn, training
    >>> x = torch.linspace(-1, 1, 5).unsqueeze(1)
    >>> run = training.train(
    ...     lambda: nn.mlp([1, 32, 32, 1], activation=nn.Erf(), b_std=0.3),
    ...     x, torch.sin(3 * x), learning_rate=0.5, steps=100, n_networks=10,
    ...     x_test=torch.linspace(-1, 1, 9).unsqueeze(1), record=6,
    ...     keep=("kernel", "linearization"))
    >>> run.times.tolist()[:3], run.outputs_test.shape
    ([0.0, 10.0, 20.0], torch.Size([10, 6, 9, 1]))
    >>> mean, spread = run.outputs_test.mean(0), run.outputs_test.std(0)
    >>> bool((run.loss[:, -1] < run.loss[:, 0]).all())
    True
    >>> run.linear.error_test.amax(1).shape, run.kernel.drift_by_layer["0"].shape
    (torch.Size([10]), torch.Size([10, 6]))
    """
    check_positive("learning_rate", learning_rate)
    for name, count in (("steps", steps), ("n_networks", n_networks)):
        check_count(name, count)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    check_seed("seed", seed)
    check_momentum(momentum)
    check_choice("integrator", integrator, ("euler", "midpoint"))
    if momentum and integrator == "midpoint":
        raise ValueError("integrator='midpoint' follows gradient flow, which has no momentum; leave one out")
    check_positive("output_scale", output_scale)
    check_choice("kernel_outputs", kernel_outputs, ("full", "mean"))
    check_choice("diverged", diverged, ("raise", "nan"))
    if isinstance(make_net, nn.Module) or not callable(make_net):
        raise TypeError(
            f"make_net must be a function that returns a newly drawn network, got {type(make_net).__name__}; "
            "write lambda: Net(...), or lambda: copy.deepcopy(net) to train one that you have"
        )
    device = x_train.device if isinstance(x_train, Tensor) else torch.device("cpu")
    net = draw(make_net, seed, device)
    x_train = check_batch("x_train", x_train, net)
    x_test = None if x_test is None else check_batch("x_test", x_test, net, x_train)
    kernel_inputs = (
        x_train if kernel_inputs is None else check_batch("kernel_inputs", kernel_inputs, net, x_train)
    )
    other = draw(make_net, seed + 1, device) if n_networks > 1 else None
    check_draws(net, draw(make_net, seed, device), other)
    kept = check_keep(keep, net)
    with exact_operators(), torch.no_grad():
        Network(net, x_train)  # refuses what is not a function of one sample
        factors = rate_factors(net, trained, x_train)
        kernel = linear_kernel = None
        if kept & {"kernel", "kernels"}:
            kernel = TangentKernel(net, factors, kernel_inputs, outputs=kernel_outputs)
        if "linearization" in kept:
            everywhere = x_train if x_test is None else torch.cat([x_train, x_test])
            linear_kernel = TangentKernel(net, factors, everywhere, x_train)
        experiment = Experiment(
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            loss=loss,
            reduction=reduction,
            learning_rate=learning_rate,
            steps=steps,
            momentum=momentum,
            midpoint=integrator == "midpoint",
            centre=centre,
            output_scale=output_scale,
            factors=factors,
            moments=moments(record, steps),
            keep=kept,
            kernel=kernel,
            linear_kernel=linear_kernel,
            stop=diverged == "raise",
        )
        size = min(n_networks, chunk_size or _chunk_size(net, x_train))
        chunks: list[Notes] = []
        networks: list[nn.Module] = []
        with tqdm(total=n_networks * steps, desc="training", unit="step", disable=not progress) as bar:
            for start in range(0, n_networks, size):
                nets = [draw(make_net, seed + s, device) for s in range(start, min(start + size, n_networks))]
                descent = Descent(experiment, nets, start)
                chunks.append(descent.run(bar))
                if "networks" in kept:
                    networks += [descent.trained(s, net) for s, net in enumerate(nets)]
    sizes = {name: p.numel() for name, p in net.named_parameters() if name in factors}
    return assemble(chunks, experiment.moments, learning_rate, sizes, networks)


def _chunk_size(net: nn.Module, x: Tensor) -> int:
    room = torch.cuda.mem_get_info(x.device)[0] // 4 if x.device.type == "cuda" else _CPU_WORKING_SET
    return max(1, room // working_bytes(net, x))
