"""The first version: made from `schema` at the first start, so nothing stands here.

Its tables as SQL stand among the tests, and every later version must be able to start from them.
"""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing comes before it."""
