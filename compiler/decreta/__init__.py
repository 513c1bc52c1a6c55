"""decreta: compile specs of objects, relations and policy into builders, tests and a `CompiledExecutionPolicy`."""

__version__ = "0.3.0"
