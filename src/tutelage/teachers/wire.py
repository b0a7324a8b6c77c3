"""What goes between a remote teacher and those who ask it: the protocol, and its OpenAPI document.

Tensors travel raw (C order, little-endian, shape and type in headers) or in JSON (images in base64, answers as lists).
Letters: n samples, c channels, h height, w width, k classes.
"""

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tutelage.errors import ShapeError

__all__ = ["ANSWERS", "DESCRIPTION", "DOCUMENT", "JSON", "RAW", "openapi", "read_images", "read_raw", "request_key"]

ANSWERS = "/v1/answers"
DESCRIPTION = "/v1/teacher"
DOCUMENT = "/openapi.json"
JSON = "application/json"
RAW = "application/octet-stream"

_TYPES = {"uint8": "u1", "float16": "<f2", "float32": "<f4"}


def request_key(pixels: bytes, shape: tuple[int, ...], fingerprint: str) -> str:
    """The Idempotency-Key of a request: the same images to the same teacher have the same one, in either format.

    Example:
        >>> request_key(b"....", (1, 1, 2, 2), "t")[:8]
        '4226d7d8'
    """
    return hashlib.sha256(f"{fingerprint} {shape} ".encode() + pixels).hexdigest()


def read_raw(body: bytes, shape: str, dtype: str, *, allowed: Collection[str]) -> Tensor:
    """The tensor in a raw body.

    Args:
        body: The bytes.
        shape: The header X-Shape, such as ``"64,10"``.
        dtype: The header X-Dtype.
        allowed: Types that may come.

    Raises:
        ShapeError: if the headers and the body do not agree.

    Example:
        >>> read_raw(bytes([0, 60]), "1,1", "float16", allowed=["float16"])
        tensor([[1.]], dtype=torch.float16)
    """
    if dtype not in allowed:
        raise ShapeError(f"X-Dtype must be {' or '.join(allowed)}, got {dtype!r}")
    sizes = shape.split(",")
    if not all(size.strip().isascii() and size.strip().isdecimal() for size in sizes):
        raise ShapeError(f"X-Shape must be sizes with commas between them, such as 64,10, got {shape!r}")
    numbers = [int(size) for size in sizes]
    kind = np.dtype(_TYPES[dtype])
    if len(body) != math.prod(numbers) * kind.itemsize:
        raise ShapeError(f"{len(body)} bytes came for X-Shape {shape} of {dtype}: they must agree")
    return torch.from_numpy(np.frombuffer(bytearray(body), kind).reshape(numbers))


def read_images(body: bytes, kind: str, *, shape: str, dtype: str) -> UInt8[Tensor, "n c h w"]:
    """The images in a request.

    Args:
        body: Of the request.
        kind: Its content type.
        shape: The header X-Shape of a raw request.
        dtype: The header X-Dtype of a raw request.

    Raises:
        ShapeError: if the request cannot be read or holds no images.
    """
    if kind == JSON:
        try:
            fields = json.loads(body)
            shape, dtype = ",".join(map(str, fields["shape"])), "uint8"
            body = base64.b64decode(fields["images"], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise ShapeError('a JSON request is {"shape": [n, c, h, w], "images": base64}') from error
    elif kind != RAW:
        raise ShapeError(f"the content type must be {JSON} or {RAW}, got {kind!r}")
    images = read_raw(body, shape, dtype, allowed=["uint8"])
    if images.ndim != 4 or not images.numel():
        raise ShapeError(f"images must have shape (n, c, h, w), none of them 0, got {tuple(images.shape)}")
    return images


def openapi() -> dict[str, Any]:
    """The protocol as an OpenAPI 3.1 document.

    Example:
        >>> sorted(openapi()["paths"])
        ['/openapi.json', '/v1/answers', '/v1/teacher']
    """
    described: dict[str, Any] = {"type": "object", "required": ["classes", "fingerprint", "image", "gives"]}
    described["properties"] = {
        "classes": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "fingerprint": {"type": "string", "description": "changes when the answers can change"},
        "image": {"type": ["array", "null"], "items": {"type": "integer"}, "description": "c, h, w; null: any"},
        "gives": {"enum": ["logits", "probabilities"]},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "A teacher that answers images", "version": "1"},
        "paths": {
            DESCRIPTION: {"get": {"summary": "What the teacher is", "responses": _replies(described)}},
            DOCUMENT: {"get": {"summary": "This document", "responses": _replies({"type": "object"})}},
            ANSWERS: {"post": _asking()},
        },
    }


def _asking() -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    answers = {"type": "object", "required": ["answers"], "properties": {"answers": rows}}
    images = {
        "type": "object",
        "required": ["shape", "images"],
        "properties": {
            "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
            "images": {"type": "string", "contentEncoding": "base64", "description": "uint8, n × c × h × w"},
        },
    }
    headers = {
        "Idempotency-Key": "the same for the same request: an answer that was made is sent again, not made again",
        "Accept": f"{JSON} or {RAW}; default {JSON}",
        "X-Shape": "n,c,h,w of a raw request; n,k of a raw reply",
        "X-Dtype": "uint8 of a raw request; float16 or float32 of a raw reply",
    }
    replies = _replies(answers)
    replies["200"]["content"][RAW] = {}
    replies["200"]["headers"] = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in (("X-Shape", "n,k"), ("X-Dtype", "float16 or float32"), ("X-Fingerprint", "of the teacher"))
    }
    for code, text in (
        ("400", "cannot be read"),
        ("402", "the budget of the teacher is spent"),
        ("422", "this key came with other images"),
        ("429", "too many requests: wait, Retry-After says how long"),
        ("500", "the teacher failed: ask again"),
    ):
        replies[code] = {"description": text}
    return {
        "summary": "Logits or probabilities, one row an image",
        "parameters": [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": images}, RAW: {}}},
        "responses": replies,
    }


def _replies(schema: dict[str, Any]) -> dict[str, Any]:
    """One good reply in JSON."""
    return {"200": {"description": "it is here", "content": {JSON: {"schema": schema}}}}
