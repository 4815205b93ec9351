import json
import time
from email.utils import formatdate

import pytest

from inference.remote.errors import RemoteError, refusal, server_message


def refused(status: int, body: object = None, **headers: str) -> RemoteError:
    page = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal("http://x/v1", status, named, page, model="pirate", key="OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, {"error": {"message": "wrong key sk-123"}}, "refuses the key; put a valid one into"),
        (403, "<html>", "refuses the key"),
        (404, {"error": {"message": "The model `pirate` does not exist."}}, "no model 'pirate'"),
        (404, {"detail": "Not Found"}, r"no OpenAI-compatible API at http://x/v1 \(HTTP 404\)"),
        (404, "<html>nginx</html>", "no OpenAI-compatible API"),
        (302, "", "no OpenAI-compatible API"),
        (400, {"error": {"message": "This model's maximum context length is 1024 tokens."}},
         "prompt is too long"),
        (400, {"error": {"message": "x", "code": 1}}, r"refused the request \(HTTP 400\): x\.$"),
        (413, "<html>", "prompt is too long"),
        (418, "<html><h1>teapot", r"refused the request \(HTTP 418\)\.$"),
        (429, {"error": {"message": "Slow down."}}, r"takes no more requests now .*: Slow down\.$"),
        (500, "<html>", r"failed \(HTTP 500\)\.$"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "no"}]}, "seed"),
    ],
)  # fmt: skip
def test_each_refusal_is_one_clear_sentence(status: int, body: object, sentence: str) -> None:
    with pytest.raises(RemoteError, match=sentence) as caught:
        raise refused(status, body)
    assert "\n" not in str(caught.value)
    assert "sk-123" not in str(caught.value)
    assert "<" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (404, False), (429, True), (500, True), (503, True)]
)
def test_only_what_may_pass_is_tried_again(status: int, again: bool) -> None:
    assert refused(status).again is again


def test_an_empty_account_is_not_asked_again() -> None:
    assert not refused(429, {"error": {"code": "insufficient_quota"}}).again


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0", 0), ("soon", None), ("", None), ("nan", None), ("-5", None), ("1e999", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert refused(429, Retry_After=value).wait == seconds


def test_retry_after_as_a_date() -> None:
    wait = refused(503, Retry_After=formatdate(time.time() + 60, usegmt=True)).wait
    assert wait is not None
    assert 55 < wait <= 60
    assert refused(503, Retry_After=formatdate(0, usegmt=True)).wait == 0
    assert refused(400, Retry_After="3").wait is None


def test_a_long_message_is_cut() -> None:
    assert len(server_message({"error": {"message": "x " * 5000}})) < 300
