"""Attempts to reach something; each says `reaches`, `refused` or `silent`, and details."""

import os
import socket
import struct
import time

import packets
import services

# How long an attempt that should fail goes on, in seconds.
SILENCE = 1.5
# How long one that should succeed may take on a busy machine.
DEADLINE = 45


def interface():
    """The first interface that is not loopback."""
    return sorted(name for name in os.listdir("/sys/class/net") if name != "lo")[0]


def address_of(name):
    with open(f"/sys/class/net/{name}/address") as file:
        return file.read().strip()


def number(size):
    """A random one of `size` bytes."""
    return int.from_bytes(os.urandom(size), "big")


def attempts(probe):
    """Yields how long each attempt may wait for its answer; at least once, however long this thread had to wait itself:
    one that is never made would look like one that is blocked."""
    hopeful = probe.get("hopeful", False)
    left = DEADLINE if hopeful else SILENCE
    end = time.monotonic() + left
    pause = 0.5
    while left > 0:
        began = time.monotonic()
        yield min(left, pause)
        # An attempt that failed at once is not repeated at once.
        time.sleep(max(0, min(pause, left) - (time.monotonic() - began)))
        left = end - time.monotonic()
        if hopeful:
            pause = min(pause * 1.5, 5)


def payload(probe):
    return probe["nonce"].encode().ljust(probe.get("size", 0), b".")


def bound(probe, kind):
    family = services.family_of(probe["to"])
    made = socket.socket(family, kind)
    if source := probe.get("source"):
        made.bind((source, 0))
    return made


def udp(probe):
    """A datagram and its echo, whole."""
    result, wanted = ("silent", ""), payload(probe)
    with bound(probe, socket.SOCK_DGRAM) as client:
        try:
            client.connect((probe["to"], probe["port"]))
        except OSError as error:
            return "refused", str(error)
        for left in attempts(probe):
            client.settimeout(left)
            try:
                client.send(wanted)
                if client.recv(70000) == wanted:
                    return "reaches", ""
            except TimeoutError:
                pass
            except OSError as error:
                result = "refused", str(error)
    return result


def tcp(probe):
    """A connection that echoes. One that should fail is also tried as a single SYN that carries the nonce."""
    result, wanted = ("silent", ""), payload(probe)
    if not probe.get("hopeful") and services.family_of(probe["to"]) == socket.AF_INET:
        bare_syn(probe)
    for left in attempts(probe):
        with bound(probe, socket.SOCK_STREAM) as client:
            # A new connection for each attempt would start its retransmissions anew.
            client.settimeout(SILENCE if left < SILENCE else left)
            try:
                client.connect((probe["to"], probe["port"]))
                client.sendall(wanted)
                got = b""
                while len(got) < len(wanted) and (data := client.recv(70000)):
                    got += data
                if got == wanted:
                    return "reaches", ""
                result = "refused", f"closed after {len(got)} bytes"
            except TimeoutError:
                pass
            except OSError as error:
                result = "refused", str(error)
        if not probe.get("hopeful"):
            break
    return result


def bare_syn(probe):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect((probe["to"], probe["port"]))
        except OSError:
            return
        source = probe.get("source") or route.getsockname()[0]
    segment = packets.tcp_syn(source, probe["to"], 40000, probe["port"], payload(probe))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            raw.sendto(packets.ipv4(source, probe["to"], 6, segment), (probe["to"], 0))
        except OSError:
            pass


def icmp(probe):
    """An echo request and its reply."""
    wanted = payload(probe)
    result = ("silent", "")
    with bound_raw(probe) as client:
        for left in attempts(probe):
            end = time.monotonic() + left
            try:
                client.sendto(packets.echo_request(wanted, number(2)), (probe["to"], 0))
            except OSError as error:
                result = "refused", str(error)
                continue
            while (rest := end - time.monotonic()) > 0:
                client.settimeout(rest)
                try:
                    packet, origin = client.recvfrom(70000)
                except TimeoutError:
                    break
                body = packet[(packet[0] & 15) * 4 :]
                if body[0] == 0 and origin[0] == probe["to"] and wanted in body:
                    return "reaches", ""
    return result


def bound_raw(probe):
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    if source := probe.get("source"):
        client.bind((source, 0))
    return client


def icmp6(probe):
    """The same over IPv6."""
    wanted, result = payload(probe), ("silent", "")
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as client:
        for left in attempts(probe):
            end = time.monotonic() + left
            try:
                client.sendto(struct.pack("!BBHHH", 128, 0, 0, 7, 1) + wanted, (probe["to"], 0))
            except OSError as error:
                result = "refused", str(error)
                continue
            while (rest := end - time.monotonic()) > 0:
                client.settimeout(rest)
                try:
                    packet = client.recv(70000)
                except TimeoutError:
                    break
                if packet[0] == 129 and wanted in packet:
                    return "reaches", ""
    return result


def dns(probe):
    """A question about an address (or, with `pointer`, a name); `reaches` is an answer that has one."""
    name, kind = probe["name"], 12 if probe.get("pointer") else 1
    code = None
    for left in attempts(probe):
        ident = number(2)
        query = packets.dns_query(ident, name, kind)
        try:
            message = ask(probe, query, ident, left)
        except TimeoutError:
            continue
        except (OSError, struct.error) as error:
            code = str(error)
            continue
        code, addresses, names = packets.dns_answer(message)
        if addresses or names:
            return "reaches", " ".join(sorted(addresses + names))
        if probe.get("hopeful"):
            continue
    return ("silent", "") if code is None else ("refused", str(code))


