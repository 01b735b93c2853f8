"""Frames and packets by hand, for what no kernel would send."""

import socket
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES = "ff02::1"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source, target, kind, payload):
    # The shortest frame has 60 bytes without its check sequence.
    return (mac(target) + mac(source) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def arp(operation, sender_mac, sender, target_mac, target, tail):
    """RFC 826; `tail` is carried behind it, where receivers expect padding."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + mac(sender_mac) + socket.inet_aton(sender) + mac(target_mac) + socket.inet_aton(target) + tail


def ipv4(source, target, protocol, payload, ident=1, fragment=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def fragments(source, target, protocol, payload, size):
    """The packet in fragments of `size` bytes of payload, a multiple of 8."""
    more = 0x2000
    for at in range(0, len(payload), size):
        last = at + size >= len(payload)
        yield ipv4(source, target, protocol, payload[at : at + size], 4711, (0 if last else more) | at // 8)


def pseudo(source, target, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, protocol, length)


def udp(source, target, source_port, port, payload):
    head = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0)
    total = checksum(pseudo(source, target, 17, len(head) + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + payload


def tcp_syn(source, target, source_port, port, payload):
    """A SYN with data, which a receiver may ignore but a sniffer sees."""
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    total = checksum(pseudo(source, target, 6, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack("!HH", total, 0) + payload


def echo_request(payload, ident=7, sequence=1):
    head = struct.pack("!BBHHH", 8, 0, 0, ident, sequence)
    return head[:2] + struct.pack("!H", checksum(head + payload)) + head[4:] + payload


def ipv6(source, target, following, payload, hops=255):
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, hops)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + payload


def icmpv6(source, target, kind, body):
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    message = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(ends + struct.pack("!II", len(message), 58) + message)
    return ipv6(source, target, 58, message[:2] + struct.pack("!H", total) + body)


def router_advertisement(source, source_mac, nonce):
    """RFC 4861: a router for 1800 s, its link-layer address, and the nonce as an option nobody knows."""
    option = struct.pack("!BB", 253, (2 + len(nonce) + 7) // 8) + nonce
    option = option.ljust(option[1] * 8, b"\0")
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + b"\x01\x01" + mac(source_mac) + option
    return icmpv6(source, ALL_NODES, 134, body)


DHCP_COOKIE = b"\x63\x82\x53\x63"


def dhcp(operation, xid, client_mac, kind, yours="0.0.0.0", server="0.0.0.0", options=()):
    """RFC 2131; `kind` is option 53, the others are pairs of number and bytes."""
    head = struct.pack("!BBBBIHH", operation, 1, 6, 0, xid, 0, 0x8000)
    head += socket.inet_aton("0.0.0.0") + socket.inet_aton(yours) + socket.inet_aton(server) + bytes(4)
    head += mac(client_mac).ljust(16, b"\0") + bytes(64) + bytes(128) + DHCP_COOKIE
    for number, value in [(53, bytes([kind])), *options]:
        head += bytes([number, len(value)]) + value
    return (head + b"\xff").ljust(300, b"\0")


def dhcp_options(message):
    """The options of a DHCP message as a dictionary; None if it is no such message."""
    if len(message) < 240 or message[236:240] != DHCP_COOKIE:
        return None
    options, at = {}, 240
    while at < len(message) and message[at] != 255:
        if message[at] == 0:
            at += 1
            continue
        length = message[at + 1]
        options[message[at]] = message[at + 2 : at + 2 + length]
        at += 2 + length
    return options


def dns_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def dns_query(ident, name, kind=1):
    """RFC 1035: a recursive question."""
    return struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + dns_name(name) + struct.pack("!HH", kind, 1)


def dns_skip(message, at):
    """Where the name at `at` ends."""
    while True:
        length = message[at]
        if length == 0:
            return at + 1
        if length >= 192:
            return at + 2
        at += 1 + length


def dns_read(message, at):
    """The name at `at`."""
    labels = []
    for _ in range(128):
        length = message[at]
        if length == 0:
            break
        if length >= 192:
            at = struct.unpack("!H", message[at : at + 2])[0] & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + length].decode(errors="replace"))
        at += 1 + length
    return ".".join(labels)


def dns_answer(message):
    """Response code, addresses (A) and names (PTR) of an answer."""
    code = message[3] & 15
    questions, answers = struct.unpack("!HH", message[4:8])
    at = 12
    for _ in range(questions):
        at = dns_skip(message, at) + 4
    addresses, names = [], []
    for _ in range(answers):
        at = dns_skip(message, at)
        kind, _, _, length = struct.unpack("!HHIH", message[at : at + 10])
        at += 10
        if kind == 1:
            addresses.append(socket.inet_ntoa(message[at : at + 4]))
        elif kind == 12:
            names.append(dns_read(message, at))
        at += length
    return code, addresses, names
