"""A teacher that stays on its server: its soft labels over HTTP, by one of two protocols, cached as far as allowed."""

from kd_deploy.distill.endpoint.check import check_endpoint
from kd_deploy.distill.endpoint.teacher import RemoteAnswers, RemoteTeacher, fingerprint

__all__ = ["RemoteAnswers", "RemoteTeacher", "check_endpoint", "fingerprint"]
