"""One leader at a time, epochs that only grow, and fences that a leader of the past does not pass."""

from __future__ import annotations

import pytest

from serving.operator.objects import Objects
from tests.integration.operator.conftest import Connect
from tests.kube_api import KubeApi
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.election import LeaseElection
from tidegate.adapters.kube.kinds import LEASE, OWN
from tidegate.clock import ManualClock
from tidegate.errors import Conflict, Unavailable
from tidegate.store.leases import Fence

pytestmark = pytest.mark.integration
NAME, TTL = "judge", 10.0


class Two:
    """Two elections as two processes have them, on one clock."""

    def __init__(self, client: Client) -> None:
        self.clock = ManualClock()
        self.one, self.other = LeaseElection(client, self.clock), LeaseElection(client, self.clock)


def test_the_second_waits_until_the_first_has_been_silent_for_the_whole_time(client: Client) -> None:
    two = Two(client)
    assert two.one.acquire(NAME, "one", TTL) == 1
    assert two.other.acquire(NAME, "other", TTL) is None
    two.clock.advance(6)
    assert two.one.renew(NAME, "one", 1, TTL)
    two.clock.advance(6)
    assert two.other.acquire(NAME, "other", TTL) is None  # it has just seen the renewal
    two.clock.advance(9)
    assert two.other.acquire(NAME, "other", TTL) is None
    two.clock.advance(1.5)
    assert two.other.acquire(NAME, "other", TTL) == 2
    assert not two.one.renew(NAME, "one", 1, TTL)
    assert two.one.acquire(NAME, "one", TTL) is None


def test_a_lease_that_is_given_back_is_free_at_once(client: Client) -> None:
    two = Two(client)
    assert two.one.acquire(NAME, "one", TTL) == 1
    two.one.release(NAME, "one", 1)
    assert two.one.held(NAME) is None
    assert two.other.acquire(NAME, "other", TTL) == 2
    two.one.release(NAME, "one", 1)  # too late: it is the other's
    assert two.other.renew(NAME, "other", 2, TTL)


def test_whoever_slept_past_its_lease_gets_a_new_epoch(client: Client) -> None:
    two = Two(client)
    assert two.one.acquire(NAME, "one", TTL) == 1
    two.clock.advance(60)
    assert two.one.held(NAME) is None
    assert not two.one.renew(NAME, "one", 1, TTL)
    assert two.one.acquire(NAME, "one", TTL) == 2


def test_a_fence_whose_time_has_run_out_is_refused_before_anything_is_sent(client: Client) -> None:
    two = Two(client)
    assert two.one.acquire(NAME, "one", TTL) == 1
    two.one.check(Fence(NAME, 1))
    two.clock.advance(11)
    writer = Objects(client, two.one.check)
    with pytest.raises(Conflict, match="lease 'judge' of epoch 1 has run out"):
        writer.create(LEASE, {"metadata": {"name": "made-by-the-stale"}}, Fence(NAME, 1))
    assert client.get(LEASE, "made-by-the-stale") is None


def test_the_server_refuses_the_epoch_of_a_leader_of_the_past(client: Client) -> None:
    """The second fence: what a stale leader had under way when it was stopped arrives after its successor's write."""
    nobody = Objects(client, lambda fence: None)
    kind = OWN["ModelRuntime"]
    body = nobody.create(
        kind, {"metadata": {"name": "runtime"}, "spec": {"baseModel": {"uri": "builtin:smollm2-135m-instruct"}}}, None
    )
    newer = nobody.replace(kind, {**body, "status": {"leaderEpoch": 2}}, None, status=True)
    with pytest.raises(Exception, match="lost its lease and must stop writing"):
        nobody.replace(kind, {**newer, "status": {"leaderEpoch": 1, "url": "http://stale"}}, None, status=True)
    with pytest.raises(Conflict):
        nobody.replace(kind, {**body, "status": {"leaderEpoch": 2, "url": "http://stale"}}, None, status=True)


def test_without_an_api_server_a_lease_lasts_as_long_as_it_was_written_for(fragile: KubeApi, connect: Connect) -> None:
    two = Two(connect())
    assert two.one.acquire(NAME, "one", TTL) == 1
    fragile.kill()
    try:
        two.clock.advance(8)
        assert two.one.renew(NAME, "one", 1, TTL)
        two.clock.advance(3)
        assert not two.one.renew(NAME, "one", 1, TTL)
        with pytest.raises(Unavailable):
            two.one.acquire(NAME, "one", TTL)
    finally:
        fragile.start()
    assert two.one.acquire(NAME, "one", TTL) == 2
