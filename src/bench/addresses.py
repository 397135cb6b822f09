"""Addresses without their secrets: what may be printed and noted.

SQLAlchemy's parser takes a database's address apart, urllib's any other. Where a part that may be a secret is left
over, nothing but the scheme is shown.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

HIDDEN = "***"
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")
IN_TEXT = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
DATABASES = ("postgresql", "mysql", "mssql", "sqlite", "oracle", "mariadb")
QUOTES = "\"'])"


def public(uri: str) -> str:
    """The address without user and password, and with its query's values hidden.

    Of a fragment only one that names a page, as MLflow's links do (``#/models/…``), is left.
    """
    scheme, separator, rest = uri.partition("://")
    if not any(sign in rest if separator else sign in uri for sign in "@?#"):
        return uri
    if not separator:
        return HIDDEN
    try:
        host, path, query = _database(uri) if scheme.partition("+")[0] in DATABASES else _web(uri)
    except Exception:  # the parsers raise errors of several types, all with the address in their text
        return f"{scheme}://{HIDDEN}"
    if "@" in host or ("@" in path and scheme != "sqlite"):
        return f"{scheme}://{HIDDEN}"
    values = "&".join(f"{key}={HIDDEN}" if equals else HIDDEN for key, equals in query)
    return f"{scheme}://{host}{path}" + (f"?{values}" if values else "")


def without_secrets(text: str) -> str:
    """A text in which every address is ``public``."""
    return IN_TEXT.sub(lambda match: public(match[0]), text)


def word_without_secrets(word: str) -> str:
    """A command's word: all that follows a scheme is taken for one address, as a password may hold any character."""
    match = ADDRESS.search(word)
    if match is None:
        return word
    address = word[match.start() :].rstrip(QUOTES)
    return word[: match.start()] + public(address) + word[match.start() + len(address) :]


def hidden_in(text: str, uri: str) -> str:
    """A text about an address, in which no part of what ``public`` hides is left."""
    shown = public(uri)
    if shown == uri:
        return without_secrets(text)
    text = text.replace(uri, shown)
    parts = {piece for whole in (uri, unquote(uri)) for piece in re.split(r"[:/@?&=#;,\s]+", whole)}
    userinfo = uri.partition("://")[2].rpartition("@")[0]
    parts |= {userinfo, unquote(userinfo), userinfo.partition(":")[2], unquote(userinfo.partition(":")[2])}
    for part in sorted(filter(None, parts), key=len, reverse=True):
        if len(part) > 2 and part not in shown:
            text = text.replace(part, HIDDEN)
    return without_secrets(text)


def _web(uri: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Host, path, and key and equals sign of each query value."""
    parts = urlsplit(uri)
    if "@" in parts.query or "@" in parts.fragment:
        raise ValueError("a password with a question mark or a hash ends up there")
    query = [piece.partition("=")[:2] for piece in parts.query.split("&") if piece]
    page = f"#{parts.fragment}" if parts.fragment.startswith("/") and not query else ""
    return parts.netloc.rpartition("@")[2], parts.path + page, query


def _database(uri: str) -> tuple[str, str, list[tuple[str, str]]]:
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or ""
    port = f":{url.port}" if url.port else ""
    path = f"/{url.database}" if url.database else "/" * uri.partition("://")[2].startswith("/")
    if "#" in path or "#" in host:
        raise ValueError("what follows a hash may be a secret")
    return host + port, path, [(key, "=") for key in url.query]
