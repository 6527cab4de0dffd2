"""A simulated RunAPI: the demo, the tests and other people's clients run on it."""

from .app import SeenRequest, Simulator
from .faults import AnswerLost, Fault
from .models import models_of
from .script import Script
from .tasks import Task

__all__ = ["AnswerLost", "Fault", "Script", "SeenRequest", "Simulator", "Task", "models_of"]
