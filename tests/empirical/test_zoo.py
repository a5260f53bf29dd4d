"""Every route gives the kernel that plain autograd gives, on modules of every kind."""

import logging

import pytest
import torch
from empirical_zoo import ZOO
from naive_kernel import naive_ntk

from ntkbook import empirical_nngp, empirical_ntk
from ntkbook.empirical.jacobian import SampleJacobian
from ntkbook.empirical.network import Network
from ntkbook.empirical.structure import find_structure

METHODS = ["auto", "structured", "jacobian", "vector_product"]

# Parameters that no rule explains, by module; the modules not named here are explained entirely.
UNEXPLAINED = {
    "positions_before_the_batch": {"first.weight", "first.bias", "second.weight", "second.bias"},
    "group_and_instance_norm": {"3.weight", "3.bias"},
    "embedding_bag": {"0.weight"},
    "tied_embedding_and_readout": {"table.weight"},
    "tied_linear_layers": {"0.weight"},
    "shared_submodule": {"shared.weight", "shared.bias"},
    "functional_use_of_a_weight": {"first.weight", "first.bias"},
    "functional_use_only": {"first.weight", "first.bias"},
    "parameters_of_the_network_itself": {"scale", "shift"},
    "detached_branch_and_unused_layer": {"unused.weight", "unused.bias"},
    "call_without_graph_beside_functional_use": {"first.weight", "first.bias"},
    "multi_head_attention": {
        "attend.in_proj_weight",
        "attend.in_proj_bias",
        "attend.out_proj.weight",
        "attend.out_proj.bias",
    },
    "transformer_encoder_layer": {
        "layer.self_attn.in_proj_weight",
        "layer.self_attn.in_proj_bias",
        "layer.self_attn.out_proj.weight",
        "layer.self_attn.out_proj.bias",
    },
    "lstm": {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"},
    "transposed_convolution": {"2.weight", "2.bias"},
    "convolution_3d": {"0.0.weight", "0.0.bias"},
    "parametrized_weight": {
        "0.bias",
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
    },
    "prelu_and_bilinear": {"slope.weight", "pair.weight", "pair.bias"},
    "subclass_with_another_forward": {"0.weight", "0.bias"},
    "hook_that_changes_the_output": {"0.weight", "0.bias"},
    "control_flow_on_the_data": {"left.weight", "left.bias", "right.weight", "right.bias"},
    "parameter_beside_tokens": {"place"},
    "width_attention": {"0.key_weight", "0.value_weight", "0.out_weight", "0.bias"},
}


def reduced(full, outputs):
    blocks = full.diagonal(dim1=2, dim2=3)
    return {"full": full, "diagonal": blocks, "mean": blocks.mean(-1)}[outputs]


def close(found, expected, scale, tolerance):
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / scale) < tolerance


def test_zoo_is_large():
    assert len(ZOO) >= 30
    assert set(UNEXPLAINED) <= set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_all_routes_agree_with_autograd(name):
    net, x1, x2 = ZOO[name]()
    both = torch.cat([x1, x2])
    cross, auto = naive_ntk(net, x1, x2), naive_ntk(net, both)
    scale = auto.abs().max()
    for method in METHODS:
        for outputs in ("full", "diagonal", "mean"):
            found = empirical_ntk(net, x1, x2, outputs=outputs, method=method)
            assert close(found, reduced(cross, outputs), scale, 1e-10), (method, outputs)
            found = empirical_ntk(net, both, outputs=outputs, method=method)
            assert close(found, reduced(auto, outputs), scale, 1e-10), (method, outputs, "symmetric")


@pytest.mark.parametrize("name", ZOO)
def test_float32_agrees_with_float64(name):
    net, x1, x2 = ZOO[name]()
    exact, scale = naive_ntk(net, x1, x2), naive_ntk(net, torch.cat([x1, x2])).abs().max()
    net, x1, x2 = net.float(), *(x.float() if x.is_floating_point() else x for x in (x1, x2))
    for method in ("auto", "jacobian"):
        assert close(empirical_ntk(net, x1, x2, method=method).double(), exact, scale, 1e-5), method


