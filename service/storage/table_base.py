"""What all tables of the service share: their base, and the type of their ids."""

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import DeclarativeBase

Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base of all tables; its metadata is what the migrations must produce."""
