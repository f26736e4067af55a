"""Prompts as chats: what the tokeniser's own template makes of messages, up to where the model begins to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from interp.errors import TaskError

#: (role, content) of each message of a chat, in order.
Messages = tuple[tuple[str, str], ...]
#: Stands for an answer, to see what a template writes before one.
_ANSWER: Final = "answer"


def messages_of(given: Any, what: str) -> Messages:
    """A list of `{"role": ..., "content": ...}` as a value. Raises: TaskError for anything else."""
    found = []
    for one in given if isinstance(given, (list, tuple)) else ():
        pair = (one.get("role"), one.get("content")) if isinstance(one, Mapping) else one
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise TaskError(f"{what} has the message {one!r:.80}; expected {{'role': text, 'content': text}}.")
        found.append((pair[0], pair[1]))
    if not found:
        raise TaskError(
            f"{what} is {given!r:.80}; expected a list of messages, each {{'role': text, 'content': text}}."
        )
    return tuple(found)


def in_words(messages: Messages) -> str:
    """Messages as text where there is no template yet."""
    return "\n".join(f"{role}: {content}" for role, content in messages)


def answer_space(tokenizer: Any, messages: Messages, asked: str) -> str:
    """The space that the template itself writes between a chat that was `rendered` and the model's answer, as Llama 2's does;
    nothing where it writes none, or where it does not say."""
    listed = [{"role": role, "content": content} for role, content in (*messages, ("assistant", _ANSWER))]
    try:
        whole = str(tokenizer.apply_chat_template(listed, tokenize=False))
    except Exception:  # a template may refuse what it did not ask for
        return ""
    return " " if whole.startswith(f"{asked} {_ANSWER}") else ""


def rendered(tokenizer: Any, messages: Messages, where: str) -> str:
    """The text of a chat by the tokeniser's template, with what stands before the model's own words.

    Raises: TaskError where there is no template, or where it refuses the messages, with its reason.
    """
    apply = getattr(tokenizer, "apply_chat_template", None)
    if apply is None or not getattr(tokenizer, "chat_template", None):
        raise TaskError(
            f"{where}: the prompt is a chat, and the tokeniser has no chat template; expected that of a model trained on chats. "
            "Give the prompts as text."
        )
    listed = [{"role": role, "content": content} for role, content in messages]
    try:
        text = apply(listed, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program that came with the model
        reason = f"{type(error).__name__}: {error}"
        raise TaskError(f"{where}: the tokeniser's chat template refuses the messages: {reason:.300}") from error
    if not isinstance(text, str) or not text:
        raise TaskError(f"{where}: the tokeniser's chat template gave {text!r:.80}; expected text.")
    return text
