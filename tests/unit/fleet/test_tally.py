"""What connections of ours say in their name of what they looked up."""

from dashboard.fleet.tally import client_name, new_session, read_names


def line(name: str) -> bytes:
    return (
        f"id=7 addr=127.0.0.1:5 laddr=127.0.0.1:6379 fd=8 name={name} age=1 db=0 cmd=client|list\n".encode()
    )


def test_names_are_read_as_they_were_written() -> None:
    one, other = new_session(), new_session()
    assert one != other
    listed = line("app") + line(client_name(one, 12, 3)) + line("") + line(client_name(other, 0, 10**12))
    assert read_names(listed) == {one: (12, 3), other: (0, 10**12)}


def test_what_others_call_themselves_is_left_alone() -> None:
    session = new_session()
    hostile = (
        "cachewarden",
        f"cachewarden-probe:{session}:1",
        f"cachewarden-probe:{session}:-1:0",
        f"cachewarden-probe:{session}:1:2:3",
        f"cachewarden-probe:{session}:{'9' * 19}:0",
        "cachewarden-probe:xyz:1:2",
        f"xname=cachewarden-probe:{session}:1:2",
    )
    assert read_names(b"".join(map(line, hostile))) == {}
    assert read_names(b"") == {}
