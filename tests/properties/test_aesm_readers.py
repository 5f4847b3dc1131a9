"""Whatever comes from an attester's socket, its readers give a value or a `FormatError`."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import FormatError
from dcap.formats.aesm import (
    AttestationKeyId,
    GetQuoteEx,
    GetQuoteExAnswer,
    InitQuoteExAnswer,
    read_key_ids,
    read_request,
    read_response,
    write_request,
    write_response,
)
from dcap.formats.local_report import LocalReport, TargetInfo
from properties.mutation import Mutation, mutate, some_mutations

#: Every reader, and sound input for it.
READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "request": (
        read_request,
        write_request(GetQuoteEx(report=bytes(432), att_key_id=bytes(256), buf_size=1, timeout=1)),
    ),
    "response": (
        read_response,
        write_response(
            InitQuoteExAnswer(
                error_code=0, target_info=bytes(512), pub_key_id_size=32, pub_key_id=bytes(32)
            )
        ),
    ),
    "quote": (read_response, write_response(GetQuoteExAnswer(error_code=0, quote=bytes(700)))),
    "key ids": (read_key_ids, AttestationKeyId.ecdsa(bytes(32), 1).to_bytes() * 2),
    "REPORT": (LocalReport.parse, bytes(432)),
    "TARGETINFO": (TargetInfo.parse, bytes(512)),
}
each_reader = pytest.mark.parametrize("name", READERS)


def attempt(name: str, data: bytes) -> object:
    """What the reader makes of the bytes, or its refusal."""
    try:
        return READERS[name][0](data)
    except FormatError as error:
        return error


@each_reader
def test_sound_input_of_a_socket_is_read(name: str) -> None:
    """What the mutants are made of is sound."""
    assert not isinstance(attempt(name, READERS[name][1]), FormatError)


@each_reader
@given(mutations=some_mutations)
@settings(max_examples=100, deadline=None, database=None)
def test_mutants_of_a_socket_are_read_or_refused(name: str, mutations: list[Mutation]) -> None:
    """Any mutant of sound input makes a value or a `FormatError`."""
    sound = READERS[name][1]

    attempt(name, mutate(sound, mutations, sound[::-1]))


@each_reader
@given(data=st.binary(max_size=600))
@settings(max_examples=60, deadline=None, database=None)
def test_any_bytes_of_a_socket_are_read_or_refused(name: str, data: bytes) -> None:
    """Any bytes make a value or a `FormatError`, with a true length before them too."""
    attempt(name, data)
    attempt(name, len(data).to_bytes(4, "little") + data)
