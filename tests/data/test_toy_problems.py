"""Toy problems: what their docstrings promise of them, recomputed, and the same draws every time."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from ntkbook import data

PROBLEMS = {
    "curve": data.curve,
    "circle": data.circle,
    "sphere": data.sphere,
    "teacher": data.teacher,
    "single_index": data.single_index,
    "sparse_parity": data.sparse_parity,
    "moons": data.moons,
    "spirals": data.spirals,
    "blobs": data.blobs,
}
NOISY = {name: problem for name, problem in PROBLEMS.items() if name != "sparse_parity"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_shapes_dtype_and_determinism(name):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = PROBLEMS[name](n_train=30, n_test=20)
    assert [len(part) for part in first] == [30, 30, 20, 20]
    assert all(part.ndim == 2 and part.dtype == torch.float64 for part in first)
    assert all(bool(part.isfinite().all()) for part in first)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.manual_seed(2)
    again = PROBLEMS[name](n_train=30, n_test=20)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = PROBLEMS[name](n_train=30, n_test=20, seed=1)
    assert not torch.equal(first.x_train, other.x_train)
    # Nothing was drawn from the global generators.
    torch.set_rng_state(state[0])
    PROBLEMS[name](n_train=30, n_test=20)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("name", NOISY)
def test_noise_has_the_stated_size(name):
    quiet, loud = (NOISY[name](n_train=4000, n_test=9, noise=noise) for noise in (0.0, 0.3))
    on_inputs = name in {"moons", "spirals", "blobs"}
    part = 0 if on_inputs else 1
    difference = loud[part] - quiet[part]
    # The standard deviation of n Gaussian draws has a standard error of 1/sqrt(2n); 5 of them.
    assert float(difference.std()) == pytest.approx(0.3, rel=5 / math.sqrt(2 * difference.numel()))
    assert float(difference.mean()) == pytest.approx(0, abs=0.3 * 5 / math.sqrt(difference.numel()))
    assert torch.equal(loud[1 - part], quiet[1 - part])
    if not on_inputs:
        assert torch.equal(loud.y_test, quiet.y_test)


def test_the_curve_leaves_its_gap_and_fills_the_rest():
    split = data.curve(n_train=300, gap=(-0.5, 0.25), noise=0.0)
    x = split.x_train.flatten()
    assert bool((x.diff() > 0).all())
    assert -1 <= float(x.min()) < -0.98
    assert 0.98 < float(x.max()) <= 1
    below, above = x[x < 0], x[x > 0]
    assert -0.51 < float(below.max()) < -0.5
    assert 0.25 < float(above.min()) < 0.26
    # 0.5 and 0.75 of what is left: cells of equal width, one point in each.
    assert len(below) == 120
    assert torch.allclose(split.y_train, torch.sin(4 * split.x_train) + split.x_train / 2, atol=1e-15)
    assert float(split.x_test[0]) == -1.25
    assert float(split.x_test[-1]) == 1.25
    assert bool((data.curve(n_train=50, gap=(0.3, 0.3)).x_train.diff(dim=0) < 0.09).all())


@pytest.mark.parametrize("frequencies", [(1,), (2, 5), (1, 2, 3, 4)])
def test_the_circle_carries_its_waves_with_equal_size(frequencies):
    split = data.circle(n_test=64, frequencies=frequencies)
    assert torch.allclose((split.x_test**2).sum(1), torch.ones(64).double(), atol=1e-15)
    spectrum = torch.fft.rfft(split.y_test.flatten()).abs() / 64
    expected = torch.zeros(33).double()
    expected[list(frequencies)] = math.sqrt(2 / len(frequencies)) / 2
    assert torch.allclose(spectrum, expected, atol=1e-14)
    angle = torch.atan2(split.x_train[:, 1], split.x_train[:, 0])
    waves = sum(torch.cos(k * angle) for k in frequencies) * math.sqrt(2 / len(frequencies))
    assert torch.allclose(split.y_train.flatten(), waves, atol=1e-13)


def height_density(dimension):
    """Return nodes and weights for the first coordinate of a uniform point on the sphere, by quadrature."""
    nodes, weights = special.roots_jacobi(40, (dimension - 3) / 2, (dimension - 3) / 2)
    return nodes, weights / weights.sum()


@pytest.mark.parametrize("dimension", [3, 4, 10, 31])
@pytest.mark.parametrize("degree", [1, 2, 3, 6])
def test_the_harmonic_on_the_sphere_has_unit_size_and_is_orthogonal_to_lower_degrees(dimension, degree):
    split = data.sphere(n_train=200, dimension=dimension, degree=degree)
    x, y = split.x_train.numpy(), split.y_train.numpy().flatten()
    assert np.allclose((x**2).sum(1), 1, atol=1e-14)
    # The targets are one polynomial of the first coordinate, of this degree and no lower one.
    polynomial = np.polynomial.Polynomial.fit(x[:, 0], y, degree, domain=[-1, 1])
    assert np.allclose(polynomial(x[:, 0]), y, atol=1e-9)
    nodes, weights = height_density(dimension)
    assert weights @ polynomial(nodes) ** 2 == pytest.approx(1, abs=1e-8)
    for lower in range(degree):
        assert weights @ (polynomial(nodes) * nodes**lower) == pytest.approx(0, abs=1e-8)


def test_points_on_the_sphere_are_uniform():
    x = data.sphere(n_train=20_000, dimension=3).x_train.numpy()
    # In three dimensions each coordinate is uniform on [-1, 1]: a Kolmogorov distance above 1.95 / sqrt(n)
    # has probability 1e-3 for a fixed seed; this seed was not chosen.
    for coordinate in x.T:
        grid = np.sort(coordinate)
        distance = np.abs((grid + 1) / 2 - (np.arange(20_000) + 0.5) / 20_000).max()
        assert distance < 2.7 / math.sqrt(20_000)  # probability 1e-6
    assert np.abs(x.T @ x / 20_000 - np.eye(3) / 3).max() < 5 * math.sqrt(4 / 45 / 20_000)


@pytest.mark.parametrize("n_neurons", [1, 2, 3, 5])
def test_the_teacher_is_its_network_with_unit_mean_square(n_neurons):
    split = data.teacher(n_train=10, n_test=200_000, dimension=6, n_neurons=n_neurons)
    x, y = split.x_test, split.y_test.flatten()
    raw = sum((1 if j % 2 == 0 else -1) * torch.relu(x[:, j]) for j in range(n_neurons))
    ratio = y / raw
    known = raw.abs() > 1e-6
    assert float(ratio[known].max() - ratio[known].min()) < 1e-9
    # y^2 has a standard deviation of at most 3 here: 6 standard errors.
    assert float((y**2).mean()) == pytest.approx(1, abs=6 * 3 / math.sqrt(200_000))


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_a_single_index_target_is_its_hermite_polynomial(degree):
    split = data.single_index(n_train=300, dimension=4, degree=degree)
    z = split.x_train[:, 0]
    polynomials = {1: z, 2: z**2 - 1, 3: z**3 - 3 * z, 4: z**4 - 6 * z**2 + 3}
    expected = polynomials[degree] / math.sqrt(math.factorial(degree))
    assert torch.allclose(split.y_train.flatten(), expected, atol=1e-12)
    assert split.x_train.shape == (300, 4)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_sparse_parity_is_the_product_of_the_first_signs_and_of_no_others(order):
    split = data.sparse_parity(n_train=4000, dimension=6, order=order)
    x, y = split.x_train, split.y_train.flatten()
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(y, x[:, :order].prod(1))
    # Every other product of signs is uncorrelated with it: 5 standard errors of 1/sqrt(n), 62 products.
    for subset in range(1, 2**6):
        chosen = [j for j in range(6) if subset >> j & 1]
        if chosen != list(range(order)):
            assert abs(float((x[:, chosen].prod(1) * y).mean())) < 5.5 / math.sqrt(4000)


def test_moons_lie_on_their_half_circles():
    split = data.moons(n_train=500, noise=0.0)
    x, y = split.x_train, split.y_train.flatten()
    upper, lower = x[y > 0], x[y < 0] - torch.tensor([1.0, 0.5])
    assert len(upper) == len(lower) == 250
    for half, sign in ((upper, 1), (lower, -1)):
        assert torch.allclose((half**2).sum(1), torch.ones(250).double(), atol=1e-12)
        assert bool((sign * half[:, 1] >= 0).all())
        assert float(half[:, 0].max() - half[:, 0].min()) > 1.95


def test_spirals_wind_as_stated_and_one_turn_apart():
    split = data.spirals(n_train=400, n_classes=4, turns=1.5, noise=0.0)
    radius = split.x_train.norm(dim=1)
    angle = torch.atan2(split.x_train[:, 1], split.x_train[:, 0])
    label = split.y_train.argmax(1)
    turns = angle / (2 * math.pi) - 1.5 * radius - label / 4
    assert float((turns - turns.round()).abs().max()) < 1e-12
    assert 0.1 <= float(radius.min()) < 0.12
    assert 0.98 < float(radius.max()) <= 1
    assert label.bincount().tolist() == [100] * 4
    assert float(split.y_train.sum(1).abs().max()) < 1e-15
    assert float(data.spirals(n_train=6, centered=False).y_train.sum(1).min()) == 1


def test_the_nearest_center_has_the_accuracy_that_noise_sets():
    split = data.blobs(n_train=9, n_test=40_000, n_classes=2, noise=0.7)
    nearest = (split.x_test[:, 0] < 0).long()
    accuracy = float((nearest == split.y_test.argmax(1)).double().mean())
    expected = special.ndtr(1 / 0.7)
    assert accuracy == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 40_000))
    centers = data.blobs(n_train=5, n_classes=5, noise=0.0).x_train
    assert torch.allclose(centers.norm(dim=1), torch.ones(5).double(), atol=1e-12)
    assert float(centers.sum(0).abs().max()) < 1e-12


def test_both_parts_are_drawn_independently():
    for name, problem in PROBLEMS.items():
        split = problem(n_train=40, n_test=40)
        assert not torch.equal(split.x_train, split.x_test), name


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("size", ["n_train", "n_test"])
def test_a_part_without_points_is_named(name, size):
    with pytest.raises(ValueError, match=f"{size} must be at least 1, got 0"):
        PROBLEMS[name](**{size: 0})
    with pytest.raises(TypeError, match=f"{size} must be an integer, got 2.0"):
        PROBLEMS[name](**{size: 2.0})


@pytest.mark.parametrize("name", NOISY)
def test_negative_noise_is_named(name):
    with pytest.raises(ValueError, match=r"noise must be finite and not negative, got -0\.1"):
        NOISY[name](noise=-0.1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.curve(gap=(0.5, 0.2)), ValueError, r"gap .*got \(0.5, 0.2\)"),
        (lambda: data.curve(gap=(-1.5, 0)), ValueError, "gap"),
        (lambda: data.curve(gap=(-1, 1)), ValueError, "gap"),
        (lambda: data.circle(frequencies=()), ValueError, "at least one"),
        (lambda: data.circle(frequencies=(1, 1)), ValueError, "distinct"),
        (lambda: data.circle(frequencies=(0,)), ValueError, "frequencies must be at least 1"),
        (lambda: data.circle(frequencies=(1.5,)), TypeError, "frequencies must be an integer"),
        (lambda: data.sphere(dimension=2), ValueError, "dimension must be at least 3"),
        (lambda: data.sphere(degree=0), ValueError, "degree must be at least 1"),
        (lambda: data.teacher(dimension=4, n_neurons=5), ValueError, "at most dimension = 4, got 5"),
        (lambda: data.single_index(degree=0), ValueError, "degree"),
        (lambda: data.sparse_parity(dimension=3, order=4), ValueError, "at most dimension = 3, got 4"),
        (lambda: data.sparse_parity(order=0), ValueError, "order"),
        (lambda: data.spirals(n_classes=1), ValueError, "n_classes must be at least 2"),
        (lambda: data.spirals(turns=-1), ValueError, "turns"),
        (lambda: data.blobs(n_classes=1), ValueError, "n_classes"),
    ],
)
def test_settings_that_do_not_fit_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
