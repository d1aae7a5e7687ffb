"""Filters that some requests skip: a filter and a predicate in, the filter under Envoy's matcher out."""

from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.metadata.v3 import metadata_pb2
from envoy.type.matcher.v3 import value_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from igw_xds.resources.messages import packed

Predicate = matcher_pb2.Matcher.MatcherList.Predicate
Single = Predicate.SinglePredicate


def unless(skipped: Predicate, config: Message, type_name: str) -> extension_matcher_pb2.ExtensionWithMatcher:
    """Give the filter `type_name` with its `config`, for the requests that are not `skipped`."""
    skip = extension_pb2.TypedExtensionConfig(name="skip", typed_config=packed(skip_action_pb2.SkipFilter()))
    matchers = matcher_pb2.Matcher.MatcherList
    field = matchers.FieldMatcher(predicate=skipped, on_match=matcher_pb2.Matcher.OnMatch(action=skip))
    matcher = matcher_pb2.Matcher(matcher_list=matchers(matchers=[field]))
    wrapped = extension_matcher_pb2.ExtensionWithMatcher(xds_matcher=matcher)
    wrapped.extension_config.name = type_name
    wrapped.extension_config.typed_config.CopyFrom(packed(config))
    return wrapped


def unmarked(namespace: str, key: str) -> Predicate:
    """Say of a request that no filter before has set a key of its dynamic metadata."""
    segment = network_inputs_pb2.DynamicMetadataInput.PathSegment(key=key)
    found = network_inputs_pb2.DynamicMetadataInput(filter=namespace, path=[segment])
    absent = metadata_pb2.Metadata(value=value_pb2.ValueMatcher(present_match=True), invert=True)
    return Predicate(
        single_predicate=Single(
            input=extension_pb2.TypedExtensionConfig(name=key, typed_config=packed(found)),
            custom_match=extension_pb2.TypedExtensionConfig(name="absent", typed_config=packed(absent)),
        )
    )
