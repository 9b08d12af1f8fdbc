"""The binary protocol: requests are built, responses are taken apart."""

import collections
import struct

HEADER = struct.Struct(">BBHBBHIIQ")
REQUEST, RESPONSE = 0x80, 0x81

OPCODES = {
    "get": 0x00, "set": 0x01, "add": 0x02, "replace": 0x03, "delete": 0x04,
    "incr": 0x05, "decr": 0x06, "quit": 0x07, "flush": 0x08, "getq": 0x09,
    "noop": 0x0a, "version": 0x0b, "getk": 0x0c, "getkq": 0x0d,
    "append": 0x0e, "prepend": 0x0f, "stat": 0x10, "setq": 0x11,
    "addq": 0x12, "replaceq": 0x13, "deleteq": 0x14, "incrq": 0x15,
    "decrq": 0x16, "quitq": 0x17, "flushq": 0x18, "appendq": 0x19,
    "prependq": 0x1a, "verbosity": 0x1b, "touch": 0x1c, "gat": 0x1d,
    "gatq": 0x1e, "sasl_list": 0x20, "sasl_auth": 0x21, "sasl_step": 0x22,
    "gatk": 0x23, "gatkq": 0x24,
}
NEVER = 0xffffffff	# the time to live with which incr creates nothing


def request(op, key=b"", value=b"", extras=b"", cas=0, opaque=0,
            keylen=None, extlen=None, bodylen=None, magic=REQUEST):
    """One request.  OP is a name or a number; the lengths are right where
    they are not given."""
    body = extras + key + value
    return HEADER.pack(
        magic, OPCODES.get(op, op), len(key) if keylen is None else keylen,
        len(extras) if extlen is None else extlen, 0, 0,
        len(body) if bodylen is None else bodylen, opaque, cas) + body


def store(op, key, value, flags=0, exptime=0, **kwargs):
    """set, add, replace and their quiet forms."""
    return request(op, key, value, struct.pack(">II", flags, exptime),
                   **kwargs)


def count(op, key, delta=1, initial=0, exptime=0, **kwargs):
    """incr, decr and their quiet forms."""
    return request(op, key, b"", struct.pack(">QQI", delta, initial, exptime),
                   **kwargs)


def touch(op, key, exptime, **kwargs):
    """touch, gat and their forms; flush with a delay where KEY is empty."""
    return request(op, key, b"", struct.pack(">I", exptime), **kwargs)


Response = collections.namedtuple(
    "Response", "magic op status opaque cas extras key value datatype")


def parse(data):
    """The responses of DATA, and the bytes of one that is not whole or that
    is none."""
    found, at = [], 0
    while len(data) - at >= HEADER.size:
        magic, op, keylen, extlen, datatype, status, bodylen, opaque, cas = \
            HEADER.unpack_from(data, at)
        end = at + HEADER.size + bodylen
        if magic != RESPONSE or end > len(data) or keylen + extlen > bodylen:
            break
        body = data[at + HEADER.size:end]
        found.append(Response(magic, op, status, opaque, cas, body[:extlen],
                              body[extlen:extlen + keylen],
                              body[extlen + keylen:], datatype))
        at = end
    return found, data[at:]


def recv(client):
    """The next response that CLIENT gets."""
    head = client.recv_exactly(HEADER.size)
    bodylen = HEADER.unpack(head)[6]
    found, rest = parse(head + client.recv_exactly(bodylen))
    assert not rest, rest
    return found[0]
