"""Celery's configuration: queues, routes, the beat, and how long things may take.

Celery carries hints, never truth: a message says that there is work and not what, so losing one, getting one twice,
or a doubled tick costs time at most. What follows is chosen so that a hint arrives soon, a stuck worker comes loose,
and nothing waits or grows without a bound. Everything that a deployment may choose comes from `storage.base.settings`.
"""

from __future__ import annotations

from kombu import Exchange, Queue

from storage.base import settings as _settings

_chosen = _settings.load()

# --- the broker -------------------------------------------------------------------------------------------------------
broker_url = _chosen.broker
broker_connection_timeout = 5.0
# A broker that is down when a worker starts, or goes away later, is waited for, for ever: Redis may be restarted,
# flushed or failed over, and the workers, beat and Flower have to come back without anyone's help.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Nor does a node end when its broker answers and refuses: Redis may be full, busy, or unable to write to its disk.
broker_channel_error_retry = True

# Limits of one task run, in seconds. A commit or merge batch is bounded by count and bytes and takes seconds; at the
# soft limit it gives back what it claimed. Upkeep may load the whole view from the log, and a compaction copy an
# entry of large files, which takes longer.
_BATCH_SOFT, _BATCH_HARD = 240, 300
_UPKEEP_SOFT, _UPKEEP_HARD = 1740, 1800

broker_transport_options = {
    # One Redis serves several repositories, and the view beside the messages, without mixing them up.
    "global_keyprefix": f"{_chosen.repository}:celery:",
    # A message is acknowledged after its run, and one more may be prefetched behind it. Giving one to somebody else
    # while its first reader still works would be harmless but wasteful, so two of the longest runs fit in.
    "visibility_timeout": 2 * _UPKEEP_HARD + 300,
    # Without these a connection that died silently (failover, NAT) leaves a worker alive and deaf (celery#10205).
    "socket_connect_timeout": 5.0,
    # A few of these fit into a request's budget: the API sends hints while it answers.
    "socket_timeout": min(5.0, _chosen.redis_timeout),
    "socket_keepalive": True,
    "health_check_interval": 10,
    # No retry_on_timeout: with it redis-py takes up a subscription anew inside a read that has no time-out, and the
    # node's loop waits there for ever: alive, and deaf to every queue.
    # No priorities: one list for each queue instead of four.
    "priority_steps": [0],
}

# The API answers 202 whether or not its hint could be sent (upkeep finds what is queued), so it does not wait long.
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.4}

# --- what is carried --------------------------------------------------------------------------------------------------
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
event_serializer = "json"
# Outcomes stand in the log; nothing reads results.
result_backend = None
task_ignore_result = True

# --- queues and routes ------------------------------------------------------------------------------------------------
# The nameless exchange needs no table of bindings in Redis, which a FLUSHALL would take away for good:
# producers declare once for each connection.
_QUEUES = ("commits", "merges", "upkeep", "webhooks", "mirrors")
task_queues = [Queue(name, Exchange(""), routing_key=name) for name in _QUEUES]
task_default_queue = "commits"
# A misspelt queue is an error where it is used, instead of a list in Redis that nobody reads.
task_create_missing_queues = False
task_routes = {
    "sluice.commit": {"queue": "commits"},
    "sluice.merge": {"queue": "merges"},
    "sluice.upkeep": {"queue": "upkeep"},
    "sluice.compact": {"queue": "upkeep"},
    # Of its own: a receiver that is slow must not hold up what lands.
    "sluice.webhooks": {"queue": "webhooks"},
    "sluice.deliver": {"queue": "webhooks"},
    # The same for servers of mirrors.
    "sluice.mirrors": {"queue": "mirrors"},
    "sluice.mirror": {"queue": "mirrors"},
}

# --- running ----------------------------------------------------------------------------------------------------------
# Acknowledged after the run, so that a worker's death leaves the message; runs are idempotent.
task_acks_late = True
task_reject_on_worker_lost = True
# The least that Redis allows: a prefetched hint is one that a free worker does not see.
worker_prefetch_multiplier = 1
task_soft_time_limit = _BATCH_SOFT
task_time_limit = _BATCH_HARD
_LONG = {"soft_time_limit": _UPKEEP_SOFT, "time_limit": _UPKEEP_HARD}
task_annotations = {"sluice.upkeep": _LONG, "sluice.compact": _LONG}
# Killing a run because the broker went away saves nothing: what it does is guarded by the log, not by its message.
worker_cancel_long_running_tasks_on_connection_loss = False
# On a busy machine a new child may need more than the four seconds after which Celery would start another.
worker_proc_alive_timeout = 60.0
# Everything that a node prints becomes JSON lines without Celery's help (storage/base/log_streams.py).
worker_redirect_stdouts = False
# KiB. A child that grew beyond its caches is replaced after its run.
worker_max_memory_per_child = (2 * _chosen.cache_bytes + (1 << 30)) >> 10

# --- events, for Flower -----------------------------------------------------------------------------------------------
worker_send_task_events = True
task_send_sent_event = True

# --- the beat ---------------------------------------------------------------------------------------------------------
# Kept in memory: every tick is a few seconds from the last, so there is nothing to remember, and no file to break.
beat_scheduler = "tasks.node.heartbeat:Scheduler"
# It says that it is at work each time it looks what is due.
beat_max_loop_interval = 1


def _tick(task: str, seconds: float) -> dict[str, object]:
    """A scheduled task; a tick that nobody took within two intervals is dropped, so that ticks do not pile up."""
    return {
        "task": task,
        "schedule": seconds,
        "kwargs": {"reason": "tick"},
        "options": {"expires": max(2 * seconds, 10.0)},
    }


beat_schedule = {
    "merge": _tick("sluice.merge", _chosen.merge_interval),
    "upkeep": _tick("sluice.upkeep", _chosen.upkeep_interval),
    "compact": _tick("sluice.compact", _chosen.upkeep_interval),
}
if _chosen.webhook_key:
    beat_schedule["webhooks"] = _tick("sluice.webhooks", _chosen.webhook_interval)
if _chosen.mirror_folder:
    beat_schedule["mirrors"] = _tick("sluice.mirrors", _chosen.mirror_look)
