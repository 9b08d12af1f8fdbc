"""What is said in the text protocol."""

FAIL = b"SERVER_ERROR "


def hit(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)


def expect_failure(client, host=None):
    """One SERVER_ERROR line, which names HOST, and no more yet."""
    line = client.recv_line()
    assert line.startswith(FAIL), line
    assert host is None or host.name.encode() in line, line
    return line


def spelled(name):
    """A name as statistics spell it."""
    return name.replace("\\", "\\x5c").replace(" ", "\\x20")
