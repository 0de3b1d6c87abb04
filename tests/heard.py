"""What a run tells the person who waits for it, kept to be looked at."""

from kd_deploy.progress import Silent


class Heard(Silent):
    """Keeps every sentence."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)
