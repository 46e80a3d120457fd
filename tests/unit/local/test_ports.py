"""Ports: free ones are found, remembered ones are kept while they are free or ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ports import free_port
from tests.ports import free_ports as ports_of_tests
from tidegate.errors import Conflict, ResourceExhausted
from tidegate.local.ports import LOOPBACK, PORTS, allocate, free_ports, is_free, read_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((LOOPBACK, free_port()))
        server.listen()
        yield server.getsockname()[1]


def test_every_name_gets_a_port_of_its_own() -> None:
    names = [f"part{number}" for number in range(20)]
    found = allocate(names, {})
    assert sorted(found) == sorted(names)
    assert len(set(found.values())) == len(names)
    assert all(is_free(port) for port in found.values())


def test_ports_lie_below_those_of_outgoing_connections_and_of_a_cluster() -> None:
    found = set(allocate(["gateway", "engine"], {}).values())
    assert found <= set(PORTS)
    assert max(PORTS) < 30_000


def test_ports_that_are_taken_or_spoken_for_are_passed_over(taken: int) -> None:
    spoken_for, free = ports_of_tests(2)
    among = [taken, spoken_for, free]
    assert free_ports(1, among=among, taken=[spoken_for]) == [free]
    with pytest.raises(ResourceExhausted, match="only 2 are free, and 3 are needed"):
        free_ports(3, among=among)


@pytest.mark.parametrize(
    "written", [None, [], "16001", {"gateway": "abc"}, {"gateway": -4}, {"gateway": 70_000}, {"gateway": True}]
)
def test_a_file_that_somebody_edited_is_read_for_what_are_ports(written: Any) -> None:
    assert read_ports(written) == {}
    assert read_ports({"gateway": -4, "engine": 65_535}) == {"engine": 65_535}


def test_a_chosen_port_is_taken_or_refused_never_replaced(taken: int) -> None:
    free = allocate(["gateway"], {})["gateway"]
    assert allocate(["gateway", "engine"], {"gateway": 1}, fixed={"gateway": free})["gateway"] == free
    with pytest.raises(Conflict, match=f"port {taken}, chosen for gateway"):
        allocate(["gateway"], {}, fixed={"gateway": taken})


def test_a_part_that_runs_keeps_its_port_until_it_is_stopped(taken: int) -> None:
    assert allocate(["gateway"], {"gateway": taken}, in_use=["gateway"], fixed={"gateway": 1}) == {"gateway": taken}


def test_a_remembered_free_port_is_kept() -> None:
    first = allocate(["gateway"], {})
    assert allocate(["gateway"], first) == first


def test_a_remembered_port_that_a_stranger_took_is_replaced(taken: int) -> None:
    assert allocate(["gateway"], {"gateway": taken})["gateway"] != taken


def test_a_remembered_port_that_our_own_part_holds_is_kept(taken: int) -> None:
    assert allocate(["gateway"], {"gateway": taken}, in_use=["gateway"]) == {"gateway": taken}


def test_two_names_never_share_a_remembered_port() -> None:
    port = allocate(["one"], {})["one"]
    found = allocate(["one", "two"], {"one": port, "two": port})
    assert found["one"] == port
    assert found["two"] != port


def test_a_listening_port_is_not_free(taken: int) -> None:
    assert not is_free(taken)
