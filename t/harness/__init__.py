"""What the system tests share: the daemon, real and fake servers, clients.

Nothing here sleeps to be in step with somebody else: tests wait for a
counter, a line or a descriptor (wait_for), or go once around the worker's
loop (Kvproxy.tick).
"""

from harness.daemon import ASAN, BUILD, SLACK, Kvproxy, cpu_seconds, rss_bytes
from harness.fake import FakeBackend
from harness.load import Load
from harness.meanwhile import Meanwhile
from harness.net import (Client, Closed, free_port, freeze, is_refused, thaw,
                         wait_for)
from harness.prometheus import Prometheus
from harness.relay import Relay
from harness.servers import Blackhole, Memcached, Nutcracker

__all__ = ["ASAN", "BUILD", "SLACK", "Blackhole", "Client", "Closed",
           "FakeBackend", "Kvproxy", "Load", "Meanwhile", "Memcached",
           "Nutcracker", "Prometheus", "Relay", "cpu_seconds", "free_port",
           "freeze", "is_refused", "rss_bytes", "thaw", "wait_for"]
