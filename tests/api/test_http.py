"""`dcap.api.http`: what a request's parameters are."""

import pytest

from dcap.api.http import MAX_PARAMETERS, HttpRequest
from dcap.errors import FormatError


def test_the_first_of_a_repeated_parameter_wins_and_all_are_read_once() -> None:
    """Decoded, blanks kept; whoever asks again gets what was read before."""
    request = HttpRequest(target="/a?x=1&y=%20&x=2&z=")
    assert request.query == {"x": "1", "y": " ", "z": ""}
    assert request.query is request.query
    assert request == HttpRequest(target="/a?x=1&y=%20&x=2&z=")


def test_parameters_have_an_end() -> None:
    """As many as any request has, and one more is no request."""
    pairs = [f"p{number}=" for number in range(MAX_PARAMETERS)]
    assert len(HttpRequest(target=f"/a?{'&'.join(pairs)}").query) == MAX_PARAMETERS
    with pytest.raises(FormatError) as caught:
        _ = HttpRequest(target=f"/a?{'&'.join([*pairs, 'x='])}").query
    assert caught.value.code == "pcs-request"
