"""The table of injections: what hostile events say, where, and what exactly must become of it."""

from __future__ import annotations

from harness.injections import Case

CRLF = "a\r\nBcc: evil@evil.example"
WORD_Q = "=?utf-8?q?a=0D=0ABcc:_evil@evil.example?="
WORD_B = "=?utf-8?b?YQ0KQmNjOiBldmls?="
PYTHON = "{__class__.__mro__}"
SLOT = "{data.secret}"
OTHERS = "${HOME} {{7*7}} %(x)s %n"
URL = "https://169.254.169.254/latest"
DOTS = "../../etc/passwd"
BACKSLASHES = "..\\..\\windows"
ENCODED = "%2e%2e%2fadmin"
QUERY = "x?y=1&z=2#f"
SQL = '";DROP TABLE x;--'
SHELL = "$(reboot) `reboot` | sh"
SCRIPT = "<script>alert(1)</script>"
QUOTED = '"><img src=x onerror=alert(1)>'
JSON = '","admin":true,"x":"'
TURNED = "a\u202eb"
UNSEEN = "fra\u200bud"
CYRILLIC = "fr\u0430ud"
WIDE = "\uff46raud"
NUL = "a\x00b"
ESCAPE = "a\x1b[2Jb"
TITLE = "a\x1b]0;title\x07"
MARKUP = "[red]a[/red] [link=https://evil.example]b[/link]"
LINES = "a\u2028b\u0085c"
FORGED = "x\n2026-01-01T00:00:00Z [error] forged"
SECRET = "Bearer abcdefghijklmnop whsec_abcdef"
HALF = "a\ud800b"
LONG = "x" * 900_000
TOO_LONG = "x" * 1_100_000

SAME = None
"""The text arrives as it is, as one text: it was never anything else."""
_NO_URL = "refused: A value from the event cannot be part of a URL: it is empty, dots, or not printable."
_NO_SLASH = "refused: a value from the event has a slash, which cannot be part of a path"
_NO_NAME = "refused: The model's name in the event is no name that Azure ML gives."
_NO_NUMBER = "refused: The model's version in the event is no whole number, and others cannot be compared."
_NO_MONITOR = "refused: The dataset monitor's name in the event is no name that Azure ML gives."
_NO_HALF = "refused: no event (lone_surrogate)"
_NO_SPACE = "refused: no event (too_large)"
_ONLINE_NAMES = "3 to 32 letters, digits and -, a letter first, no - at the end"
_ALONE = "left alone"
_TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/"

_IN_JSON = dict.fromkeys(
    (CRLF, WORD_Q, PYTHON, OTHERS, DOTS, SQL, SCRIPT, JSON, TURNED, NUL, ESCAPE, LINES, FORGED, SECRET, LONG),
    SAME,
) | {HALF: _NO_HALF, TOO_LONG: _NO_SPACE}

