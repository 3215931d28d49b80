"""Signatures of EC2 and S3 requests: HMAC over a text that both sides make from the request."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from pilvi.kernel.errors import Unauthenticated

_V4 = "AWS4-HMAC-SHA256"


def ec2_fits(secret: str, request: Mapping[str, Any]) -> bool:
    """Whether an EC2 request (`verb`, `host`, `path`, `params`, `headers`, `body_hash`, `signature`) was signed with the secret."""
    params = {str(name): str(value) for name, value in (request.get("params") or {}).items()}
    headers = {str(name).lower(): str(value) for name, value in (request.get("headers") or {}).items()}
    signature = str(request.get("signature") or "")
    if params.get("X-Amz-Algorithm") == _V4 or headers.get("authorization", "").startswith(_V4):
        return _same(_ec2_v4(secret, request, params, headers), signature)
    version = params.get("SignatureVersion", "")
    hosts = [str(request.get("host") or "")]
    if ":" in hosts[0]:  # some clients sign the host without its port
        hosts.append(hosts[0].rpartition(":")[0])
    if version == "0":
        return _same(_b64(secret, params.get("Action", "") + params.get("Timestamp", ""), hashlib.sha1), signature)
    if version == "1":
        text = "".join(name + params[name] for name in sorted(params, key=str.lower) if name != "Signature")
        return _same(_b64(secret, text, hashlib.sha1), signature)
    if version == "2":
        return any(_same(_ec2_v2(secret, request, params, host), signature) for host in hosts)
    return False


def s3_fits(secret: str, token: str, signature: str) -> bool:
    """Whether an S3 request was signed with the secret; `token` is the base64 of the text that is signed."""
    try:
        text = base64.urlsafe_b64decode(token)
    except ValueError:
        return False
    if text.startswith(_V4.encode()):
        lines = text.decode("utf-8", "replace").split("\n")
        if len(lines) < 4:
            return False
        date, region, service = [*lines[2].split("/"), "", "", ""][:3]
        return _same(hmac.new(_v4_key(secret, date, region, service), text, hashlib.sha256).hexdigest(), signature)
    return _same(base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode(), signature)


def refuse_old(request: Mapping[str, Any], now: float, most: float) -> None:
    """Raise Unauthenticated for an EC2 request signed more than `most` seconds ago, or so far ahead, or at no time at all."""
    params, headers = request.get("params") or {}, {str(name).lower(): value for name, value in (request.get("headers") or {}).items()}
    if "Expires" in params and "Timestamp" not in params:
        if _moment(str(params["Expires"])) < now:
            raise Unauthenticated
        return
    text = params.get("Timestamp") or params.get("X-Amz-Date") or headers.get("x-amz-date")
    if not text or abs(_moment(str(text)) - now) > most:
        raise Unauthenticated


def _moment(text: str) -> float:
    for form in ("%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise Unauthenticated


def _same(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace"))


def _b64(secret: str, text: str, algorithm: Any) -> str:
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), algorithm).digest()).decode()


def _ec2_v2(secret: str, request: Mapping[str, Any], params: Mapping[str, str], host: str) -> str:
    query = "&".join(f"{quote(name, safe='-_~')}={quote(params[name], safe='-_~')}" for name in sorted(params) if name != "Signature")
    text = f"{request.get('verb', '')}\n{host}\n{request.get('path', '')}\n{query}"
    algorithm = hashlib.sha1 if params.get("SignatureMethod") == "HmacSHA1" else hashlib.sha256
    return _b64(secret, text, algorithm)


def _v4_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _ec2_v4(secret: str, request: Mapping[str, Any], params: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The signature of version 4, whether it stands in the query or in the Authorization header."""
    given = {}
    for part in headers.get("authorization", "").removeprefix(_V4).split(","):
        name, _, value = part.strip().partition("=")
        given[name] = value
    scope = (params.get("X-Amz-Credential") or given.get("Credential", "")).split("/", 1)[-1]
    signed = params.get("X-Amz-SignedHeaders") or given.get("SignedHeaders", "")
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(params[name], safe='-_.~')}" for name in sorted(params) if name not in ("X-Amz-Signature", "Signature")
    )
    lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";"))
    canonical = f"{request.get('verb', '')}\n{request.get('path', '')}\n{query}\n{lines}\n{signed}\n{request.get('body_hash', '')}"
    date = params.get("X-Amz-Date") or headers.get("x-amz-date", "")
    text = f"{_V4}\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    day, region, service = [*scope.split("/"), "", "", ""][:3]
    return hmac.new(_v4_key(secret, day, region, service), text.encode(), hashlib.sha256).hexdigest()
