"""An examination as JSON, and back."""

import dataclasses
import json
from typing import Any

from wherry_controller.core.assurance.limits import FigureLimits
from wherry_controller.core.assurance.suites import Exam, Result, Step, Verdict

DIGESTS = ("digest", "other", "candidate")


def exam_to_json(exam: Exam) -> str:
    """The whole of it."""
    shown: dict[str, Any] = {f.name: getattr(exam, f.name) for f in dataclasses.fields(exam)}
    shown |= {key: value.hex() for key in DIGESTS if (value := shown[key]) is not None}
    shown["steps"] = [step.value for step in exam.steps]
    shown["results"] = [result_row(result) for result in exam.results]
    shown["limits"] = dataclasses.asdict(exam.limits)
    shown["verdict"] = exam.verdict.value
    return json.dumps(shown, separators=(",", ":"))


def result_row(result: Result) -> dict[str, Any]:
    """One step as JSON values."""
    return {
        "step": result.step.value,
        "verdict": result.verdict.value,
        "text": result.text,
        "began_s": result.began_s,
        "ended_s": result.ended_s,
    }


def exam_from_json(text: str) -> Exam:
    """What `exam_to_json` wrote."""
    told = json.loads(text)
    told |= {key: bytes.fromhex(told[key]) for key in DIGESTS if told[key] is not None}
    told["steps"] = tuple(Step(name) for name in told["steps"])
    told["results"] = tuple(
        Result(Step(r["step"]), Verdict(r["verdict"]), r["text"], r["began_s"], r["ended_s"])
        for r in told["results"]
    )
    told["limits"] = FigureLimits(**told["limits"])
    told["verdict"] = Verdict(told["verdict"])
    return Exam(**told)
