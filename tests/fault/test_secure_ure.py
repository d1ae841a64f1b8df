"""A URE behind TLS, a password or a token: read, or down with a reason that shows no secret."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from configs.inputs import BasicAuth, UreStream
from sources.ure import endpoint
from sources.ure.exposition import PageError
from sources.ure.http_get import Deadline, HttpResponse

PAGE = b"u_level 0.5\n"
SECRET = "p:ss w\u00f6rd"


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        pass


class Page:
    """A page on loopback, for whoever sends the header that it asks for."""

    def __init__(self, wanted: str | None = None, secure: Path | None = None) -> None:
        self.wanted, self.sized = wanted, True
        self.heads: list[str | None] = []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                head = self.headers.get("Authorization")
                page.heads.append(head)
                fits = page.wanted is None or head == page.wanted
                self.send_response(200 if fits else 401)
                self.send_header("Content-Type", "text/plain")
                if page.sized:
                    self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def log_message(self, *args: object) -> None:
                pass

        self.server = _Quiet(("127.0.0.1", 0), Handler)
        if secure is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(secure / "cert.pem", secure / "key.pem")
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()


def pulled(**stream: object) -> HttpResponse:
    config = UreStream(name="u", **stream)  # type: ignore[arg-type]
    return endpoint(config).get(Deadline(5.0, lambda: False))


def refused(**stream: object) -> PageError:
    with pytest.raises(PageError) as error:
        pulled(**stream)
    return error.value


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a key and a certificate of 127.0.0.1 that signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
         "-subj", "/CN=lumen", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def page() -> Iterator[Page]:
    served = Page()
    yield served
    served.stop()


@pytest.fixture
def secure(certificate: Path) -> Iterator[Page]:
    served = Page(secure=certificate)
    yield served
    served.stop()


def test_a_page_is_read_by_https_where_the_system_trusts_it(
    secure: Page, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    assert pulled(metrics_url=f"https://{secure.place}/m").page == PAGE


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Page) -> None:
    error = refused(metrics_url=f"https://{secure.place}/m")

    assert error.why == "its certificate is not trusted: self-signed certificate"
    assert error.reason is None  # nothing came
    assert secure.heads == []


def test_a_certificate_of_another_host_is_refused(
    secure: Page, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    error = refused(metrics_url=f"https://localhost:{secure.server.server_port}/m")

    assert "certificate is not valid for 'localhost'" in error.why


def test_a_page_of_unknown_length_is_cut_without_the_end_of_tls(
    secure: Page, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    secure.sized = False
    error = refused(metrics_url=f"https://{secure.place}/m")

    assert (error.reason, error.why) == ("http", "the page is cut: TLS has no end")


def test_https_where_only_http_answers_is_named(page: Page) -> None:
    assert refused(metrics_url=f"https://{page.place}/m").why.startswith("no TLS: ")


def test_a_handshake_that_never_ends_is_over_in_time(certificate: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stream = UreStream(name="u", metrics_url=f"https://127.0.0.1:{mute.getsockname()[1]}/")
        with pytest.raises(PageError, match="no whole answer in time") as error:
            endpoint(stream).get(Deadline(0.2, lambda: False))
    assert error.value.reason is None


def test_a_password_is_read_from_its_file_for_each_pull(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "password"
    basic = BasicAuth(username="me", password_file=str(file))
    wanted = "Basic " + b64encode(f"me:{SECRET}".encode()).decode()
    file.write_text("old\n", "utf-8")
    page.wanted = wanted

    error = refused(metrics_url=f"http://{page.place}/m", basic_auth=basic)
    assert error.why == "answered 401, expected basic_auth or bearer_token_file"

    file.write_text(SECRET + "\r\n", "utf-8")
    assert pulled(metrics_url=f"http://{page.place}/m", basic_auth=basic).page == PAGE
    assert page.heads[-1] == wanted


def test_a_token_is_sent_as_such(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc.DEF-1\n")
    page.wanted = "Bearer abc.DEF-1"

    answer = pulled(metrics_url=f"http://{page.place}/m", bearer_token_file=str(file))

    assert answer.page == PAGE


def test_no_header_is_sent_unasked(page: Page) -> None:
    pulled(metrics_url=f"http://{page.place}/m")

    assert page.heads == [None]


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (None, "is not there"),
        (b" \n", "is empty"),
        (b"x" * 20_000, "is longer than"),
        (b"S3cret\r\nX-Other: 1", "holds no token in one word"),
    ],
)
def test_a_file_without_a_token_keeps_the_stream_down_and_shows_nothing(
    page: Page, tmp_path: Path, held: bytes | None, why: str
) -> None:
    file = tmp_path / "token"
    if held is not None:
        file.write_bytes(held)

    error = refused(metrics_url=f"http://{page.place}/m", bearer_token_file=str(file))

    assert why in error.why
    assert error.reason is None
    assert "S3cret" not in error.why
    assert page.heads == []
