"""The one table of bodies and what each engine must answer: the sentences of docs/body-routing.md as examples."""

import zlib
from dataclasses import dataclass

from igw_model.openai import ApiError

MIB = 1024 * 1024
ECHO = "echo"
"""A model that is served, by a server that says what reached it."""

MISSING = ApiError(400, "missing_model", "you must provide a model parameter", "model")
INVALID_JSON = ApiError(400, "invalid_json", "the request body is not a JSON object")
INVALID_TYPE = ApiError(400, "invalid_type", "the model parameter must be a string", "model")
DUPLICATE = ApiError(400, "duplicate_model", "the model parameter is given more than once", "model")
COMPLEX = ApiError(400, "body_too_complex", "the request body has too many strings, objects and arrays")
ENCODED = ApiError(415, "unsupported_encoding", "the request body must not be compressed (Content-Encoding)")
NO_MULTIPART = ApiError(415, "unsupported_content_type", "this gateway reads no multipart bodies: send JSON")

Code = tuple[int, str]
"""Status and code of an error whose text is not held to."""
BAD_MULTIPART: Code = (400, "invalid_multipart")


def unknown(shown: str) -> ApiError:
    """Give the 404 for a string that no deployment can be named."""
    return ApiError(404, "model_not_found", f"The model `{shown}` does not exist", "model")


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its answer: the model that is read, or the error; `native` where that engine says another."""

    name: str
    body: bytes | None
    answer: str | ApiError | Code
    content_type: str | None = "application/json"
    encoding: str | None = None
    native: ApiError | None = None


def _json(name: str, body: bytes, answer: str | ApiError) -> Case:
    return Case(name, body, answer)


def _nested(levels: int, kinds: str = "[") -> bytes:
    """Give a body whose deepest level, the top one counted, is `levels`."""
    opened = (kinds * levels)[: levels - 1]
    closed = "".join({"[": "]", "{": "}"}[kind] for kind in reversed(opened))
    opened = opened.replace("{", '{"k":')
    inner = opened + ("1" if opened.endswith(":") else "") + closed
    return b'{"a":%b,"model":"echo"}' % inner.encode()


def _strings(count: int) -> bytes:
    """Give a body of so many strings and brackets, the model behind them."""
    return b'{"a":[' + b",".join([b'""'] * (count - 7)) + b'],"model":"echo"}'


GOOD = (
    _json("alone", b'{"model":"echo"}', ECHO),
    _json("with whitespace around everything", b' \r\n\t{ "a" :\t[ ] ,\n"model" : "echo"\r}\n ', ECHO),
    _json("model last", b'{"messages":[{"role":"user","content":"hi"}],"model":"echo"}', ECHO),
    _json("key with escapes", b'{"mod\\u0065l":"echo"}', ECHO),
    _json("key all of escapes", b'{"\\u006d\\u006F\\u0064\\u0065\\u006c":"echo"}', ECHO),
    _json("value with escapes", b'{"model":"\\u0065c\\u0068o"}', ECHO),
    _json("escaped solidus", b'{"model":"org\\/gpt"}', "org/gpt"),
    _json("name in UTF-8", '{"model":"日本 語"}'.encode(), "日本 語"),
    _json("name of a surrogate pair", b'{"model":"\\ud83d\\ude00"}', "😀"),
    _json("name with a space inside", b'{"model":"a b"}', "a b"),
    _json("name with quotes and backslashes", b'{"model":"a\\"b\\\\"}', 'a"b\\'),
    _json("name of 256 bytes", b'{"model":"' + b"a" * 256 + b'"}', "a" * 256),
    _json("name of 256 bytes, all escaped", b'{"model":"' + b"\\u0061" * 256 + b'"}', "a" * 256),
    _json("model nested before it", b'{"t":[{"model":"x"},{"model":2}],"model":"echo"}', ECHO),
    _json("model nested behind it", b'{"model":"echo","t":{"model":"x","u":{"model":[]}}}', ECHO),
    _json("model within a string", b'{"t":"\\"model\\":\\"x\\",{[","model":"echo"}', ECHO),
    _json(
        "strings that end in backslashes", b'{"t":"\\\\","u":["\\\\\\"","}\\\\\\\\"],"model":"echo"}', ECHO
    ),
    _json("longer key than any that counts", b'{"' + b"k" * 300 + b'":1,"model":"echo"}', ECHO),
    _json("long key is not checked", b'{"' + b"k" * 256 + b'\xff\x01\\q":1,"model":"echo"}', ECHO),
    _json("long spelling of the key", b'{"' + b"k" * 251 + b'model":1,"model":"echo"}', ECHO),
    _json("empty key", b'{"":"","model":"echo"}', ECHO),
    _json("key in another case", b'{"Model":1,"MODEL":2,"model":"echo"}', ECHO),
    _json("other keys twice", b'{"a":1,"a":2,"model":"echo"}', ECHO),
    _json(
        "every kind of value",
        b'{"a":null,"b":true,"c":false,"d":-0.5e+10,"e":"","f":[],"g":{},"model":"echo"}',
        ECHO,
    ),
    _json("numbers", b'{"a":0,"b":-0,"c":0.0,"d":1E5,"e":1e-5,"f":10,"g":1e400,"model":"echo"}', ECHO),
    _json("number of 1536 bytes", b'{"seed":' + b"9" * 1536 + b',"model":"echo"}', ECHO),
    _json("a number at the end", b'{"model":"echo","seed":1}', ECHO),
    _json("control character in a value", b'{"t":"\x01\n","model":"echo"}', ECHO),
    _json("no UTF-8 in a value", b'{"t":"\xff\xed\xa0\x80","model":"echo"}', ECHO),
    _json("lone surrogate in a value", b'{"t":"\\ud800","model":"echo"}', ECHO),
    _json("no JSON within an array", b'{"t":[1 2,,:nonsense],"model":"echo"}', ECHO),
    _json("array of 512 levels", _nested(512), ECHO),
    _json("objects and arrays of 512 levels", _nested(512, "[{"), ECHO),
    _json("as many strings as may be", _strings(262_144), ECHO),
    _json("10 MiB before the model", b'{"t":"' + b"x" * (10 * MIB) + b'","model":"echo"}', ECHO),
    _json(
        "10 MiB of messages",
        b'{"m":[' + b'{"role":"user","content":"' + b"\\n" * (5 * MIB) + b'"}],"model":"echo"}',
        ECHO,
    ),
    _json("4 MiB of numbers", b'{"m":[' + b"0.125," * (2 * MIB // 3) + b'1],"model":"echo"}', ECHO),
    _json("whitespace of 200 kB", b" " * 100_000 + b'{"model"' + b"\n" * 100_000 + b':"echo"}', ECHO),
)

BROKEN = (
    _json("nothing but a space", b" ", INVALID_JSON),
    _json("an array", b'["echo"]', INVALID_JSON),
    _json("a string", b'"model"', INVALID_JSON),
    _json("null", b"null", INVALID_JSON),
    _json("a form", b"model=echo", INVALID_JSON),
    _json("byte order mark", b'\xef\xbb\xbf{"model":"echo"}', INVALID_JSON),
    _json("UTF-16", '{"model":"echo"}'.encode("utf-16"), INVALID_JSON),
    _json("form feed for whitespace", b'\x0c{"model":"echo"}', INVALID_JSON),
    _json("no-break space for whitespace", '\u00a0{"model":"echo"}'.encode(), INVALID_JSON),
    _json("NUL behind it", b'{"model":"echo"}\x00', INVALID_JSON),
    _json("cut in the first key", b'{"mod', INVALID_JSON),
    _json("cut behind the key", b'{"model"', INVALID_JSON),
    _json("cut in the name", b'{"model":"echo', INVALID_JSON),
    _json("cut behind the name", b'{"model":"echo"', INVALID_JSON),
    _json("cut in a backslash", b'{"model":"echo\\', INVALID_JSON),
    _json("cut behind a comma", b'{"model":"echo",', INVALID_JSON),
    _json("cut in a number", b'{"model":"echo","a":1', INVALID_JSON),
    _json("cut in an array", b'{"model":"echo","a":[{}', INVALID_JSON),
    _json("comma behind the last", b'{"model":"echo",}', INVALID_JSON),
    _json("comma first", b'{,"model":"echo"}', INVALID_JSON),
    _json("two commas", b'{"a":1,,"model":"echo"}', INVALID_JSON),
    _json("no comma", b'{"a":1 "model":"echo"}', INVALID_JSON),
    _json("no colon", b'{"a" 1,"model":"echo"}', INVALID_JSON),
    _json("two colons", b'{"model"::"echo"}', INVALID_JSON),
    _json("no value", b'{"model":}', INVALID_JSON),
    _json("key without quotes", b'{model:"echo"}', INVALID_JSON),
    _json("single quotes", b"{'model':'echo'}", INVALID_JSON),
    _json("a comment", b'{/**/"model":"echo"}', INVALID_JSON),
    _json("something behind it", b'{"model":"echo"}x', INVALID_JSON),
    _json("another object behind it", b'{"model":"echo"}{"model":"echo"}', INVALID_JSON),
    _json("NaN", b'{"t":NaN,"model":"echo"}', INVALID_JSON),
    _json("-Infinity", b'{"t":-Infinity,"model":"echo"}', INVALID_JSON),
    _json("True", b'{"t":True,"model":"echo"}', INVALID_JSON),
    _json("nul", b'{"t":nul,"model":"echo"}', INVALID_JSON),
    _json("leading zero", b'{"t":01,"model":"echo"}', INVALID_JSON),
    _json("plus sign", b'{"t":+1,"model":"echo"}', INVALID_JSON),
    _json("dot first", b'{"t":.5,"model":"echo"}', INVALID_JSON),
    _json("dot last", b'{"t":5.,"model":"echo"}', INVALID_JSON),
    _json("exponent without digits", b'{"t":1e,"model":"echo"}', INVALID_JSON),
    _json("hexadecimal", b'{"t":0x10,"model":"echo"}', INVALID_JSON),
    _json("number of 1537 bytes", b'{"seed":' + b"9" * 1537 + b',"model":"echo"}', INVALID_JSON),
    _json("brackets that do not match", b'{"t":[{]},"model":"echo"}', INVALID_JSON),
    _json("bracket too many", b'{"t":[]],"model":"echo"}', INVALID_JSON),
    _json("array that ends as an object", b'{"t":[},"model":"echo"}', INVALID_JSON),
    _json("object that ends as an array", b'{"model":"echo"]', INVALID_JSON),
    _json("array of 513 levels", _nested(513), INVALID_JSON),
    _json("a hundred thousand arrays", b"[" * 100_000, INVALID_JSON),
    _json("a hundred thousand objects", b'{"a":' * 100_000, INVALID_JSON),
    _json("control character in a key", b'{"a\x01":1,"model":"echo"}', INVALID_JSON),
    _json("no UTF-8 in a key", b'{"\xff":1,"model":"echo"}', INVALID_JSON),
    _json("escape that is none in a key", b'{"\\q":1,"model":"echo"}', INVALID_JSON),
    _json("lone surrogate in a key", b'{"\\ud800":1,"model":"echo"}', INVALID_JSON),
    _json("control character in the name", b'{"model":"a\nb"}', INVALID_JSON),
    _json("overlong UTF-8 in the name", b'{"model":"\xc0\x80"}', INVALID_JSON),
    _json("surrogate in UTF-8 in the name", b'{"model":"\xed\xa0\x80"}', INVALID_JSON),
    _json("above U+10FFFF in the name", b'{"model":"\xf4\x90\x80\x80"}', INVALID_JSON),
    _json("UTF-8 cut short in the name", b'{"model":"\xe6\x97"}', INVALID_JSON),
    _json("high surrogate alone", b'{"model":"\\ud800"}', INVALID_JSON),
    _json("low surrogate alone", b'{"model":"\\udc00"}', INVALID_JSON),
    _json("two low surrogates", b'{"model":"\\udc00\\udc00"}', INVALID_JSON),
    _json("surrogates in the wrong order", b'{"model":"\\ude00\\ud83d"}', INVALID_JSON),
    _json("escape cut short", b'{"model":"\\u00e"}', INVALID_JSON),
    _json("escape that is none", b'{"model":"\\x41"}', INVALID_JSON),
    _json(
        "multipart under a JSON type",
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n--x--\r\n',
        INVALID_JSON,
    ),
)

NO_MODEL = (
    _json("an empty object", b"{}", MISSING),
    _json("no model", b'{"messages":[{"model":"nested"}]}', MISSING),
    _json("null for a model", b'{"model":null}', MISSING),
    _json("empty name", b'{"model":""}', MISSING),
    _json("a number", b'{"model":1}', INVALID_TYPE),
    _json("a number with all parts", b'{"model":-1.5e3}', INVALID_TYPE),
    _json("a wrong number", b'{"model":01}', INVALID_JSON),
    _json("true", b'{"model":true}', INVALID_TYPE),
    _json("false", b'{"model":false }', INVALID_TYPE),
    _json("an array for a name", b'{"model":["echo"]}', INVALID_TYPE),
    _json("an object for a name", b'{"model":{"model":"echo"}}', INVALID_TYPE),
    _json("twice", b'{"model":"echo","model":"other"}', DUPLICATE),
    _json("twice the same", b'{"model":"echo","model":"echo"}', DUPLICATE),
    _json("twice, once with escapes", b'{"model":"echo","\\u006Dodel":"other"}', DUPLICATE),
    _json("twice, far apart", b'{"model":"echo","t":"' + b"x" * 200_000 + b'","model":"other"}', DUPLICATE),
    _json("twice, the second null", b'{"model":"echo","model":null}', DUPLICATE),
    _json("twice, the second no value at all", b'{"model":"echo","model"', DUPLICATE),
    _json("null is answered before the second", b'{"model":null,"model":"echo"}', MISSING),
    _json("a number is answered before the second", b'{"model":1,"model":"echo"}', INVALID_TYPE),
    _json("a wrong type is answered before what follows", b'{"model":[', INVALID_TYPE),
    _json("what is wrong before the model is answered", b'{"a":01,"model":1}', INVALID_JSON),
    _json("what is wrong behind the model is answered", b'{"model":"echo"', INVALID_JSON),
    _json("name of 257 bytes", b'{"model":"' + b"a" * 257 + b'"}', unknown("a" * 64 + "...")),
    _json(
        "name of 258 bytes in UTF-8",
        '{{"model":"{}"}}'.format("é" * 129).encode(),
        unknown("\\xe9" * 64 + "..."),
    ),
    _json("tab in a name", b'{"model":"a\\tb"}', unknown("a\\tb")),
    _json(
        "line break in a name",
        b'{"model":"echo\\r\\nx-igw-principal: root"}',
        unknown("echo\\r\\nx-igw-principal: root"),
    ),
    _json("NUL in a name", b'{"model":"a\\u0000"}', unknown("a\\x00")),
    _json("delete in a name", b'{"model":"\\u007f\x7f"}', unknown("\\x7f\\x7f")),
    _json("C1 control in a name", b'{"model":"a\\u0085b"}', unknown("a\\x85b")),
    _json("space at the beginning", b'{"model":" a"}', unknown(" a")),
    _json("space at the end", b'{"model":"a "}', unknown("a ")),
    _json("a space for a name", b'{"model":" "}', unknown(" ")),
    _json(
        "quotes and emoji are echoed plainly",
        b'{"model":"\\"\\\\\\ud83d\\ude00\xe6\x97\xa5 "}',
        unknown('"\\\\\\U0001f600\\u65e5 '),
    ),
    _json("string too many", _strings(262_145), COMPLEX),
    _json("string too many, and invalid behind it", _strings(262_200)[:-10], COMPLEX),
    _json("a million brackets", b'{"a":[' + b"[],{}," * 250_000 + b'1],"model":"echo"}', COMPLEX),
    _json("as many members as may be", b"{" + b'"a":1,' * 1023 + b'"model":"echo"}', ECHO),
    _json("a member too many", b"{" + b'"a":1,' * 1024 + b'"model":"echo"}', COMPLEX),
    _json("as many escaped quotes as may be", b'{"a":"' + b'\\"' * 1_048_576 + b'","model":"echo"}', ECHO),
    _json("an escaped quote too many", b'{"a":"' + b'\\"' * 1_048_577 + b'","model":"echo"}', COMPLEX),
    _json("a million members", b"{" + b'"a":1,' * 1_000_000 + b'"model":"echo"}', COMPLEX),
)

CUT_OFF = (
    Case("name of 1536 bytes as spelled", b'{"model":"' + b"\\u0061" * 256 + b'"', INVALID_JSON),
    Case("name above 1536 bytes", b'{"model":"' + b"x" * 1537, (404, "model_not_found")),
    Case("name of 5000 bytes", b'{"model":"' + b"x" * 5000 + b'"}', (404, "model_not_found")),
    Case("name of 100 kB, then no JSON", b'{"model":"' + b"x" * 100_000 + b'"]]', (404, "model_not_found")),
)

ENVELOPES = (
    Case("no body", None, MISSING),
    Case("an empty body", b"", MISSING),
    Case("no type", b'{"model":"echo"}', ECHO, content_type=None),
    Case("as curl -d sends it", b'{"model":"echo"}', ECHO, "application/x-www-form-urlencoded"),
    Case("as text", b'{"model":"echo"}', ECHO, "text/plain; charset=latin-1"),
    Case("JSON with a charset", b'{"model":"echo"}', ECHO, "application/json; charset=utf-8"),
    Case("a type that only looks like form data", b'{"model":"echo"}', ECHO, "multipart"),
    Case("gzip", zlib.compress(b'{"model":"echo"}', wbits=31), ENCODED, encoding="gzip"),
    Case("said to be gzip", b'{"model":"echo"}', ENCODED, encoding="GZip"),
    Case("identity and gzip", b'{"model":"echo"}', ENCODED, encoding="identity, gzip"),
    Case("gzip without a body", None, ENCODED, encoding="gzip"),
    Case("identity", b'{"model":"echo"}', ECHO, encoding="identity"),
    Case("identity, oddly spelled", b'{"model":"echo"}', ECHO, encoding=", IDENTITY ,,"),
)


def part(name: str, content: bytes, *more: str) -> bytes:
    """Give one part of form data, with its boundary `x` before it."""
    lines = [f'Content-Disposition: form-data; name="{name}"', *more]
    return b"--x\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def _form(
    name: str, body: bytes | None, answer: str | ApiError | Code, boundary: str = "; boundary=x"
) -> Case:
    return Case(name, body, answer, f"multipart/form-data{boundary}", native=NO_MULTIPART)


_FILE = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
)
_MODEL = part("model", b"echo")

FORMS = (
    _form("form: model alone", _MODEL + b"--x--\r\n", ECHO),
    _form("form: model before a file", _MODEL + _FILE + b"\x00\xff" * 1000 + b"\r\n--x--\r\n", ECHO),
    _form(
        "form: model behind 2 MiB",
        _FILE + b"\r\n--y\r\n" * (MIB // 4) + b"\r\n" + _MODEL + b"--x--\r\n",
        ECHO,
    ),
    _form("form: boundary in quotes", _MODEL + b"--x--\r\n", ECHO, '; boundary="x"'),
    Case(
        "form: type in capitals",
        _MODEL + b"--x--\r\n",
        ECHO,
        "MULTIPART/Form-Data; BOUNDARY=x",
        native=NO_MULTIPART,
    ),
    _form("form: name in UTF-8", part("model", "日本".encode()) + b"--x--\r\n", "日本"),
    _form("form: no model", part("prompt", b"echo") + b"--x--\r\n", MISSING),
    _form("form: empty model", part("model", b"") + b"--x--\r\n", MISSING),
    _form("form: model in a file", part('model"; filename="m', b"echo") + b"--x--\r\n", MISSING),
    _form("form: twice", _MODEL + _MODEL + b"--x--\r\n", DUPLICATE),
    _form("form: name with a line break", part("model", b"a\r\nb") + b"--x--\r\n", unknown("a\\r\\nb")),
    _form("form: no UTF-8 in the model", part("model", b"\xff") + b"--x--\r\n", BAD_MULTIPART),
    _form("form: no boundary named", _MODEL + b"--x--\r\n", BAD_MULTIPART, ""),
    _form("form: boundary too long", _MODEL + b"--x--\r\n", BAD_MULTIPART, "; boundary=" + "b" * 71),
    _form("form: another boundary", _MODEL + b"--x--\r\n", BAD_MULTIPART, "; boundary=z"),
    _form("form: cut short", _MODEL[:-3], BAD_MULTIPART),
    _form("form: JSON in it", b'{"model":"echo"}', BAD_MULTIPART),
    _form("form: too many parts", part("a", b"") * 1024 + _MODEL + b"--x--\r\n", (400, "body_too_complex")),
    _form(
        "form: headers of 17 kB", part("a", b"", "X: " + "y" * 17_000) + _MODEL + b"--x--\r\n", BAD_MULTIPART
    ),
    _form("form: no body", None, MISSING),
    Case("form: gzip", _MODEL, ENCODED, "multipart/form-data; boundary=x", encoding="gzip"),
)

JSON_CASES = (*GOOD, *BROKEN, *NO_MODEL, *CUT_OFF)
CASES = (*JSON_CASES, *ENVELOPES, *FORMS)
