"""Identity's pure functions: token payloads, passwords, signatures, URL templates."""
