"""What a chat template expects, read from its syntax tree in the way that vLLM reads it.

vLLM hands message contents to a template either as text or as lists of parts, depending on whether the
template loops over them (`vllm/renderers/hf.py`, `_detect_content_format`). Whoever renders a prompt again
must choose alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jinja2
from jinja2 import nodes

from shared.errors import ModelError
from shared.template_environment import compiled_template, template_environment


@dataclass(frozen=True)
class ChatTemplate:
    """A template and what vLLM concludes from its text.

    Attributes:
        loops_over_parts: contents are passed as lists of parts, plain text as a list of one.
        knows_developer: messages with the role "developer" keep it.
        reads_the_clock: the rendered prompt depends on the day it was rendered.
    """

    text: str
    loops_over_parts: bool
    knows_developer: bool
    reads_the_clock: bool

    @classmethod
    def parse(cls, text: str) -> "ChatTemplate":
        """Inspect a template.

        Raises:
            ModelError: it is no valid template.
        """
        try:
            compiled_template(text)
            root = template_environment().parse(text)
        except jinja2.TemplateError as error:
            raise ModelError(f"the model's chat template is not valid Jinja: {error}") from None
        return cls(
            text=text,
            loops_over_parts=_loops_over_parts(root),
            knows_developer='"developer"' in text or "'developer'" in text,
            reads_the_clock="strftime_now" in text,
        )


def _reads(node: nodes.Node | None, name: str, key: str | None = None) -> bool:
    """Whether `node` is `name` (or `name.key`, `name["key"]`), filters, tests and slices aside."""
    while isinstance(node, nodes.Filter | nodes.Test):
        node = node.node
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _reads(node.node, name, key)
    if key is None:
        return isinstance(node, nodes.Name) and node.name == name
    if isinstance(node, nodes.Getitem):
        return _reads(node.node, name) and isinstance(node.arg, nodes.Const) and node.arg.value == key
    return isinstance(node, nodes.Getattr) and node.attr == key and _reads(node.node, name)


def _aliases(root: nodes.Template, name: str) -> list[str]:
    """`name` and every variable that is assigned from it, directly or in steps."""
    found = [name]
    for known in found:
        for assignment in root.find_all(nodes.Assign):
            target = assignment.target
            if isinstance(target, nodes.Name) and _reads(assignment.node, known) and target.name not in found:
                found.append(target.name)
    return found


def _message_names(root: nodes.Template) -> list[str]:
    """Loop variables that run over the messages."""
    messages = _aliases(root, "messages")
    return [
        loop.target.name
        for loop in root.find_all(nodes.For)
        if isinstance(loop.target, nodes.Name) and any(_reads(loop.iter, name) for name in messages)
    ]


def _content_parameters(root: nodes.Template, macro: nodes.Macro, messages: list[str]) -> set[str]:
    """Parameters of `macro` that receive a message's content in some call."""
    names = [argument.name for argument in macro.args]
    found: set[str] = set()
    for call in root.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == macro.name:
            given = [*zip(names, call.args, strict=False), *((kw.key, kw.value) for kw in call.kwargs)]
            found |= {
                name
                for name, value in given
                if name in names and any(_reads(value, message, "content") for message in messages)
            }
    return found


def _part_loops(root: nodes.Template) -> Iterator[nodes.For]:
    """Loops over the parts of a message's content."""
    messages = _message_names(root)
    inside_macros: set[int] = set()
    for macro in root.find_all(nodes.Macro):
        parameters = _content_parameters(root, macro, messages)
        for loop in macro.find_all(nodes.For):
            inside_macros.add(id(loop))
            if isinstance(loop.iter, nodes.Name) and loop.iter.name in parameters:
                yield loop
    for loop in root.find_all(nodes.For):
        plain = isinstance(loop.iter, nodes.Name) and loop.iter.name == "content"
        if (plain and id(loop) not in inside_macros) or any(
            _reads(loop.iter, message, "content") for message in messages
        ):
            yield loop


def _loops_over_parts(root: nodes.Template) -> bool:
    return next(_part_loops(root), None) is not None
