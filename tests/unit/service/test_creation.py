"""Creating by name: a race is settled by looking again."""

import pytest
from fastapi import Response
from sqlalchemy.exc import IntegrityError

from luthier.service.api.creation import find_or_create


def test_the_answer_says_whether_it_is_new_and_where_it_is() -> None:
    for created, status in ((True, 201), (False, 200)):
        response = Response()
        assert find_or_create(lambda made=created: (made, "view"), response, "/v1/studies/one") == "view"
        assert (response.status_code, response.headers["location"]) == (status, "/v1/studies/one")


def test_a_name_that_another_request_has_just_inserted_is_found_the_second_time() -> None:
    answers = iter([IntegrityError("INSERT", {}, Exception("duplicate")), (False, "view")])

    def attempt() -> tuple[bool, str]:
        answer = next(answers)
        if isinstance(answer, IntegrityError):
            raise answer
        return answer

    response = Response()
    assert find_or_create(attempt, response, "/v1/studies/one") == "view"
    assert response.status_code == 200


def test_it_looks_again_only_once() -> None:
    def attempt() -> tuple[bool, str]:
        raise IntegrityError("INSERT", {}, Exception("duplicate"))

    with pytest.raises(IntegrityError):
        find_or_create(attempt, Response(), "/v1/studies/one")
