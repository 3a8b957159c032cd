"""kubeconfig files are read as kubectl reads them, or refused with the reason."""

import base64
import json
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from headway_serving.adapters.kubernetes.errors import InvalidKubernetes
from headway_serving.adapters.kubernetes.kubeconfig import read_kubeconfig


def kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, Any], name: str = "one") -> Path:
    document = {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


def certificate(folder: Path) -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key."""
    names = folder / "made.crt", folder / "made.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=test", "-days", "2", "-out", str(names[0]), "-keyout", str(names[1])]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return names[0].read_bytes(), names[1].read_bytes()


def test_tokens_and_certificates_stand_there_or_in_files(tmp_path: Path) -> None:
    authority, key = certificate(tmp_path)
    encoded = base64.b64encode(authority).decode()
    cluster = {"server": "https://api:6443/", "certificate-authority-data": encoded, "tls-server-name": "kubernetes"}
    found = read_kubeconfig([kubeconfig(tmp_path / "a", cluster, {"token": "secret"})])
    assert (found.server, found.token(), found.tls_name) == ("https://api:6443", "secret", "kubernetes")
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert len(found.tls.get_ca_certs()) == 1
    (tmp_path / "token").write_text("from file\n")
    cluster = {"server": "https://api", "certificate-authority": "made.crt"}
    user = {"tokenFile": "token", "client-certificate": "made.crt", "client-key-data": base64.b64encode(key).decode()}
    found = read_kubeconfig([kubeconfig(tmp_path / "b", cluster, user)])
    assert found.token() == "from file"
    skipping = {"server": "https://api", "insecure-skip-tls-verify": True}
    found = read_kubeconfig([kubeconfig(tmp_path / "c", skipping, {})])
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE
    assert found.token() is None


def test_a_command_is_asked_for_the_token_once_until_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "token.py"
    script.write_text(
        textwrap.dedent("""
        import json, os, pathlib, sys
        count = pathlib.Path(sys.argv[1]); number = int(count.read_text() or 0) + 1; count.write_text(str(number))
        assert json.loads(os.environ["KUBERNETES_EXEC_INFO"])["kind"] == "ExecCredential" and os.environ["MORE"] == "1"
        ends = {"expirationTimestamp": sys.argv[2]} if len(sys.argv) > 2 else {}
        print(json.dumps({"status": {"token": f"t{number}", **ends}}))
    """)
    )
    count = tmp_path / "count"
    count.write_text("")
    entry = {"command": sys.executable, "args": [str(script), str(count)], "env": [{"name": "MORE", "value": "1"}]}
    found = read_kubeconfig([kubeconfig(tmp_path / "a", {"server": "http://api"}, {"exec": entry})])
    assert [found.token(), found.token()] == ["t1", "t1"]
    entry["args"] = [str(script), str(count), "2020-01-01T00:00:00Z"]
    found = read_kubeconfig([kubeconfig(tmp_path / "b", {"server": "http://api"}, {"exec": entry})])
    assert [found.token(), found.token()] == ["t2", "t3"]
    entry["command"] = "no-such-command"
    found = read_kubeconfig([kubeconfig(tmp_path / "c", {"server": "http://api"}, {"exec": entry})])
    with pytest.raises(InvalidKubernetes, match="command no-such-command gives no token"):
        found.token()


def test_of_several_files_the_first_that_has_a_name_counts(tmp_path: Path) -> None:
    one = kubeconfig(tmp_path / "one", {"server": "http://one"}, {"token": "1"})
    two = kubeconfig(tmp_path / "two", {"server": "http://two"}, {"token": "2"}, name="two")
    assert read_kubeconfig([one, two]).server == "http://one"
    assert read_kubeconfig([two, one]).token() == "2"


@pytest.mark.parametrize(
    ("cluster", "user", "why"),
    [
        ({"server": "api"}, {}, "server 'api' is not an http or https URL"),
        ({"server": "http://api", "proxy-url": "http://p"}, {}, "cluster has proxy-url, which is not supported"),
        ({"server": "http://api"}, {"username": "me"}, "user has username, which is not supported"),
        ({"server": "https://api", "certificate-authority-data": "?"}, {}, "certificate-authority-data is not base64"),
        ({"server": "https://api", "certificate-authority": "none"}, {}, "cannot be used: .*No such file"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidKubernetes, match=why):
        read_kubeconfig([kubeconfig(tmp_path / "a", cluster, user)])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no object"),
        ("a: [", "cannot be read"),
        ("{}", "names no current-context"),
        ("current-context: x", "there is no context 'x' in contexts"),
    ],
)
def test_a_file_without_a_context_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(InvalidKubernetes, match=why):
        read_kubeconfig([tmp_path / "a"])
