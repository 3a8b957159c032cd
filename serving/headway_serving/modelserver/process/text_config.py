"""TensorFlow Serving's small configuration files: protocol buffer messages written as text.

Three of their message types are in no Python package; ``define`` builds such a type from its fields. The text
format knows fields by name, so the field numbers here need not be TensorFlow Serving's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from headway_contract.regular_files import read_regular_file
from headway_serving.modelserver.errors import Code, StatusError, invalid_argument

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

PACKAGE = "headway.modelserver.config"
"""Where the message types live that no Python package has; their names are TensorFlow Serving's."""

_SCALARS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}


def define(name: str, fields: Mapping[str, str]) -> type[Any]:
    """Return a message class ``name``; ``fields`` maps each field's name to its type.

    A type is ``string``, ``bool``, ``int64``, one of google.protobuf's wrappers (``Int64Value``, written
    ``field { value: 1 }``), or ``repeated `` and one of these.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{PACKAGE}/{name}.proto", package=PACKAGE, syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name=name)
    for number, (field_name, type_text) in enumerate(fields.items(), start=1):
        *repeated, type_name = type_text.split()
        label = "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL"
        field = message.field.add(name=field_name, number=number, label=label)
        if type_name in _SCALARS:
            field.type = _SCALARS[type_name]
        else:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f".google.protobuf.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def read(path: Path, message: M) -> M:
    """Fill the empty ``message`` from the text in ``path`` and return it.

    Raises StatusError: NOT_FOUND if the file cannot be read, INVALID_ARGUMENT if it is not such a text; the log then
    says where it is not.
    """
    try:
        text_format.Parse(read_regular_file(path).decode("utf-8"), message)
    except OSError as error:
        raise StatusError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        log_error(error, message)
        raise invalid_argument(f"Invalid protobuf file: '{path}'") from error
    return message


def log_error(error: text_format.ParseError | UnicodeDecodeError, message: Message) -> None:
    """Log where a text cannot be parsed as ``message``, and why, as protocol buffers' own library words it."""
    descriptor = message.DESCRIPTOR
    name = f"tensorflow.serving.{descriptor.name}" if descriptor.file.package == PACKAGE else descriptor.full_name
    if isinstance(error, UnicodeDecodeError):
        before = error.object[: error.start].split(b"\n")
        line, column, reason = len(before), len(before[-1]) + 1, "The text is not UTF-8."
    else:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        # The exception's text begins with the place, in other words.
        reason = re.sub(r"^\d+:\d+ : ", "", str(error))
    logger.error("Error parsing text-format %s: %d:%d: %s", name, line, column, reason)
