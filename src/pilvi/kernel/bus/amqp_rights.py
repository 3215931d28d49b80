"""What a RabbitMQ server must let the agent of a host do; for its operator, as a document of definitions or for rabbitmqctl."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from pilvi.kernel.bus.names import AgentTopics, agent_user, root, token


class Rights(msgspec.Struct, frozen=True):
    """Regular expressions over names of queues and exchanges, and over routing keys of the bus's exchange."""

    configure: str
    write: str
    read: str
    topic_write: str
    topic_read: str


def rights(host: str, topics: AgentTopics, prefix: str = "") -> Rights:
    """The agent of a host has queues of its own, speaks to some topics, answers, and hears what is meant for its host."""
    exchange = re.escape(root(prefix))
    own = rf"{exchange}\.host\.{re.escape(token(host))}\..*"
    call, serve = ("|".join(re.escape(token(topic)) for topic in some) or "-" for some in (topics.call, topics.serve))
    me = re.escape(token(host))
    return Rights(
        configure=f"^{own}$",
        write=f"^({exchange}|{own})$",
        read=f"^({exchange}|{own})$",
        topic_write=rf"^(to\.({call})\.(any|host\.[^.]+)|reply\..+)$",
        topic_read=rf"^(to\.[^.]+\.host\.{me}|to\.({serve})\.all|reply\.{me}\..+)$",
    )


def definitions(
    passwords: Mapping[str, str], control: Mapping[str, str], topics: AgentTopics, *, vhost: str = "/", prefix: str = ""
) -> dict[str, Any]:
    """RabbitMQ's document of definitions (`rabbitmqctl import_definitions FILE`) for the agents of hosts and for the control plane.

    `passwords` by host, `control` by user.  Only hashes of passwords stand in it.
    """
    users = {agent_user(host): password for host, password in passwords.items()} | dict(control)
    permissions = [{"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"} for user in control]
    topic_permissions = []
    for host in passwords:
        has = rights(host, topics, prefix)
        who = {"user": agent_user(host), "vhost": vhost}
        permissions.append(who | {"configure": has.configure, "write": has.write, "read": has.read})
        topic_permissions.append(who | {"exchange": root(prefix), "write": has.topic_write, "read": has.topic_read})
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            {"name": user, "password_hash": _hash(password), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
            for user, password in users.items()
        ],
        "permissions": permissions,
        "topic_permissions": topic_permissions,
        "exchanges": [
            {"name": root(prefix), "vhost": vhost, "type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
        ],
    }


def _hash(password: str) -> str:
    """RabbitMQ's: four bytes of salt, then SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
