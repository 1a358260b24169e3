"""How often Python's collector looks for objects that only refer to one another."""

import gc

# Containers made (and not freed) between two looks at the young ones, and looks between two at older ones. Python
# looks after 700, at all of a large cache now and then: a quarter of a commit worker's time.
_THRESHOLDS = (20_000, 20, 20)


def collect_rarely() -> None:
    """Look for circles less often, and never again at what there is now: modules, classes, schemas.

    Almost everything is freed without the collector, as soon as nothing refers to it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
