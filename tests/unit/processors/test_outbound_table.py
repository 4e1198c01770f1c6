"""What may be called on behalf of an event: a table of ways to be led astray, and of ways that are meant."""

from __future__ import annotations

import socket

import pytest
from pydantic import ValidationError

from processors.outbound import AddressRefused, Outbound, OutboundSettings
from processors.outbound_addresses import Reach, address_in, flaw_of, is_own
from processors.outbound_urls import URL_MAX_CHARS

METADATA = "169.254.169.254"

REFUSED = [
    # Not https.
    ("http://hooks.example.com/", "has to begin with https://"),
    ("ftp://hooks.example.com/", "has to begin with https://"),
    ("file:///etc/passwd", "has to begin with https://"),
    ("gopher://hooks.example.com/", "has to begin with https://"),
    ("//hooks.example.com/", "is not a URL"),
    ("hooks.example.com", "is not a URL"),
    ("", "is not a URL"),
    ("javascript:alert(1)", "is not a URL"),
    # Another host than it seems.
    ("https://hooks.example.com@evil.example/", "holds a user name"),
    ("https://user:password@hooks.example.com/", "holds a user name"),
    ("https://@hooks.example.com/", "holds a user name"),
    ("https://hooks.example.com\\@evil.example/", "has a character"),
    ("https://hooks.example.com /", "has a character"),
    ("https://hooks.exa\nmple.com/", "has a character"),
    ("https://hooks.example.com/\r\nHost: evil.example", "has a character"),
    ("https://hooks.example.com/\x00", "has a character"),
    ("https://hооks.example.com/", "has a character"),  # two Cyrillic letters
    ("https://hooks.example.com。evil.example/", "has a character"),
    ("https://hooks.example.com/%zz", "has a character"),
    ("https://hooks.example.com/#@evil.example", "has a fragment"),
    ("https:///path", "has a host that is no name"),
    ("https://hooks..example.com/", "has a host that is no name"),
    ("https://-hooks.example.com/", "has a host that is no name"),
    ("https://%6c%6fcalhost/", "has a host that is no name"),
    ("https://[hooks.example.com]/", "has no host and port"),
    ("https://[::1/", "has no host and port"),
    # Ports.
    ("https://hooks.example.com:22/", "has the port 22, which is not in `ports`"),
    ("https://hooks.example.com:8443/", "has the port 8443, which is not in `ports`"),
    ("https://hooks.example.com:0/", "has a port that is none"),
    ("https://hooks.example.com:65536/", "has a port that is none"),
    ("https://hooks.example.com:443:22/", "has no host and port"),
    # This machine, in every spelling.
    ("https://127.0.0.1/", "is private"),
    ("https://127.8.8.8/", "is private"),
    ("https://127.1/", "is no IPv4 address in its usual form"),
    ("https://2130706433/", "is no IPv4 address in its usual form"),
    ("https://0x7f.1/", "is no IPv4 address in its usual form"),
    ("https://0x7f000001/", "is no IPv4 address in its usual form"),
    ("https://0177.0.0.1/", "is no IPv4 address in its usual form"),
    ("https://①②⑦.⓪.⓪.①/", "has a character"),
    ("https://127。0。0。1/", "has a character"),
    ("https://0.0.0.0/", "is not public"),
    ("https://[::]/", "is not public"),
    ("https://[::1]/", "is private"),
    ("https://[0:0:0:0:0:0:0:1]/", "is private"),
    ("https://[::ffff:127.0.0.1]/", "is private"),
    ("https://[::ffff:7f00:1]/", "is private"),
    ("https://[::127.0.0.1]/", "is not public"),
    # The network around it, and the cloud's own services.
    ("https://10.0.0.1/", "is private"),
    ("https://172.16.0.1/", "is private"),
    ("https://192.168.1.1/", "is private"),
    ("https://100.64.0.1/", "is private"),
    ("https://[fd12:3456::1]/", "is private"),
    (f"https://{METADATA}/metadata/instance", "is a metadata service"),
    ("https://169.254.1.1/", "is not public"),
    ("https://[fe80::1]/", "is not public"),
    ("https://168.63.129.16/", "is Azure's own platform service"),
    ("https://[::ffff:a83f:8110]/", "is Azure's own platform service"),
    ("https://[fd00:ec2::254]/", "is a metadata service"),
    # What is translated into another address, and what is no host's.
    ("https://[64:ff9b::a9fe:a9fe]/", "is not public"),
    ("https://[64:ff9b:1::a9fe:a9fe]/", "is not public"),
    ("https://[2002:a9fe:a9fe::]/", "is translated into another one"),
    ("https://[2001:0:a9fe:a9fe::1]/", "is translated into another one"),
    ("https://192.88.99.1/", "is translated into another one"),
    ("https://[fec0::1]/", "is not public"),
    ("https://224.0.0.1/", "is multicast"),
    ("https://[ff02::1]/", "is multicast"),
    ("https://255.255.255.255/", "is not public"),
    ("https://240.0.0.1/", "is not public"),
    ("https://198.18.0.1/", "is not public"),
    ("https://192.0.2.1/", "is not public"),
    ("https://[2001:db8::1]/", "is not public"),
    ("https://[3fff::1]/", "is for documentation"),
    ("https://[5f00::1]/", "is not public"),
    ("https://hooks.example.com/" + "a" * URL_MAX_CHARS, "is longer than"),
]

