"""A real Prometheus, with a folder and a port of its own."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from harness.net import HOST, free_port, wait_for


class Prometheus:
    """Scrapes the ports TARGETS every SECONDS, under RULES (a file)."""

    def __init__(self, targets, seconds=1, rules=None):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="kvproxy-t-")
        conf = os.path.join(self.folder, "prometheus.yml")
        with open(conf, "w") as f:
            json.dump({
                "global": {"scrape_interval": "%ds" % seconds,
                           "scrape_timeout": "%ds" % seconds,
                           "evaluation_interval": "%ds" % seconds},
                "rule_files": [rules] if rules else [],
                "scrape_configs": [{
                    "job_name": "kvproxy",
                    "static_configs": [{"targets": [
                        "%s:%d" % (HOST, port) for port in targets]}]}],
            }, f)
        self.log = open(os.path.join(self.folder, "log"), "w")
        self.proc = subprocess.Popen(
            ["/usr/bin/prometheus", "--config.file=" + conf,
             "--storage.tsdb.path=" + os.path.join(self.folder, "data"),
             "--web.listen-address=%s:%d" % (HOST, self.port)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def said(self):
        with open(self.log.name) as f:
            return f.read()

    def ask(self, path, **args):
        url = "http://%s:%d/api/v1/%s?%s" % (HOST, self.port, path,
                                            urllib.parse.urlencode(args))
        with urllib.request.urlopen(url, timeout=20) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression):
        """The result of EXPRESSION now: a list of series."""
        return self.ask("query", query=expression)["result"]

    def is_ready(self):
        assert self.proc.poll() is None, self.said()
        try:
            urllib.request.urlopen("http://%s:%d/-/ready" % (
                HOST, self.port), timeout=20).close()
        except urllib.error.URLError:
            return False
        return True

    def __enter__(self):
        try:
            wait_for(self.is_ready, 30, "prometheus")
            wait_for(lambda: [s["value"][1] for s in self.query("up")] ==
                     ["1"], 20, "a first scrape")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.proc.terminate()
        self.proc.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
