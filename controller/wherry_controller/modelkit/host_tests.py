"""The tests of a model on whoever made it: a JUnit report, counted and pinned by its digest.

The report itself stays with its makers; the manifest says which one it was and how it ended. What
was skipped has not passed.

    tested(Provenance(), Path("report.xml").read_bytes(), "report.xml")
"""

from hashlib import sha256
from typing import Final
from xml.etree import ElementTree

from wherry_protocol.errors import DecodeError
from wherry_protocol.manifest import Provenance
from wherry_protocol.replacing import replace

REPORT_BYTES_MAX: Final = 64 << 20
NOT_PASSED: Final = ("failure", "error", "skipped")


def tested(provenance: Provenance, report: bytes, where: str) -> Provenance:
    """With digest and counts of the report. Raises DecodeError: too large, no XML, or no test."""
    if len(report) > REPORT_BYTES_MAX:
        raise DecodeError(f"{where}: {len(report)} bytes, a report has at most {REPORT_BYTES_MAX}")
    if b"<!DOCTYPE" in report:
        raise DecodeError(
            f"{where}: a report has no DOCTYPE, give the JUnit file as it was written"
        )
    try:
        root = ElementTree.fromstring(report)
    except ElementTree.ParseError as error:
        raise DecodeError(f"{where}: not XML: {error}") from error
    cases = list(root.iter("testcase"))
    if not cases:
        raise DecodeError(f"{where}: it has no testcase, give a JUnit report (pytest --junit-xml)")
    failed = sum(any(case.find(what) is not None for what in NOT_PASSED) for case in cases)
    return replace(
        provenance,
        tests_digest=sha256(report).digest(),
        tests_passed=len(cases) - failed,
        tests_failed=failed,
    )
