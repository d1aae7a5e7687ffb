"""The compiled modules of protos/, against their .proto files and against the rest of the project."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from igw_api.methods import PACKAGE, SERVICES, Method, writes
from igw_model.capacity_claim import CAPACITY_TYPES
from igw_model.deployment import CAPACITY_CLASSES
from igw_model.gateway import API_TYPES
from igw_model.status import Status, Truth
from igw_protos.coreweave.inference.v1alpha1 import (
    capacity_claim_pb2,
    deployment_pb2,
    gateway_pb2,
    status_pb2,
)

FOLDER = Path(__file__).parents[3] / "protos"
SOURCES = {path.relative_to(FOLDER).as_posix(): path for path in (FOLDER / "igw_protos").rglob("*.proto")}
FILES: dict[str, FileDescriptor] = {
    module.DESCRIPTOR.name: module.DESCRIPTOR
    for module in (status_pb2, gateway_pb2, deployment_pb2, capacity_claim_pb2)
}


def described(file: FileDescriptor) -> FileDescriptorProto:
    """Give what a module was made from."""
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    return without_json_names(proto)


def without_json_names(proto: FileDescriptorProto) -> FileDescriptorProto:
    """Take out the names that protoc works out, and modules do not keep."""

    def strip(message: DescriptorProto) -> None:
        for field in message.field:
            field.ClearField("json_name")
        for inner in message.nested_type:
            strip(inner)

    for message in proto.message_type:
        strip(message)
    return proto


def test_modules_are_those_of_the_present_files(tmp_path: Path) -> None:
    """What is installed was compiled from the .proto files as they are now; else: `pip install -e .`."""
    out = tmp_path / "fresh"
    program = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--descriptor_set_out={out}"]
    subprocess.run([*program, *sorted(SOURCES)], check=True)
    fresh = FileDescriptorSet.FromString(out.read_bytes()).file

    assert {file.name: described(file) for file in FILES.values()} == {
        proto.name: without_json_names(proto) for proto in fresh
    }


def test_the_hook_makes_what_the_files_say_and_removes_the_rest(tmp_path: Path) -> None:
    """A .proto gives a module and a stub beside it; the module of a .proto that is gone goes too."""
    specification = importlib.util.spec_from_file_location("hatch_build", FOLDER / "hatch_build.py")
    assert specification is not None
    assert specification.loader is not None
    hook = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(hook)
    package = tmp_path / "igw_protos"
    package.mkdir()
    (package / "gone_pb2.py").write_text("")
    (package / "here.proto").write_text('syntax = "proto3"; message Here { optional string name = 1; }')

    hook.make(tmp_path)

    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "igw_protos",
        "igw_protos/here.proto",
        "igw_protos/here_pb2.py",
        "igw_protos/here_pb2.pyi",
    ]
    (package / "here.proto").write_text("message")
    with pytest.raises(hook.CompileError):
        hook.make(tmp_path)


def test_services_have_the_methods_that_the_api_has() -> None:
    """The .proto files and `methods` tell of the same services, and of the same methods that change nothing."""
    services = {
        service.full_name: [method.name for method in service.methods]
        for file in FILES.values()
        for service in file.services_by_name.values()
    }
    without_effects = {
        method.name
        for file in FILES.values()
        for service in file.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level == method.GetOptions().NO_SIDE_EFFECTS
    }

    assert services == {f"{PACKAGE}.{name}": [*methods] for name, methods in SERVICES.items()}
    assert without_effects == {
        method for methods in SERVICES.values() for method in methods if not writes(Method(method))
    }


def numbers(enum: EnumDescriptor) -> dict[int, str]:
    """Give an enum's names by number."""
    return {value.number: value.name for value in enum.values}


def test_enums_have_the_names_and_numbers_of_the_vocabulary() -> None:
    """JSON may say an enum by number, so the vocabulary knows those of requests: they are the .proto's."""
    assert numbers(gateway_pb2.ApiType.DESCRIPTOR) == API_TYPES
    assert numbers(deployment_pb2.CapacityClass.DESCRIPTOR) == CAPACITY_CLASSES
    assert numbers(capacity_claim_pb2.CapacityClaimResources.CapacityType.DESCRIPTOR) == CAPACITY_TYPES
    assert numbers(status_pb2.Status.DESCRIPTOR) == dict(enumerate(Status))
    assert numbers(status_pb2.Condition.Status.DESCRIPTOR) == dict(enumerate(Truth))


def test_single_values_have_presence() -> None:
    """What was sent is echoed exactly, zero values too: no single value is without presence."""
    single = [
        field
        for file in FILES.values()
        for message in file.message_types_by_name.values()
        for field in message.fields
        if not field.is_repeated
    ]

    assert [field.full_name for field in single if not field.has_presence] == []


def test_requests_are_flat() -> None:
    """A create's fields are the spec's but the organisation, and an update's are the create's, numbers included."""
    for file, kind in (
        (gateway_pb2, "Gateway"),
        (deployment_pb2, "Deployment"),
        (capacity_claim_pb2, "CapacityClaim"),
    ):
        messages = file.DESCRIPTOR.message_types_by_name
        spec = {field.name: kind_of(field) for field in messages[f"{kind}Spec"].fields}
        create = messages[f"Create{kind}Request"].fields
        update = messages[f"Update{kind}Request"].fields

        assert {field.name: kind_of(field) for field in create} == {
            name: value for name, value in spec.items() if name != "organization_id"
        }
        assert [(field.name, field.number, kind_of(field)) for field in update] == [
            (field.name, field.number, kind_of(field)) for field in create
        ]


def kind_of(field: FieldDescriptor) -> object:
    """Give what a field may hold."""
    choice = field.containing_oneof
    return (
        field.type,
        field.is_repeated,
        field.message_type and field.message_type.full_name,
        field.enum_type and field.enum_type.full_name,
        choice and len(choice.fields) > 1 and choice.name,
    )
