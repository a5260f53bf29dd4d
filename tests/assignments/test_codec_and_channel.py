"""What crosses between the grader and a submission: values come through whole, and no message is trusted."""

from __future__ import annotations

import binascii
import json
import os
import socket
import threading
import time

import numpy as np
import pytest
import torch

from ntkbook.assignments.channel import Channel, ChannelError, Late
from ntkbook.assignments.codec import CodecError, Foreign, decode, encode


def through(value):
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(2, 3, dtype=torch.float64),
        torch.arange(6).reshape(2, 3).T,  # not contiguous
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor(2.0, requires_grad=True),
    ],
)
def test_tensors_come_through(value):
    got = through(value)
    assert got.dtype == value.dtype
    assert got.shape == value.shape
    assert torch.equal(got, value.detach())


def test_plain_values_come_through_and_arrays_become_tensors():
    assert through([1, 2.5, "a", None, True, {"b": [3]}]) == [1, 2.5, "a", None, True, {"b": [3]}]
    assert through((1, 2)) == [1, 2]
    assert torch.equal(through(np.float32(1.5)), torch.tensor(1.5))
    large = through(2**70)  # more than a tensor of integers can hold
    assert (type(large), large) == (float, 2.0**70)
    assert torch.equal(through(torch.tensor([1.0], dtype=torch.bfloat16)), torch.tensor([1.0]))


class Evil:
    """Would run a command if it were unpickled, and agrees with everything."""

    def __reduce__(self):
        return os.system, ("touch evil",)

    def __eq__(self, other):
        return True

    __hash__ = None


def test_an_object_crosses_as_its_type_alone():
    assert through(Evil()) == Foreign("Evil")
    assert through(len) == Foreign("builtin_function_or_method")
    assert through(np.array([Evil()], dtype=object)) == Foreign("array of object")


def test_a_subclass_crosses_as_what_it_is():
    class Agreeable(float):
        def __eq__(self, other):
            return True

        __hash__ = None

    for got in (through(Agreeable(2.0)), decode(encode(Agreeable(2.0)))):
        assert type(got) is float
        assert got != 3.0


@pytest.mark.parametrize(
    "message",
    [
        [1],
        {},
        {"array": "AAAA", "dtype": "float64", "shape": [10**6, 10**6]},  # would fill the memory
        {"array": "AAAA", "dtype": "float64", "shape": [1]},
        {"array": "AAAA", "dtype": "object", "shape": [1]},
        {"array": "AAAA%%%%", "dtype": "uint8", "shape": [3]},
        {"array": "AAAA", "dtype": "uint8", "shape": [-1, -3]},
        {"array": "AAAA", "dtype": "uint8", "shape": [True, 3]},
        {"array": "AAAA", "dtype": ["uint8"], "shape": [3]},
        {"array": 3, "dtype": "uint8", "shape": [3]},
        {"list": 3},
        {"function": 0},
        {"foreign": {}},
    ],
)
def test_a_message_that_no_encoder_wrote_is_refused(message):
    with pytest.raises((CodecError, binascii.Error)):
        decode(message)


def test_what_is_too_deep_or_too_large_is_refused():
    nested: list = []
    for _ in range(20):
        nested = [nested]
    with pytest.raises(CodecError, match="nested"):
        encode(nested)
    with pytest.raises(CodecError, match="entries"):
        encode(torch.zeros(1).expand(5_000_000))


def test_a_channel_is_never_waited_for_without_end():
    ours, theirs = socket.socketpair()
    channel, other = Channel(ours), Channel(theirs)
    other.send({"a": 1})
    other.send([2])
    assert (channel.receive(1.0), channel.receive(1.0)) == ({"a": 1}, [2])
    theirs.sendall(b"half a line")
    with pytest.raises(Late):
        channel.receive(0.01)
    theirs.sendall(b"\n" + b"[" * 200_000 + b"\n")  # no JSON; then JSON too deep for the parser
    for _ in range(2):
        with pytest.raises(ChannelError, match="not JSON"):
            channel.receive(1.0)
    with pytest.raises(Late):
        channel.send("x" * 50_000_000, 0.01)  # nobody reads
    other.close()
    with pytest.raises(ChannelError, match=r"closed|reset|Connection"):
        channel.receive(1.0)


def test_a_channel_closed_by_the_other_side_says_so():
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(ChannelError, match="closed"):
        Channel(ours).receive(1.0)


def test_a_line_that_comes_letter_by_letter_does_not_put_off_the_deadline():
    ours, theirs = socket.socketpair()

    def trickle():
        for _ in range(25):
            theirs.sendall(b"1")
            time.sleep(0.02)
        theirs.sendall(b"\n")

    writer = threading.Thread(target=trickle)
    writer.start()
    with pytest.raises(Late):
        Channel(ours).receive(0.1)
    writer.join()