def ask(probe, query, ident, left):
    to = (probe["to"], probe.get("port", 53))
    if probe.get("tcp"):
        with socket.create_connection(to, timeout=left) as client:
            client.sendall(struct.pack("!H", len(query)) + query)
            stream = client.makefile("rb")
            return stream.read(struct.unpack("!H", stream.read(2))[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(to)
        client.settimeout(left)
        client.send(query)
        while True:
            message = client.recv(70000)
            if message[:2] == struct.pack("!H", ident):
                return message


def dhcp(probe):
    """A DHCPDISCOVER, sent as a frame: `reaches` is an offer; its details are what it says."""
    name = probe.get("interface") or interface()
    own, xid = probe.get("mac") or address_of(name), number(4)
    message = packets.dhcp(1, xid, own, 1, options=[(60, probe["nonce"].encode()), (55, bytes([1, 3, 6, 15, 26]))])
    packet = packets.ipv4("0.0.0.0", "255.255.255.255", 17, packets.udp("0.0.0.0", "255.255.255.255", 68, 67, message))
    frame = packets.ethernet(own, packets.BROADCAST, 0x0800, packet)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as client:
        client.bind((name, 0))
        for left in attempts(probe):
            client.send(frame)
            end = time.monotonic() + left
            while (rest := end - time.monotonic()) > 0:
                client.settimeout(rest)
                try:
                    got, origin = client.recvfrom(70000)
                except TimeoutError:
                    break
                if origin[2] == services.PACKET_OUTGOING or got[23] != 17 or got[34:38] != b"\0\x43\0\x44":
                    continue
                body = got[42:]
                options = packets.dhcp_options(body)
                if options and body[4:8] == struct.pack("!I", xid) and options.get(53) == b"\x02":
                    return "reaches", offer(body, options)
    return "silent", ""


def offer(body, options):
    def addresses(number):
        value = options.get(number, b"")
        return [socket.inet_ntoa(value[at : at + 4]) for at in range(0, len(value), 4)]

    return {
        "address": socket.inet_ntoa(body[16:20]),
        "mask": addresses(1),
        "router": addresses(3),
        "dns": addresses(6),
        "domain": options.get(15, b"").rstrip(b"\0").decode(),
        "mtu": int.from_bytes(options.get(26, b""), "big"),
        "server": addresses(54),
    }


def frames(probe):
    """Frames by hand; whether an answer comes back is seen by the sniffer."""
    name = interface()
    own = address_of(name)
    built = list(build(probe, own))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as client:
        client.bind((name, 0))
        for left in attempts(probe):
            for frame in built:
                client.send(frame)
            end = time.monotonic() + left
            while time.monotonic() < end:
                if services.RECORD.has(probe["nonce"], "frame"):
                    return "reaches", ""
                time.sleep(0.02)
    return "silent", ""


def build(probe, own):
    source_mac, target_mac = probe.get("source_mac", own), probe.get("target_mac", packets.BROADCAST)
    source, target, port = probe.get("source"), probe["to"], probe.get("port", 7)
    data, kind = payload(probe), probe["frame"]
    if kind in ("udp", "tcp", "icmp", "fragmented"):
        if kind == "tcp":
            number, body = 6, packets.tcp_syn(source, target, 40001, port, data)
        elif kind == "icmp":
            number, body = 1, packets.echo_request(data)
        else:
            long = data.ljust(2000, b".") if kind == "fragmented" else data
            number, body = 17, packets.udp(source, target, 40001, port, long)
        if kind == "fragmented":
            parts = packets.fragments(source, target, number, body, 512)
        else:
            parts = [packets.ipv4(source, target, number, body)]
        for part in parts:
            yield packets.ethernet(source_mac, target_mac, 0x0800, part)
    elif kind == "arp":
        # As an answer nobody asked for, and as a question: both are believed by who listens.
        for operation in (2, 1):
            body = packets.arp(operation, source_mac, source, target_mac, target, data)
            yield packets.ethernet(source_mac, target_mac, 0x0806, body)
    elif kind == "rogue-dhcp":
        for message in (2, 5):
            options = [(54, socket.inet_aton(source)), (3, socket.inet_aton(source)), (60, data)]
            body = packets.dhcp(2, 0, own, message, target, source, options)
            packet = packets.ipv4(source, "255.255.255.255", 17, packets.udp(source, "255.255.255.255", 67, 68, body))
            yield packets.ethernet(source_mac, target_mac, 0x0800, packet)
    elif kind == "rogue-ra":
        body = packets.router_advertisement("fe80::1", source_mac, data)
        yield packets.ethernet(source_mac, "33:33:00:00:00:01", 0x86DD, body)
    elif kind == "ipv6":
        body = packets.icmpv6(source, target, 128, struct.pack("!HH", 7, 1) + data)
        yield packets.ethernet(source_mac, target_mac, 0x86DD, body)
    else:
        raise ValueError(f"no frame is called {kind}")


KINDS = {"udp": udp, "tcp": tcp, "icmp": icmp, "icmp6": icmp6, "dns": dns, "dhcp": dhcp, "frames": frames}
