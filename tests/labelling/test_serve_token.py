"""The token by which windows reconnect after the server was restarted."""

from selfsort.labelling.server.serve import kept_token


def test_the_previous_servers_token_is_kept_readable_only_by_its_owner(tmp_path):
    path = tmp_path / ".label.token"
    first = kept_token(path)
    assert len(first) == 32 and kept_token(path) == first
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_that_others_can_read_is_replaced(tmp_path):
    path = tmp_path / ".label.token"
    first = kept_token(path)
    path.chmod(0o644)
    assert kept_token(path) != first and path.stat().st_mode & 0o777 == 0o600


def test_an_invalid_token_is_replaced(tmp_path):
    path = tmp_path / ".label.token"
    path.write_text("short")
    path.chmod(0o600)
    assert len(kept_token(path)) == 32


def test_there_is_a_token_even_if_it_cannot_be_stored(tmp_path):
    assert len(kept_token(tmp_path / "no" / "folder" / "token")) == 32
