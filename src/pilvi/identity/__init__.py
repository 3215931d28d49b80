"""Identity: who may do what where; users, projects, roles, tokens and the catalog."""

from pilvi.identity.door import agents_token, authenticate, endpoint, login_of, names, project_exists

__all__ = ["agents_token", "authenticate", "endpoint", "login_of", "names", "project_exists"]
