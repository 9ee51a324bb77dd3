"""Work for `poolwise.study.processes` to hand out: a module of its own, since processes import what they are to do."""

from __future__ import annotations

import os
import signal
import time


def square(job, shared, tick):
    tick(0.5)
    return job * job + shared


def odd_ones_fail(job, shared, tick):
    if job % 2:
        raise ValueError(f"{job} is odd.\n  try an even one")
    return os.getpid()


def three_dies(job, shared, tick):
    if job == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def sleeps(job, shared, tick):
    tick(float(os.getpid()))
    time.sleep(60)
