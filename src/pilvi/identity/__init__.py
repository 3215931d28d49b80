"""Identity: who may do what where; users, projects, roles, tokens and the catalog."""

from pilvi.identity.door import authenticate, endpoint, login_of, names, project_exists, service_token

__all__ = ["authenticate", "endpoint", "login_of", "names", "project_exists", "service_token"]
