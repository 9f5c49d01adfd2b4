"""Tables of accounts."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base


class UserRow(Base):
    """One account. ``session_version`` rises when its sessions must end."""

    __tablename__ = "user_account"
    __table_args__ = (Index("uq_user_account_name", text("lower(name)"), unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    session_version: Mapped[int]
    is_disabled: Mapped[bool]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime]


class TokenRow(Base):
    """An API token. ``start`` are its first characters, by which its owner knows it."""

    __tablename__ = "api_token"
    __table_args__ = (Index("uq_api_token_name", "user_id", text("lower(name)"), unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("user_account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    start: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class LinkRow(Base):
    """A link that signs an account in once. ``session_version`` is the account's when it was made."""

    __tablename__ = "sign_in_link"
    __table_args__ = (Index("ix_sign_in_link_user_id", "user_id"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("user_account.id", ondelete="CASCADE"))
    session_version: Mapped[int]
    expires_at: Mapped[datetime]


class ThrottleRow(Base):
    """Wrong tries under one key within one window. Keys are keyed hashes: no name or address is kept."""

    __tablename__ = "sign_in_throttle"
    __table_args__ = (Index("ix_sign_in_throttle_expires_at", "expires_at"),)

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    account_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    failures: Mapped[int]
    expires_at: Mapped[datetime]


class EndedSessionRow(Base):
    """A session somebody signed out of; kept until its cookie would have ended by itself."""

    __tablename__ = "ended_session"

    session_id: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[datetime]
