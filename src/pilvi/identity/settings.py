"""What an operator may set of identity."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """Tokens, passwords and the first administrator.  Durations are in seconds unless the name says otherwise."""

    admin_password: str = ""  # of the first administrator; "": a random one, written to <state>/admin-password
    secret: str = ""  # wraps the keys in the database, alike on all nodes; "": made at random in <state>/identity-secret
    token_lifetime: int = 3600
    key_rotation: int = 7 * 86400  # a new token key so often
    expired_window: int = 2 * 86400  # for how long services may still validate an expired token with allow_expired

    # how costly a password's hash is: argon2id
    hash_time_cost: int = 2
    hash_memory_kib: int = 19 * 1024
    hash_parallel: int = 2  # hashes computed at once

    # wrong passwords: after so many the user is locked for a while (0: never)
    lockout_failure_attempts: int = 0
    lockout_duration: int = 1800
    # wrong passwords from one address: from this attempt on, each must wait twice as long as the one before
    free_attempts: int = 5
    longest_delay: int = 60

    # what passwords must be like
    unique_last_password_count: int = 0  # how many of the last ones may not be used again
    minimum_password_age_days: float = 0
    password_expires_days: float = 0  # 0: never
    password_regex: str = ""
    password_regex_description: str = ""
    change_password_upon_first_use: bool = False

    max_project_depth: int = 5  # levels of projects below a domain
    max_trust_redelegation: int = 3
    ec2_clock_skew: int = 900  # how old a signed EC2 or S3 request may be
    list_limit: int = 0  # items in one page of a list; 0: all
