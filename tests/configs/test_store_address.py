"""Addresses of the history: a wrong one is a fault at its place, without its password."""

from __future__ import annotations

import pytest

from configs.dsn import is_postgres, public_dsn, secrets_of
from tests.configs.minimal import BASE, refused

pytestmark = pytest.mark.usefixtures("run_folder")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://lumen:S3cret/x@127.0.0.1/db", "postgresql://lumen:S3@S3cret@127.0.0.1/db",
        "postgresql://lumen:12?S3cret@127.0.0.1/db", "postgresql://lumen:S3cret%zz@127.0.0.1/db",
        "postgresql://u:p@127.0.0.1/db?password=S3cret@x", "postgresl://u:S3cret@h/db",
        "sqlite:", "mysql://u:S3cret@h/db",
    ],
)  # fmt: skip
def test_a_wrong_address_is_a_fault_at_its_place(dsn: str) -> None:
    (fault,) = refused(BASE + f"store: {{dsn: '{dsn}'}}\n")
    assert "store.dsn" in fault
    assert "expected sqlite:PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in fault
    assert "S3cret" not in fault


def test_the_forms_of_a_password_are_found() -> None:
    dsn = "postgresql://u:a%40b%2Fc@h/db?sslpassword=x%21y"
    assert is_postgres(dsn)
    assert secrets_of(dsn) == {"a%40b%2Fc", "a@b/c", "x%21y", "x!y"}
    assert public_dsn(dsn) == "postgresql://h/db"
