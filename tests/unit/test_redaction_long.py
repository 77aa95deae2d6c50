"""Long texts: a difference of manifests is redacted object by object, and comes out as if it were not."""

from __future__ import annotations

from bot import redaction
from bot.redaction import MASK, Redactor, redact

KEY = f"-----BEGIN {'RSA '}PRIVATE KEY-----\nMIIE\n\n# in the middle of a key\nabcd\n-----END {'RSA '}PRIVATE KEY-----"


def _object(number: int) -> str:
    return (
        f"# ConfigMap/settings-{number}: changed\n"
        f"-  password: hunter{number}x\n+  url: postgres://app:s3cret{number}@db/app\n"
        f"+  text: |\n+    token: abc{number}\n+    - name: DB_PASSWORD\n+      value: v{number}pw\n"
    )


def test_every_secret_of_a_long_difference_is_hidden_and_nothing_else_is_changed() -> None:
    objects = [_object(number) for number in range(1500)]
    long = "\n".join(objects)
    assert len(long) > 5 * redaction._PIECE
    assert redact(long) == "\n".join(redact(one) for one in objects)
    assert "hunter" not in redact(long)


def test_a_key_is_hidden_whole_even_where_a_piece_would_end_in_its_middle() -> None:
    filler = "x" * (redaction._PIECE - 10) + "\n"
    text = redact(f"{filler}{KEY}\n\n# next\n")
    assert text == f"{filler}{MASK}\n\n# next\n"


def test_a_known_secret_is_hidden_even_where_a_piece_would_end_in_its_middle() -> None:
    secret = "first line of a file\n\n# second 7x9y line"
    filler = "x" * (redaction._PIECE - 10) + "\n"
    redactor = Redactor()
    redactor.learn({"apiVersion": "v1", "kind": "Secret", "stringData": {"file": secret}})
    with redactor.in_use():
        assert "second" not in redact(f"{filler}{secret}\n\n# next\n")