@pytest.mark.parametrize("name", ZOO)
def test_chunks_and_layers_change_nothing(name):
    net, x1, x2 = ZOO[name]()
    both = torch.cat([x1, x2])
    expected = empirical_ntk(net, both, method="jacobian")
    scale = expected.abs().max()
    parts = empirical_ntk(net, both, by_layer=True, chunk_size=2)
    owners = {key.rpartition(".")[0] for key, p in net.named_parameters() if p.requires_grad}
    assert set(parts) == owners
    assert close(sum(parts.values()), expected, scale, 1e-10)
    for layer, part in parts.items():  # each part is the kernel of that layer's parameters alone
        alone = empirical_ntk(_only(ZOO[name]()[0], layer), both, method="jacobian", chunk_size=3)
        assert close(part, alone, scale, 1e-10), layer
    assert close(empirical_ntk(net, x1, x2, chunk_size=1), expected[: len(x1), len(x1) :], scale, 1e-10)


def _only(net, layer):
    for key, p in net.named_parameters():
        p.requires_grad_(p.requires_grad and key.rpartition(".")[0] == layer)
    return net


@pytest.mark.parametrize("name", ZOO)
def test_rules_explain_what_they_should(name):
    net, x1, _ = ZOO[name]()
    with torch.no_grad():
        structure = find_structure(Network(net, x1), x1)
    assert set(structure.unexplained) == UNEXPLAINED.get(name, set())


def test_reasons_are_logged_once(caplog):
    class Mine(torch.nn.Linear):
        pass

    net = torch.nn.Sequential(Mine(3, 2))
    with caplog.at_level(logging.WARNING, logger="ntkbook.empirical"):
        empirical_ntk(net, torch.randn(2, 3))
        empirical_ntk(net, torch.randn(2, 3))
    lines = [r.getMessage() for r in caplog.records if "no rule for layers of type Mine" in r.getMessage()]
    assert len(lines) == 2  # its weight and its bias
    assert "'0.weight'" in lines[0]


def test_a_network_is_given_up_once(caplog, monkeypatch):
    # A batching rule that is wrong for both parameters is one reason, not two.
    right = SampleJacobian._vectorized
    monkeypatch.setattr(
        SampleJacobian, "_vectorized", lambda *a: {name: 2 * g for name, g in right(*a).items()}
    )
    net, x = torch.nn.Linear(3, 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.INFO, logger="ntkbook.empirical"):
        jacobian = SampleJacobian(Network(net, x), x, ["weight", "bias"])
    assert not jacobian.vectorizes
    assert [r.getMessage() for r in caplog.records if "cannot be vectorized" in r.getMessage()] == [
        "Linear cannot be vectorized over samples (the gradients of 'weight' come out differently); its "
        "Jacobian is taken sample by sample"
    ]


def test_explain_prints_the_plan(capsys):
    net, x1, _ = ZOO["shared_submodule"]()
    empirical_ntk(net, x1, explain=True)
    printed = capsys.readouterr().out
    assert "structured: 1 items" in printed
    assert "its layer is called 2 times" in printed


def test_module_is_left_as_it_was():
    net, x1, _ = ZOO["residual_block_with_batch_norm"]()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    grads = [p.grad for p in net.parameters()]
    random = torch.random.get_rng_state()
    for method in METHODS:
        kernel = empirical_ntk(net, x1, method=method)
        assert not kernel.requires_grad
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert [p.grad for p in net.parameters()] == grads == [None] * len(grads)
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.equal(random, torch.random.get_rng_state())


def test_nngp_is_the_outer_product_over_outputs():
    net, x1, x2 = ZOO["image_output"]()
    f1, f2 = net(x1).detach().flatten(1), net(x2).detach().flatten(1)
    assert torch.allclose(empirical_nngp(net, x1, x2), f1 @ f2.T / f1.shape[1], rtol=1e-12)
    assert torch.allclose(empirical_nngp(net, x1), f1 @ f1.T / f1.shape[1], rtol=1e-12)


def test_linear_layer_in_closed_form():
    # f(x) = W x + b has gradient x e_a^T and e_a, so the kernel is (x . x' + 1) I.
    torch.manual_seed(0)
    x, y = torch.randn(4, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    expected = torch.einsum("ij,ab->ijab", x @ y.T + 1, torch.eye(5, dtype=torch.float64))
    for method in METHODS:
        found = empirical_ntk(torch.nn.Linear(6, 5).double(), x, y, method=method)
        assert torch.allclose(found, expected, rtol=1e-13, atol=1e-13)