TAKEN = [
    ("https://hooks.example.com", "https://hooks.example.com"),
    ("HTTPS://Hooks.Example.COM:443/a/b?c=d&e=%20f", "https://hooks.example.com"),
    ("https://93.184.215.14/", "https://93.184.215.14"),
    ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]"),
    ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
    ("https://my_host-1.example/", "https://my_host-1.example"),
]


def settings(**given) -> OutboundSettings:
    return OutboundSettings(**given)


@pytest.mark.parametrize(("url", "flaw"), REFUSED, ids=[ascii(url)[:60] for url, _ in REFUSED])
def test_a_url_that_leads_astray_is_refused(url, flaw):
    with pytest.raises(ValueError, match=flaw.replace("(", r"\(")) as refusal:
        settings().target(url)
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize(("url", "origin"), TAKEN)
def test_a_url_of_a_public_host_is_taken(url, origin):
    target = settings().target(url)
    assert (target.origin, target.reach) == (origin, Reach.PUBLIC)


@pytest.mark.parametrize(
    "url", ["https://10.1.2.3/", "https://127.0.0.1/", "https://[fd12::1]/", "https://hooks.corp/"]
)
def test_a_private_host_is_called_once_it_is_listed(url):
    hosts = ("10.1.2.3", "127.0.0.1", "[fd12::1]", "Hooks.Corp")
    assert settings(allow_private_hosts=hosts).target(url).reach is Reach.PRIVATE


@pytest.mark.parametrize(
    "host", [METADATA, "168.63.129.16", "224.0.0.1", "[64:ff9b::a9fe:a9fe]", "[fe80::1]", "0.0.0.0"]
)
def test_listing_a_host_does_not_open_the_way_to_the_services_of_the_cloud(host):
    with pytest.raises(ValueError, match="leads to"):
        settings(allow_private_hosts=(host,)).target(f"https://{host}/")


def test_plain_http_is_taken_to_this_machine_alone_and_only_when_allowed():
    allowed = settings(allow_http_loopback=True, allow_private_hosts=("10.0.0.1",))
    assert allowed.target("http://127.0.0.1:8080/").reach is Reach.LOOPBACK
    assert allowed.target("http://localhost:8080/").reach is Reach.LOOPBACK
    for host in ("10.0.0.1", "93.184.215.14", METADATA):
        with pytest.raises(ValueError, match="leads to"):
            allowed.target(f"http://{host}/")


def test_a_port_is_taken_once_it_is_listed():
    assert settings(ports=(443, 8443)).target("https://hooks.example.com:8443/").port == 8443


def test_there_is_no_way_to_switch_the_verification_of_certificates_off():
    with pytest.raises(ValidationError, match="verify"):
        settings(verify=False)


def test_the_machine_knows_its_own_addresses():
    assert is_own(address_in("127.0.0.1"))
    assert not is_own(address_in("93.184.215.14"))


def test_a_public_address_of_this_machine_is_not_called(monkeypatch):
    monkeypatch.setattr("processors.outbound_addresses.is_own", lambda _: True)
    assert "this machine's own" in flaw_of(address_in("93.184.215.14"), Reach.PUBLIC)
    assert flaw_of(address_in("93.184.215.14"), Reach.PRIVATE) is None


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        (["93.184.215.14"], False),
        (["93.184.215.14", "2606:4700:4700::1111"], False),
        (["93.184.215.14", "10.0.0.1"], True),  # one is enough
        (["93.184.215.14", METADATA], True),
        (["2606:4700:4700::1111", "::ffff:10.0.0.1"], True),
        (["fe80::1%eth0"], True),
        (["64:ff9b::a9fe:a9fe"], True),
        (["not an address"], True),
    ],
)
async def test_every_address_of_a_name_is_checked(answers, refused):
    async def resolve(_host, _port):
        return answers

    chosen = settings()
    outbound = Outbound(chosen.target("https://hooks.example.com/"), chosen, resolve)
    if refused:
        with pytest.raises(AddressRefused, match=r"^hooks\.example\.com has the address .*, which "):
            await outbound._addresses("hooks.example.com", 443)
    else:
        assert await outbound._addresses("hooks.example.com", 443) == answers


def test_no_socket_is_made_for_an_address_that_was_not_resolved_here():
    chosen = settings()
    outbound = Outbound(chosen.target("https://hooks.example.com/"), chosen)
    for address in (("127.0.0.1", 443), ("::1", 443, 0, 0)):
        with pytest.raises(AddressRefused):
            outbound._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", address))
