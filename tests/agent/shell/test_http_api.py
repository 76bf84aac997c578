"""The device's HTTP door, over a real socket, in front of a real inference loop."""

import http.client
import json
import socket
import threading
import time

import pytest
from wherry_agent.config import HttpConfig
from wherry_agent.shell.http_api import HttpApi

from tests.agent.shell.serving import Device, contract, identity_image


@pytest.fixture
def device():
    made = Device()
    yield made
    made.loop.stop()


@pytest.fixture
def serve(device):
    """Starts the door with some configuration; one per test."""
    started = []

    def start(**config) -> HttpApi:
        api = HttpApi(HttpConfig(port=0, **config), device.doors())
        api.start()
        started.append(api)
        return api

    yield start
    for api in started:
        api.stop()


def ask(api, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data, headers or {})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_real_units_go_in_and_come_out_with_the_maker_named(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    api = serve()
    status, answer = ask(api, "POST", "/inference", {"input": [0.0, 1.0, -1.0, 1000.0]})
    assert status == 200
    assert answer["output_q"] == [3, 5, 1, 127]
    assert answer["output"] == [0.0, 1.0, -1.0, 62.0]
    assert (answer["model"], answer["version"], answer["slot"]) == ("echo", "1.0.0", "active")
    assert answer["digest"] == f"{1:064x}"
    assert answer["latency_us"] > 0


def test_quantized_input_goes_in_as_it_is_and_nested_lists_may_leave_out_axes_of_one(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    api = serve()
    for values in ([-128, 0, 1, 127], [[-128, 0, 1, 127]]):
        status, answer = ask(api, "POST", "/inference", {"model": "echo", "input_q": values})
        assert (status, answer["output_q"]) == (200, [-128, 0, 1, 127])


def test_a_curl_with_its_own_content_type_is_answered(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask(serve(), "POST", "/inference", {"input": [1, 2, 3, 4]}, form)[0] == 200


WRONG = [
    (b"", "not JSON"),
    (b"\xff", "not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    ([1, 2, 3, 4], "must be a JSON object"),
    ({}, "exactly one of input"),
    ({"input": [1] * 4, "input_q": [1] * 4}, "exactly one of input"),
    ({"input": [1] * 4, "inptu": 1}, "'inptu' is not a known key"),
    (b'{"input": [1,2,3,4], "input": [1,2,3,4]}', "a key is there twice"),
    ({"input": [1, 2, 3]}, "x: 3 elements, the model takes 4 (shape [1, 4])"),
    ({"input": [[1, 2], [3, 4]]}, "x: 2 elements"),
    ({"input": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "x: 2 elements"),
    ({"input": 7}, "x: a number is no list of 4 numbers"),
    ({"input": []}, "x: 0 elements"),
    ({"input": [1, 2, 3, True]}, "x[3] = true or false is no number"),
    ({"input": [1, 2, 3, None]}, "x[3] = null is no number"),
    ({"input": [1, 2, 3, "4"]}, "x[3] = text is no number"),
    ({"input": [[1, 2, 3, [4]]]}, "is no number"),
    (b'{"input": [1,2,3,NaN]}', "NaN is no finite number"),
    (b'{"input": [1,2,3,1e999]}', "x[3] = inf is no number"),
    (b'{"input": [1,2,3,' + b"9" * 400 + b"]}", "is no number within"),
    (b'{"input": [1,2,3,' + b"9" * 9000 + b"]}", "not JSON"),
    ({"input_q": [1, 2, 3, 128]}, "x[3] = 128 is no int8 in -128..127"),
    ({"input_q": [1, 2, 3, 1.0]}, "x[3] = 1.0 is no int8"),
    ({"input": {"z": [1, 2, 3, 4]}}, "the inputs must be exactly x"),
    ({"model": "../etc", "input": [1, 2, 3, 4]}, "model must be a model's name"),
]


@pytest.mark.parametrize(("body", "sentence"), WRONG)
def test_input_that_does_not_fit_is_one_sentence_and_counted_as_refused(
    device, serve, body, sentence
):
    instance = device.swap("1.0.0", identity_image(), contract())
    api = serve()
    status, answer = ask(api, "POST", "/inference", body)
    assert status == 400
    assert sentence in answer["error"]
    assert len(answer["error"]) < 300
    assert api.refused("echo") == 1
    stats = instance.stats()
    assert (stats.inferences, stats.errors) == (0, 0)


def test_an_unknown_model_is_not_found(serve):
    status, answer = ask(serve(), "POST", "/inference", {"model": "other", "input": [1]})
    assert (status, answer["error"]) == (404, "no model other here, there is echo")


def test_without_a_serving_version_the_answer_is_503(serve):
    status, answer = ask(serve(), "POST", "/inference", {"input": [1, 2, 3, 4]})
    assert (status, answer["error"]) == (503, "no version of echo serves yet")


def test_an_isolated_device_answers_the_safe_output_flagged_or_503(device, serve):
    api = serve()
    device.swap("1.0.0", identity_image(), contract(safe_output=bytes([3, 3, 3, 5])))
    device.is_isolated = True
    status, answer = ask(api, "POST", "/inference", {"input": [9, 9, 9, 9]})
    assert (status, answer["output"]) == (200, [0.0, 0.0, 0.0, 1.0])
    assert answer["is_safe_output"] is True
    device.swap("1.0.1", identity_image(), contract())
    status, answer = ask(api, "POST", "/inference", {"input": [9, 9, 9, 9]})
    assert status == 503
    assert "declares no safe output" in answer["error"]


def test_an_output_out_of_range_is_flagged_and_counted_by_the_loop(device, serve):
    instance = device.swap("1.0.0", identity_image(), contract(), valid_min=-10, valid_max=10)
    status, answer = ask(serve(), "POST", "/inference", {"input_q": [1, 2, 3, 50]})
    assert (status, answer["is_out_of_range"]) == (200, True)
    assert instance.stats().errors_range == 1


def test_a_queue_that_is_full_and_a_loop_that_is_late_have_their_own_answers(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    device.loop.stop()
    status, answer = ask(serve(), "POST", "/inference", {"input": [1, 2, 3, 4]})
    assert (status, answer["error"]) == (503, "the queue of echo is full")


def test_health_and_status_tell_the_owner(device, serve):
    api = serve()
    device.swap("1.2.3", identity_image(), contract())
    assert ask(api, "GET", "/healthz") == (200, {"healthy": True})
    assert ask(api, "GET", "/status")[1]["models"]["echo"]["version"] == "1.2.3"
    device.sick = "the inference loop of echo hangs"
    assert ask(api, "GET", "/healthz") == (
        503,
        {"healthy": False, "error": "the inference loop of echo hangs"},
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/../etc/passwd", {}, 404),
        ("GET", "/inference", {}, 405),
        ("POST", "/status", {}, 405),
        ("DELETE", "/status", {}, 501),
        ("GET", "/status", {"Origin": "https://hostile.example"}, 403),
        ("GET", "/status", {"Host": "hostile.example"}, 403),
        ("GET", "/status", {"Host": "hostile.example:8080"}, 403),
        ("GET", "/status", {"Host": "localhost:8080"}, 200),
        ("GET", "/status", {"Host": "[::1]:8080"}, 200),
        ("POST", "/inference", {"Content-Length": "99999999"}, 413),
        ("POST", "/inference", {"Content-Length": "-1"}, 411),
        ("POST", "/inference", {"Transfer-Encoding": "chunked"}, 411),
        ("GET", "/status", {f"X-{i}": "1" for i in range(150)}, 431),
    ],
)
def test_doors_that_do_not_exist_and_requests_that_are_hostile_are_refused(
    serve, method, path, headers, status
):
    answer = ask(serve(), method, path, None, headers)
    assert answer[0] == status
    assert status == 200 or answer[1]["error"]


def test_a_slow_client_is_cut_off_in_the_time_of_one_request(serve):
    api = serve(request_s_max=0.4)
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as slow:
        slow.sendall(b"POST /inference HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        answer = trickle(slow)
    assert b"408" in answer.split(b"\r\n")[0]
    assert time.monotonic() - started < 5


def trickle(connection):
    """One byte at a time until the server answers or goes."""
    connection.settimeout(0.05)
    while True:
        try:
            connection.sendall(b" ")
            return connection.recv(4096)
        except TimeoutError:
            continue


def test_connections_beyond_the_limit_are_answered_at_once_and_room_comes_back(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    api = serve(connections_max=2, request_s_max=30.0)
    held = [socket.create_connection(("127.0.0.1", api.port), timeout=10) for _ in range(2)]
    for connection in held:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096)
    status, answer = ask(api, "GET", "/healthz")
    assert (status, answer["error"]) == (503, "2 connections are open, no more are taken")
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 10
    while ask(api, "GET", "/healthz")[0] != 200:
        assert time.monotonic() < deadline


def test_one_connection_may_ask_many_times(device, serve):
    device.swap("1.0.0", identity_image(), contract())
    connection = http.client.HTTPConnection("127.0.0.1", serve().port, timeout=10)
    for i in range(20):
        connection.request("POST", "/inference", json.dumps({"input_q": [i, 0, 0, 0]}))
        assert json.loads(connection.getresponse().read())["output_q"][0] == i
    connection.close()


def test_swaps_to_another_scale_never_misread_an_input(device, serve):
    """Each version reads reals with its own scale; 2.0 must come back as 2.0 whoever serves."""
    image = identity_image()
    device.swap("1.0.0", image, contract(scale=0.5, zero_point=3))
    api = serve()
    is_over = threading.Event()

    def swap_for_ever():
        number = 0
        while not is_over.is_set():
            number += 1
            scale, zero_point = [(0.5, 3), (0.25, -7)][number % 2]
            device.swap(f"1.0.{number}", image, contract(scale=scale, zero_point=zero_point))

    swapper = threading.Thread(target=swap_for_ever)
    swapper.start()
    try:
        for _ in range(300):
            status, answer = ask(api, "POST", "/inference", {"input": [2.0, -2.0, 0.0, 4.0]})
            assert status in (200, 503)
            assert status == 503 or answer["output"] == [2.0, -2.0, 0.0, 4.0]
    finally:
        is_over.set()
        swapper.join()


def test_a_kept_connection_never_waits_for_a_delayed_acknowledgement(device, serve):
    """Without TCP_NODELAY it is 44 ms each: the body waits until the head is acknowledged."""
    device.swap("1.0.0", identity_image(), contract())
    connection = http.client.HTTPConnection("127.0.0.1", serve().port, timeout=10)
    took_s = []
    for _ in range(41):
        began = time.perf_counter()
        connection.request("POST", "/inference", json.dumps({"input_q": [1, 0, 0, 0]}))
        connection.getresponse().read()
        took_s.append(time.perf_counter() - began)
    connection.close()
    assert sorted(took_s)[20] < 0.030


@pytest.mark.parametrize("for_s", [0, 7200.0, 31 * 86_400])
def test_the_owner_may_put_swaps_off(serve, for_s):
    assert ask(serve(), "POST", "/defer", {"for_s": for_s}) == (200, {"for_s": for_s})


@pytest.mark.parametrize(
    "body",
    [{}, [], {"for_s": True}, {"for_s": -1}, {"for_s": "2h"}, {"for_s": 31 * 86_400 + 1}],
    ids=str,
)
def test_a_deferral_without_a_number_of_seconds_is_refused(serve, body):
    status, answer = ask(serve(), "POST", "/defer", body)
    assert status == 400
    assert "for_s" in answer["error"]


def test_a_deferral_that_does_not_fit_the_state_is_a_conflict(device, serve):
    device.sick = "the time is not known yet"
    assert ask(serve(), "POST", "/defer", {"for_s": 60}) == (409, {"error": device.sick})
