"""What goes on beside a test."""

import threading


class Meanwhile:
    """Does `once` again and again, in a thread of its own, as long as the with
    block lasts.  What it fails with is in `wrong`, and it goes on."""

    pause = 0	# seconds between two times

    def __init__(self):
        self.wrong = []
        self.halt = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.halt.wait(self.pause):
            try:
                self.once()
            except Exception as e:
                self.wrong.append(e)
                self.halt.wait(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.halt.set()
        self.thread.join(30)
        assert not self.thread.is_alive(), "it hangs"
