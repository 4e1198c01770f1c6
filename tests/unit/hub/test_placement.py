"""A partition key goes where the clients' own hash says."""

from azure.eventhub._buffered_producer._partition_resolver import PartitionResolver, generate_hash_code
from hypothesis import given
from hypothesis import strategies as st

from consumer.hub.placement import hash_of, partition_of

keys = st.text(st.characters(max_codepoint=127), max_size=80)


@given(keys)
def test_the_hash_is_the_clients_hash(key: str) -> None:
    assert hash_of(key) == generate_hash_code(key)


@given(keys.filter(bool), st.integers(1, 1024))
def test_the_partition_is_the_clients_partition(key: str, partitions: int) -> None:
    resolver = PartitionResolver([str(index) for index in range(partitions)])
    assert str(partition_of(key, partitions)) == resolver.get_partition_id_by_partition_key(key)


@given(st.text(max_size=80), st.integers(1, 1024))
def test_any_text_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
