"""The PostgreSQL server of the tests starts, crashes, recovers and needs its password."""

import pytest

from ops.fakes.postgres_server import PostgresServer


def test_committed_rows_outlive_a_crash(postgres: PostgresServer) -> None:
    dsn = postgres.new_database()
    postgres.psql("CREATE TABLE t (x integer); INSERT INTO t VALUES (7)", dsn)
    postgres.stop("immediate")
    postgres.start()
    assert postgres.psql("SELECT x FROM t", dsn) == "7\n"
    assert "automatic recovery" in postgres.log()


def test_each_database_is_new(postgres: PostgresServer) -> None:
    first, second = postgres.new_database(), postgres.new_database()
    postgres.psql("CREATE TABLE t (x integer)", first)
    with pytest.raises(AssertionError, match='relation "t" does not exist'):
        postgres.psql("SELECT x FROM t", second)


def test_a_socket_lies_in_the_servers_own_folder(postgres: PostgresServer) -> None:
    assert (postgres.place / f".s.PGSQL.{postgres.port}").is_socket()
