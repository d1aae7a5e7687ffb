"""A worker's memory when it is told to forget while it asks."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from igw_extauth.identity import Known, Unknown
from igw_extauth.remembered import Remembered
from igw_extauth.secret import BearerToken
from igw_model.policy import Provider

from tests.unit.extauth.scene import Counter, until

TOKEN = BearerToken("CW-SECRET-ann")


class Asking:
    """A worker that asks for one token."""

    def __init__(self) -> None:
        self.keeper = Counter()
        self.remembered = Remembered(self.keeper, b"0123456789abcdef", 10)
        key = self.remembered.key(Provider.COREWEAVE, TOKEN)
        assert key is not None
        self.key = key
        self.task = asyncio.create_task(self.remembered.identify(Provider.COREWEAVE, key, TOKEN))

    async def asked(self, times: int) -> None:
        """Wait until the keeper was asked so many times."""
        await until(lambda: len(self.keeper.asked) == times)

    def answer(self) -> None:
        """Have the keeper answer what it was asked, and nothing that comes later."""
        self.keeper.open.set()
        self.keeper.open = asyncio.Event()

    def revoke(self) -> None:
        """Have the keeper know better, and the worker hear of it."""
        self.keeper.identities[TOKEN.reveal()] = Unknown()
        self.remembered.forget(frozenset({self.key}))


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    """Begin to ask."""
    made = Asking()
    await made.asked(1)
    yield made
    await made.remembered.aclose()


async def test_an_answer_from_before_is_asked_for_again(asking: Asking) -> None:
    """The keeper had vouched for the token when it was revoked: that is neither given nor remembered."""
    asking.answer()
    asking.revoke()
    await asking.asked(2)
    asking.answer()
    assert await asking.task == Unknown()
    assert asking.remembered.get(asking.key) == Unknown()
    assert not asking.remembered._forgotten


async def test_so_it_is_as_often_as_it_must_be(asking: Asking) -> None:
    """A second word to forget, while it asks again, counts as the first."""
    asking.remembered.forget(frozenset({asking.key}))
    asking.answer()
    await asking.asked(2)
    asking.answer()
    asking.revoke()
    await asking.asked(3)
    asking.answer()
    assert await asking.task == Unknown()


async def test_other_tokens_are_no_question_of_this_one(asking: Asking) -> None:
    """One question is enough when another token is forgotten, and nothing is kept of that."""
    asking.remembered.forget(frozenset({b"another"}))
    asking.answer()
    assert isinstance(await asking.task, Known)
    assert isinstance(asking.remembered.get(asking.key), Known)
    assert not asking.remembered._forgotten
    assert len(asking.keeper.asked) == 1
