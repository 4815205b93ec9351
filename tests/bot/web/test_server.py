"""The server around the page: who may open it, what it sends, and mistakes on the command line."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio import networking
from starlette.testclient import TestClient

from bot.__main__ import main
from bot.startup import StartupError, Unavailable
from bot.web.server import WebOptions, listening, make_app, run_web
from bot.web.visit import House
from config import Config
from tests.bot.web.conftest import Scripted
from tests.conftest import REPOSITORY


@pytest.fixture
def browser(house: House) -> Iterator[TestClient]:
    with TestClient(make_app(house, WebOptions()), base_url="http://127.0.0.1:7860") as client:
        yield client


def run(folder: Path, *arguments: str) -> int:
    (folder / "config.toml").write_text("")
    try:
        return main(["web", "--config", str(folder / "config.toml"), *arguments])
    except SystemExit as end:
        return int(end.code or 0)


async def test_the_page_asks_nobody_else_for_anything(browser: TestClient) -> None:
    answer = browser.get("/")
    assert answer.status_code == 200
    assert not re.findall(r'(?:src|href)="https?://', answer.text)
    style = browser.get("/theme.css").text
    assert "@font-face" in style
    assert not re.findall(r"url\(['\"]?https?:|@import", style)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.findall(r"https?:|\*", policy)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
async def test_a_stranger_s_name_for_this_machine_opens_nothing(
    browser: TestClient, host: str
) -> None:
    assert browser.get("/", headers={"host": host}).status_code == 400
    for own in ("localhost:7860", "127.0.0.1", "[::1]:7860"):
        assert browser.get("/", headers={"host": own}).status_code == 200


async def test_files_of_this_machine_stay_here(browser: TestClient, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (secret, Path("/etc/passwd"), REPOSITORY / "config.toml"):
        assert browser.get(f"/gradio_api/file={path}").status_code == 404
    upload = browser.post("/gradio_api/upload", files={"files": ("x.txt", b"text")})
    assert upload.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "file=https://tracker.example/p.png",
        "file%3Dhttps://tracker.example/p.png",
        "proxy=https://tracker.example/p.png",
        "deep_link?session_hash=a",
    ],
)
async def test_the_page_fetches_nothing_for_a_stranger(browser: TestClient, path: str) -> None:
    answer = browser.get(f"/gradio_api/{path}")
    assert (answer.status_code, answer.text) == (404, "Not Found")


async def test_nothing_of_the_page_is_an_interface_for_programs(browser: TestClient) -> None:
    endpoints = browser.get("/gradio_api/info").json()
    assert not endpoints["named_endpoints"]
    assert not endpoints["unnamed_endpoints"]


@pytest.mark.parametrize(
    ("options", "public"),
    [
        (WebOptions(), False),
        (WebOptions("localhost"), False),
        (WebOptions("::1"), False),
        (WebOptions("0.0.0.0"), True),
        (WebOptions("192.168.1.7"), True),
        (WebOptions("my-machine"), True),
        (WebOptions(share=True), True),
    ],
)
def test_who_can_come_in(options: WebOptions, public: bool) -> None:
    assert options.public is public


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(Unavailable, match=f"port {port}.*choose another with --port"),
            listening(WebOptions(port=port)),
        ):
            pass


def test_an_address_of_nobody_is_a_sentence() -> None:
    for name in ("no.such.name.invalid", "256.1.1.1"):
        with pytest.raises(StartupError, match="--server_name"), listening(WebOptions(name, 0)):
            pass


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "70000"], "a port is a whole number from 0 to 65535"),
        (["--share_gradio", "perhaps"], "it is True or False"),
        (["--server_port", "1"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_without_gradio_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name)
    )
    assert run(tmp_path, "--port", "0") == 2
    error = capsys.readouterr().err
    assert "install it with python -m pip install" in error
    assert error.count("\n") == 1


def test_help_names_what_the_seeds_have(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["web", "--help"])
    shown = capsys.readouterr().out
    for option in ("--base_model", "--share_gradio", "--server_name", "--port"):
        assert option in shown


@pytest.fixture
def serve(config: Config, capsys: pytest.CaptureFixture[str]) -> Callable[[WebOptions], str]:
    """Serve the page until it is there, then stop it as a service manager would."""

    def run_once(options: WebOptions) -> str:
        def stop(address: str) -> None:
            assert address.startswith("http://")
            os.kill(os.getpid(), signal.SIGTERM)

        assert run_web(config, options, Scripted(), stop) == 0
        return capsys.readouterr().err

    return run_once


def test_on_loopback_nobody_is_warned(serve: Callable[[WebOptions], str]) -> None:
    told = serve(WebOptions(port=0))
    assert "The page is at http://127.0.0.1:" in told
    assert "Everybody" not in told
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_a_page_for_others_says_who_can_come(serve: Callable[[WebOptions], str]) -> None:
    told = serve(WebOptions("0.0.0.0", 0))
    assert "Everybody who can reach this machine at 0.0.0.0 can open the page" in told
    assert "The page is at http://localhost:" in told


def test_a_public_link_says_what_becomes_public(
    serve: Callable[[WebOptions], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def tunnel(host: str, port: int, *_: object) -> str:
        asked.append((host, port))
        return "https://abc.gradio.live"

    monkeypatch.setattr(networking, "setup_tunnel", tunnel)
    told = serve(WebOptions(port=0, share=True))
    assert "everybody who has it can talk with the characters" in told
    assert "The public link is https://abc.gradio.live" in told
    [(host, port)] = asked
    assert f"http://{host}:{port}/" in told


def test_a_link_that_cannot_be_made_leaves_the_page(
    serve: Callable[[WebOptions], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tunnel(*_: object) -> str:
        raise RuntimeError("no network")

    monkeypatch.setattr(networking, "setup_tunnel", tunnel)
    told = serve(WebOptions(port=0, share=True))
    assert "The public link could not be made (no network)" in told


def test_the_first_model_named_takes_the_configured_one_s_place(config: Config) -> None:
    scripted = Scripted()
    options = WebOptions(port=0, base_models=("/models/big", "/models/small"))
    run_web(config, options, scripted, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert list(scripted.clients) == ["/models/big"]
