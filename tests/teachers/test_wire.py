"""What goes between a server and its clients is what the document says, and nonsense is refused with the reason."""

import http.client
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tutelage.models import ModelCard, Network
from tutelage.teachers import serve

RAW = "application/octet-stream"


@pytest.fixture
def network():
    card = ModelCard(model="python:mine", classes=("a", "b", "c"), image=(1, 4, 4), mean=(0.5,), std=(0.5,))
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), card)


def images(*numbers):
    """An image for each number."""
    return torch.tensor(numbers, dtype=torch.uint8).view(-1, 1, 1, 1) + torch.arange(16, dtype=torch.uint8).view(
        1, 4, 4
    )


def call(method, url, content=b"", **headers):
    """The status, headers and content that a client without manners of its own gets."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
    connection.request(
        method, "/" + url.split("/", 3)[3], content, {n.replace("_", "-"): v for n, v in headers.items()}
    )
    reply = connection.getresponse()
    answer = SimpleNamespace(status=reply.status, headers=reply.headers, content=reply.read())
    connection.close()
    return answer


def get(server, path):
    return json.loads(call("GET", server.url + path).content)


def post(server, asked, **headers):
    shape = ",".join(map(str, asked.shape))
    headers = {"Content-Type": RAW, "X-Shape": shape, "X-Dtype": "uint8", **headers}
    return call("POST", f"{server.url}/v1/answers", asked.numpy().tobytes(), **headers)


def test_the_document_names_every_path_and_method_that_is_served(network):
    with serve(network) as server:
        document = get(server, "/openapi.json")
        assert document["openapi"] == "3.1.0"
        served = set()
        for path in [*document["paths"], "/", "/v1", "/v1/teachers", "/docs"]:
            for method in ("get", "post"):
                if call(method.upper(), server.url + path).status != 404:
                    served.add((path, method))
    assert served == {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert len(served) == 3


def test_the_description_has_the_fields_that_the_document_says(network):
    with serve(network) as server:
        document = get(server, "/openapi.json")
        told = get(server, "/v1/teacher")
    replies = document["paths"]["/v1/teacher"]["get"]["responses"]
    schema = replies["200"]["content"]["application/json"]["schema"]
    assert set(told) == set(schema["required"]) == set(schema["properties"])
    assert told == {
        "classes": ["a", "b", "c"],
        "fingerprint": network.fingerprint(),
        "image": [1, 4, 4],
        "gives": "logits",
    }


def test_a_plain_client_gets_json(network):
    with serve(network) as server:
        answer = json.loads(post(server, images(1, 2)).content)["answers"]
        raw = post(server, images(1, 2), Accept=RAW)
    assert raw.headers["X-Shape"] == "2,3"
    assert torch.equal(torch.tensor(answer), torch.frombuffer(bytearray(raw.content), dtype=torch.float32).view(2, 3))


def test_a_key_that_comes_with_other_images_is_refused(network):
    with serve(network) as server:
        post(server, images(1), Idempotency_Key="k")
        answer = post(server, images(2), Idempotency_Key="k")
        assert answer.status == 422
        assert "came with other images" in json.loads(answer.content)["error"]
        assert server.answered == 1


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"", {"Content-Type": "text/plain"}, "the content type must be"),
        (b"{", {"Content-Type": "application/json"}, "a JSON request is"),
        (b'{"shape": [1, 1, 4, 4]}', {"Content-Type": "application/json"}, "a JSON request is"),
        (b'{"shape": [1,1,4,4], "images": "!"}', {"Content-Type": "application/json"}, "JSON request"),
        (b'{"shape": [1,1,4,4], "images": "AAAA"}', {"Content-Type": "application/json"}, "3 bytes came"),
        (bytes(16), {"Content-Type": RAW, "X-Shape": "1,1,4,4", "X-Dtype": "float32"}, "X-Dtype must be uint8"),
        (bytes(16), {"Content-Type": RAW, "X-Shape": "1,16", "X-Dtype": "uint8"}, "(n, c, h, w)"),
        (b"", {"Content-Type": RAW, "X-Shape": "0,1,4,4", "X-Dtype": "uint8"}, "none of them 0"),
        (bytes(16), {"Content-Type": RAW, "X-Shape": "1,1,-4,-4", "X-Dtype": "uint8"}, "sizes with commas"),
        (bytes(9), {"Content-Type": RAW, "X-Shape": "1,1,3,3", "X-Dtype": "uint8"}, "takes images of (1, 4, 4)"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_the_reason(network, content, headers, message):
    with serve(network) as server:
        answer = call("POST", server.url + "/v1/answers", content, **headers)
        assert answer.status == 400
        assert message in json.loads(answer.content)["error"]
        assert server.answered == 0


@pytest.mark.parametrize(("length", "message"), [("268435457", "at most 268435456"), ("many", "got 'many'")])
def test_a_body_that_is_too_long_is_not_even_read(network, length, message):
    with serve(network) as server:
        answer = call("POST", server.url + "/v1/answers", **{"Content-Length": length})
        assert answer.status == 413
        assert message in json.loads(answer.content)["error"]