_TABLE: dict[str, dict[str, str | None]] = {
    # A webhook whose URL has a slot.
    "path": {
        "fraud-1": "/models/fraud-1",
        "..": _NO_URL,
        ".": _NO_URL,
        "": _NO_URL,
        DOTS: _NO_SLASH,
        BACKSLASHES: _NO_SLASH,
        URL: _NO_SLASH,
        ENCODED: "/models/%252e%252e%252fadmin",
        QUERY: "/models/x%3Fy%3D1%26z%3D2%23f",
        CRLF: _NO_URL,
        NUL: _NO_URL,
        TURNED: _NO_URL,
        PYTHON: "/models/%7B__class__.__mro__%7D",
        SLOT: "/models/%7Bdata.secret%7D",
        OTHERS: "/models/%24%7BHOME%7D%20%7B%7B7%2A7%7D%7D%20%25%28x%29s%20%25n",
        CYRILLIC: "/models/fr%D0%B0ud",
        LONG: _NO_URL,
        HALF: _NO_HALF,
    },
    "query": {
        DOTS: "/models?of=..%2F..%2Fetc%2Fpasswd",
        URL: "/models?of=https%3A%2F%2F169.254.169.254%2Flatest",
        QUERY: "/models?of=x%3Fy%3D1%26z%3D2%23f",
        ENCODED: "/models?of=%252e%252e%252fadmin",
        SQL: "/models?of=%22%3BDROP%20TABLE%20x%3B--",
        SCRIPT: "/models?of=%3Cscript%3Ealert%281%29%3C%2Fscript%3E",
        CRLF: _NO_URL,
        FORGED: _NO_URL,
        SLOT: "/models?of=%7Bdata.secret%7D",
    },
    # A webhook that carries attributes as headers.
    "header": {
        CRLF: "a%0D%0ABcc:%20evil@evil.example",
        FORGED: "x%0A2026-01-01T00:00:00Z%20[error]%20forged",
        NUL: "a%00b",
        ESCAPE: "a%1B[2Jb",
        LINES: "a%E2%80%A8b%C2%85c",
        TURNED: "a%E2%80%AEb",
        QUOTED: "%22><img%20src=x%20onerror=alert(1)>",
        ENCODED: "%252e%252e%252fadmin",
        WORD_Q: SAME,
        PYTHON: SAME,
        CYRILLIC: "fr%D0%B0ud",
        LONG: "refused: the attributes of the event take more than 16384 bytes as headers",
        HALF: _NO_HALF,
    },
    # What goes out as JSON: the text of a value cannot become a member, a line or a header.
    "body": _IN_JSON,
    "original": _IN_JSON,
    "function": _IN_JSON,
    "archive": _IN_JSON,
    # Its subject goes as a property too, which is too much for one message.
    "forward": {**_IN_JSON, LONG: "refused: too large for hub forwarded: 900337 bytes"},
    "console json": _IN_JSON,
    # What people read on a terminal and in files.
    "console": {
        CRLF: "a\\x0d\\x0aBcc: evil@evil.example",
        FORGED: "x\\x0a2026-01-01T00:00:00Z [error] forged",
        ESCAPE: "a\\x1b[2Jb",
        NUL: "a\\x00b",
        LINES: "a\\u2028b\\x85c",
        TURNED: "a\\u202eb",
        UNSEEN: "fra\\u200bud",
        OTHERS: SAME,
        LONG: SAME,
        HALF: _NO_HALF,
    },
    "dlq list": {
        CRLF: "a\\x0d\\x0aBcc: evil@evil.example",
        ESCAPE: "a\\x1b[2Jb",
        TITLE: "a\\x1b]0;title\\x07",
        NUL: "a\\x00b",
        LINES: "a\\u2028b\\x85c",
        TURNED: "a\\u202eb",
        MARKUP: SAME,
        SECRET: "Bearer [redacted] [redacted]",
    },
    "log": {
        CRLF: "a\\x0d\\x0aBcc: evil@evil.example",
        FORGED: "x\\x0a2026-01-01T00:00:00Z [error] forged",
        ESCAPE: "a\\x1b[2Jb",
        NUL: "a\\x00b",
        LINES: "a\\u2028b\\x85c",
        TURNED: "a\\u202eb",
        UNSEEN: "fra\\u200bud",
        SECRET: "Bearer [redacted] [redacted]",
        OTHERS: SAME,
        LONG: f"{'x' * 7_982} [884018 characters left out] {'x' * 8_000}",
    },
    "log json": {
        FORGED: "x\\x0a2026-01-01T00:00:00Z [error] forged",
        ESCAPE: "a\\x1b[2Jb",
        LINES: "a\\u2028b\\x85c",
        JSON: SAME,
        SECRET: "Bearer [redacted] [redacted]",
        OTHERS: SAME,
    },
    # Mails.
    "mail subject": {
        CRLF: "a Bcc: evil@evil.example",
        WORD_Q: "a Bcc: evil@evil.example",
        WORD_B: "a Bcc: evil",
        LINES: "a b c",
        NUL: "ab",
        TURNED: "ab",
        UNSEEN: "fraud",
        PYTHON: SAME,
        SLOT: SAME,
        OTHERS: SAME,
        LONG: "x" * 199 + "…",
        HALF: _NO_HALF,
    },
    "mail text": {
        CRLF: "a Bcc: evil@evil.example",
        FORGED: "x 2026-01-01T00:00:00Z [error] forged",
        LINES: "a b c",
        ESCAPE: "a[2Jb",
        TURNED: "ab",
        PYTHON: SAME,
        SLOT: SAME,
        OTHERS: SAME,
        LONG: "x" * 999 + "…",
    },
    "mail html": {
        SCRIPT: '<a title="&lt;script&gt;alert(1)&lt;/script&gt;">x</a>',
        QUOTED: '<a title="&quot;&gt;&lt;img src=x onerror=alert(1)&gt;">x</a>',
        QUERY: '<a title="x?y=1&amp;z=2#f">x</a>',
        JSON: '<a title="&quot;,&quot;admin&quot;:true,&quot;x&quot;:&quot;">x</a>',
        CRLF: '<a title="a Bcc: evil@evil.example">x</a>',
        TURNED: '<a title="ab">x</a>',
        SLOT: '<a title="{data.secret}">x</a>',
    },
    # What acts at Azure.
    "deploy name": {
        "fraud-1": "done: shop/fraud-1 fraud-1:3",
        **dict.fromkeys(
            (DOTS, BACKSLASHES, ENCODED, "..", "a/../b", "", URL, QUERY, SQL, SHELL, SCRIPT, CRLF, NUL),
            _NO_NAME,
        ),
        **dict.fromkeys((TURNED, UNSEEN, CYRILLIC, WIDE, PYTHON, SLOT, OTHERS, LONG), _NO_NAME),
        "a": f"refused: {{model}} would become a name that Azure ML does not take ({_ONLINE_NAMES}).",
        HALF: _NO_HALF,
    },
    "deploy version": dict.fromkeys(
        ("-1", "0x7", "1e3", "3.0", " 3", "3\n", "٣", "③", "", "../1", "1;2", "9" * 100, PYTHON, LONG),
        _NO_NUMBER,
    ),
    "deploy topic": {
        f"{_TOPIC}w": "done: shop/fraud fraud:3",
        **dict.fromkeys(
            (
                f"{_TOPIC}w2",
                f"{_TOPIC}w/",
                f"{_TOPIC}w/../w",
                f"{_TOPIC}\uff57",
                f"{_TOPIC}*",
                f"x{_TOPIC}w",
                DOTS,
            ),
            _ALONE,
        ),
        "": "refused: no event (missing_field)",
    },
    "retrain name": {
        "fraud-1": "done: refit fraud-1",
        **dict.fromkeys(
            (DOTS, URL, SHELL, SQL, CRLF, NUL, TURNED, CYRILLIC, PYTHON, "{model}", OTHERS, LONG), _NO_MONITOR
        ),
    },
    "retrain topic": {
        f"{_TOPIC}w": "done: refit fraud",
        **dict.fromkeys((f"{_TOPIC}w2", f"{_TOPIC}w/", f"{_TOPIC}\uff57", DOTS), _ALONE),
    },
}

CASES = [
    Case(place, hostile, hostile if outcome is SAME else outcome)
    for place, rows in _TABLE.items()
    for hostile, outcome in rows.items()
]
