"""Reads YAML as lists, dicts and scalars: no objects, aliases, repeated keys or deep nesting.

libyaml, where PyYAML was built with it, takes half a second for the events of a megabyte; PyYAML's
own parser takes half a minute. Nothing but events comes from libyaml, which keeps their nesting on
the heap: values are made of them in Python, up to a depth that no stack notices.
"""

from __future__ import annotations

import yaml

MAX_DEPTH = 100
"""int: Lists and mappings within each other; a class file has four."""
LONGEST = 100
"""int: Characters of a number, date or other value that is no text; PyYAML takes hours for some."""
ENDLESS = 'not a class list: it has lists in lists without end.'
_TEXT = 'tag:yaml.org,2002:str'
_OF_LIBYAML = 'exceeded maximum nesting depth'  # a thousand


# Only their events are used.
_Events = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read_yaml(text: str) -> object:
    """Read a document.

    Args:
        text (str): YAML.

    Returns:
        object: None, a scalar, a list or a dict.

    Raises:
        ValueError: If the text is no YAML, or has more than is read here. The sentence names the
            line where it is known.

    Example:
        >>> read_yaml('[cat, {name: dog, threshold: 0.5}]')
        ['cat', {'name': 'dog', 'threshold': 0.5}]
        >>> read_yaml('{a: 1, a: 2}')
        Traceback (most recent call last):
        ...
        ValueError: line 1: the key 'a' is there twice.
    """
    try:
        return _Builder().document(_Events(text))
    except yaml.MarkedYAMLError as error:
        if error.problem == _OF_LIBYAML:
            raise ValueError(ENDLESS) from error
        mark = error.problem_mark or error.context_mark
        line = f'line {mark.line + 1}: ' if mark else ''
        raise ValueError(f'{line}{error.problem or error.context}.') from error
    except _Endless as error:
        raise ValueError(ENDLESS) from error
    # Tagged scalars and other characters: constructors raise errors of many types.
    except Exception as error:
        raise ValueError(f'not valid YAML ({" ".join(str(error).split())}).') from error


class _Endless(Exception):
    """Lists and mappings within each other beyond the limit."""


class _Open:
    """A list or a mapping that is being read; pairs of a mapping are complete with their value."""

    def __init__(self, values: list | dict) -> None:
        self.values = values
        self.has_key = False
        self.key: object = None
        self.texts: set[str] = set()

    def add(self, value: object, event: yaml.Event) -> None:
        """Add a value, or the key of the next one."""
        if isinstance(self.values, list):
            self.values.append(value)
        elif self.has_key:
            self.values[self.key] = value
            self.has_key = False
        else:
            self._begin_pair(value, event)

    def _begin_pair(self, key: object, event: yaml.Event) -> None:
        """Note a key, which is neither a list or mapping nor there twice."""
        if not isinstance(event, yaml.ScalarEvent):
            raise _error('found unhashable key', event)
        if event.value in self.texts:
            raise _error(f'the key {event.value!r:.60} is there twice', event)
        self.texts.add(event.value)
        self.key, self.has_key = key, True


class _Builder(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Makes values of events; scalars as ``SafeLoader`` does."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)
        self._plain: dict[str, object] = {}

    def document(self, events: yaml.CSafeLoader | yaml.SafeLoader) -> object:
        """Read the only document of a text; None without one."""
        document = _Open([])
        levels = [document]
        while not isinstance(event := events.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.ScalarEvent):
                levels[-1].add(self._scalar(event), event)
            elif isinstance(event, yaml.CollectionStartEvent):
                values = self._collection(event)
                levels[-1].add(values, event)
                levels.append(_Open(values))
                if len(levels) > MAX_DEPTH:
                    raise _Endless
            elif isinstance(event, yaml.CollectionEndEvent):
                levels.pop()
            elif isinstance(event, yaml.AliasEvent):
                raise _error(f'*{event.anchor} is an alias: write out what it stands for', event)
            elif isinstance(event, yaml.DocumentStartEvent) and document.values:
                raise _error('but found another document', event)
        return document.values[0] if document.values else None

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        """Return the value of a scalar; that of a plain text is made once."""
        is_plain, _ = event.implicit
        tag, text = event.tag, event.value
        if tag in (None, '!'):
            if not is_plain or len(text) > LONGEST:
                return text
            if text not in self._plain:
                tag = self.resolve(yaml.ScalarNode, text, event.implicit)
                self._plain[text] = self._tagged(tag, event)
            return self._plain[text]
        return self._tagged(tag, event)

    def _tagged(self, tag: str, event: yaml.ScalarEvent) -> object:
        """Return the value of a scalar with a tag."""
        if len(event.value) > LONGEST and tag != _TEXT:
            raise _error(f'a value of {len(event.value)} characters is no text', event)
        mark = event.start_mark
        node = yaml.ScalarNode(tag, event.value, mark, mark)  # type: ignore[arg-type]  # libyaml's
        return self.construct_object(node, deep=True)  # a tag of a list on a scalar raises an error

    def _collection(self, event: yaml.CollectionStartEvent) -> list | dict:
        """Return an empty list or dict."""
        is_list = isinstance(event, yaml.SequenceStartEvent)
        kinds = (None, '!', f'tag:yaml.org,2002:{"seq" if is_list else "map"}')
        if event.tag not in kinds:
            raise _error(f'could not determine a constructor for the tag {event.tag!r}', event)
        return [] if is_list else {}


def _error(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    """Return an error with the line of an event."""
    mark = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)  # type: ignore[arg-type]  # libyaml's
