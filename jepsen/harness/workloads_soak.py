"""All of it at once."""

from .workloads import WORKLOADS, Workload, workload

PARTS = ("mutex", "queue", "retry", "rw", "many", "try", "timeouts", "conn", "semaphore", "upgrade", "lock-set",
         "fenced-set", "churn")


@workload
class Soak(Workload):
    """Every client is one of another workload."""
    name = "soak"
    clients = 52

    def __new__(cls, world, number):
        parts = [p for p in PARTS if WORKLOADS[p].library_can or world.library is None]
        kind = WORKLOADS[parts[number % len(parts)]]
        return kind(world, number)
