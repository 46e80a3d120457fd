"""Pydantic models to what a Kubernetes API server stores, and back, exactly.

Kubernetes has no floats: a float becomes the shortest decimal text that reads back as the same float. NaN and the
infinities become "NaN", "Infinity" and "-Infinity": a state that holds one must still be writable, and whether a field
takes such a number is for its model to say when it is read. None is left out. Times are RFC 3339 in UTC with
microseconds. An API server sorts the keys of maps: their order is no part of a value. Both directions follow the
annotations, so a value that a field cannot hold is refused, not written.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

_Model = TypeVar("_Model", bound=BaseModel)
_INT64 = range(-(2**63), 2**63)


def to_kube(value: BaseModel) -> dict[str, Any]:
    """The model as JSON for an API server.

    Raises:
        TypeError: a field's type has no exact form there, or its value is not of that type.
        ValueError: a whole number does not fit into 64 bits, or a time has no time zone.
    """
    found = {}
    for name, field in type(value).model_fields.items():
        encoded = _encode(getattr(value, name), field.annotation, f"{type(value).__name__}.{name}")
        if encoded is not None:
            found[_key(name, field)] = encoded
        elif field.default is not None and not field.is_required():
            raise TypeError(f"{type(value).__name__}.{name} is None, which would be read as its default")
    return found


def from_kube(cls: type[_Model], data: Mapping[str, Any]) -> _Model:
    """The model that `to_kube` made `data` of. Fields that the model does not know are ignored.

    A newer writer thus does not break an older reader.

    Raises:
        pydantic.ValidationError: a field is missing or does not fit.
        TypeError: a field's type has no exact form there.
    """
    return cls.model_validate(_decode_model(cls, data))


def decimal_text(value: float) -> str:
    """The shortest text that reads back as the same float: 5, 0.25, 1e-09, NaN, Infinity."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value)).removesuffix(".0")


def time_text(value: datetime) -> str:
    """RFC 3339 in UTC with microseconds: 2026-03-01T00:00:00.000000Z.

    Raises:
        ValueError: the time has no time zone.
    """
    if value.tzinfo is None:
        raise ValueError(f"time {value.isoformat()} has no time zone")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# --- writing --------------------------------------------------------------------------------------------------------


def _encode(value: Any, annotation: Any, where: str) -> Any:
    kind = _plain(annotation, where)
    if value is None:
        return None
    origin = get_origin(kind)
    if kind is Any:
        return _json(value, where)
    if origin is tuple:
        return [_element(item, get_args(kind)[0], f"{where}[{at}]") for at, item in enumerate(value)]
    if origin is dict:
        return {key: _element(item, get_args(kind)[1], f"{where}[{key!r}]") for key, item in value.items()}
    if _is_model(kind) and isinstance(value, BaseModel):
        return to_kube(value)
    return _scalar(value, kind, where)


def _element(value: Any, annotation: Any, where: str) -> Any:
    if value is None:
        raise TypeError(f"{where} is None, which a list or map cannot hold there")
    return _encode(value, annotation, where)


def _scalar(value: Any, kind: Any, where: str) -> Any:
    if kind is datetime and isinstance(value, datetime):
        return time_text(value)
    if kind is float and isinstance(value, int | float):
        return decimal_text(float(value))
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if isinstance(kind, type) and kind in {str, int, bool} and type(value) is kind:
        if kind is int and value not in _INT64:
            raise ValueError(f"{where} is {value}, which does not fit into 64 bits")
        return value
    raise TypeError(f"{where} is {value!r} of type {type(value).__name__}, which cannot be written as {kind}")


def _json(value: Any, where: str) -> Any:
    """A value of no declared type, when it is JSON without floats already."""
    if isinstance(value, Mapping):
        return {str(key): _json(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, f"{where}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, str | bool) or (isinstance(value, int) and value in _INT64):
        return value
    raise TypeError(f"{where} is {value!r}, which cannot be written without a declared type")


# --- reading --------------------------------------------------------------------------------------------------------


def _decode_model(cls: type[BaseModel], data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data  # the model's own validation names what is wrong with it
    found = {}
    for name, field in cls.model_fields.items():
        where, key = f"{cls.__name__}.{name}", _key(name, field)
        kind = _plain(field.annotation, where)
        if data.get(key) is not None:
            found[field.alias or name] = _decode(data[key], kind, where)
        elif field.is_required() and _optional(field.annotation):
            found[field.alias or name] = None
    return found


def _decode(value: Any, annotation: Any, where: str) -> Any:
    kind = _plain(annotation, where)
    origin = get_origin(kind)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_decode(item, get_args(kind)[0], where) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {key: _decode(item, get_args(kind)[1], where) for key, item in value.items()}
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # an API server stores 5.0 as it was written
    return _decode_model(kind, value) if _is_model(kind) else value


# --- annotations ----------------------------------------------------------------------------------------------------


def _key(name: str, field: FieldInfo) -> str:
    return field.alias or to_camel(name)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _optional(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _optional(get_args(annotation)[0])
    return _is_union(annotation) and type(None) in get_args(annotation)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, types.UnionType}


def _plain(annotation: Any, where: str) -> Any:
    """The type without Annotated and Optional.

    Raises:
        TypeError: it has no exact form: a union of several types, a tuple of fixed length, keys that are no texts…
    """
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif _is_union(annotation):
            others = [part for part in get_args(annotation) if part is not type(None)]
            if len(others) != 1:
                raise TypeError(f"{where} is a union of {len(others)} types; reading it back would be a guess")
            annotation = others[0]
        else:
            break
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        raise TypeError(f"{where} is a tuple of fixed length; use tuple[X, ...]")
    if get_origin(annotation) is dict and arguments[0] is not str:
        raise TypeError(f"{where} has keys that are no texts")
    return annotation
