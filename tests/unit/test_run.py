import stat

from ops.run import prepare


def test_a_recovery_store_is_made_for_its_owner_alone_and_then_left_as_it_is(tmp_path):
    store = tmp_path / "state" / "store"
    prepare(store)
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    part = store / "part-0.sqlite3"
    made = part.read_bytes()
    store.chmod(0o755)
    prepare(store)
    assert part.read_bytes() == made
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
