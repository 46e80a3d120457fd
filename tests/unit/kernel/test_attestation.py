import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.attestation import key_id_of, load_key, load_or_create_key, platform_key, sign, verify
from tidegate.domain.evaluation import EvalReport, GateCheck, GateOverride, GateVerdict, Metric
from tidegate.errors import ContractBroken, InvalidInput, Unavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = bytes(range(32))
DIGEST = "sha256:" + "0" * 64


def report(value: float = 0.9, *, passed: bool = True) -> EvalReport:
    return EvalReport(
        candidate=DIGEST,
        data_digest=DIGEST,
        metrics=(Metric(name="exact-match", value=value, n=100),),
        gate=GateVerdict(passed=passed, checks=(GateCheck(name="floor", passed=passed, reason="0.9 of 0.5"),)),
        created_at=NOW,
    )


def test_a_signed_report_verifies_after_a_round_trip_through_json() -> None:
    attestation = sign(report(), KEY, "k1", NOW)
    again = EvalReport.model_validate_json(report().model_dump_json())
    verify(again, attestation, {"k0": b"other" * 8, "k1": KEY})


@given(st.floats(0, 1).filter(lambda value: value != 0.9))
def test_a_changed_metric_is_found(value: float) -> None:
    with pytest.raises(ContractBroken, match="changed after it was signed"):
        verify(report(value), sign(report(), KEY, "k1", NOW), {"k1": KEY})


def test_a_changed_verdict_or_an_added_override_is_found() -> None:
    failed = report(passed=False)
    attestation = sign(failed, KEY, "k1", NOW)
    override = GateOverride(by="eve", reason="trust me", at=NOW)
    for forged in (report(passed=True), failed.model_copy(update={"override": override})):
        with pytest.raises(ContractBroken, match="changed after it was signed"):
            verify(forged, attestation, {"k1": KEY})


def test_a_new_digest_without_the_key_does_not_verify() -> None:
    forged = sign(report(passed=False), b"wrong" * 8, "k1", NOW)
    with pytest.raises(ContractBroken, match="not of key 'k1'"):
        verify(report(passed=False), forged, {"k1": KEY})


def test_an_unknown_key_and_a_moved_date_are_refused() -> None:
    attestation = sign(report(), KEY, "k1", NOW)
    with pytest.raises(ContractBroken, match="not accepted"):
        verify(report(), attestation, {})
    later = attestation.model_copy(update={"signed_at": NOW.replace(year=2027)})
    with pytest.raises(ContractBroken, match="not of key"):
        verify(report(), later, {"k1": KEY})


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "attestation.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert load_or_create_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["attestation.key"]
    assert key_id_of(key) == key_id_of(key) != key_id_of(KEY)
    assert key.hex() not in key_id_of(key)


@pytest.mark.parametrize("content", ["", "not hex", "abcd"])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "attestation.key"
    path.write_text(content)
    with pytest.raises(ContractBroken, match=r"attestation\.key"):
        load_or_create_key(path)


def test_a_key_that_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file/attestation"):
        load_or_create_key(tmp_path / "file" / "attestation.key")


def test_a_key_that_somebody_else_has_to_provide_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "attestation.key"
    with pytest.raises(InvalidInput, match="TIDEGATE_ATTESTATION_KEY_PATH"):
        load_key(path)
    with pytest.raises(InvalidInput):
        platform_key(path, "cluster")
    assert not path.exists()
    made = load_or_create_key(path)
    assert load_key(path) == made == platform_key(path, "cluster") == platform_key(path, "local")


def test_a_key_that_is_not_hexadecimal_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "attestation.key"
    for content in (b"\xff\xbd" * 16, b"not a key", b""):
        path.write_bytes(content)
        with pytest.raises(ContractBroken, match="openssl rand -hex 32"):
            load_key(path)
