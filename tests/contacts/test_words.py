"""The words by which a contact is found are made anew only where the text that they follow from has changed."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from herdbook.contacts.model import Contact, ContactEmail, ContactObject, search_entry

# Few, so that names and addresses have words in common.
_NAMES = st.none() | st.sampled_from(("a", "b", "ab", "a b", "a-b", "é", ""))
_ADDRESSES = st.lists(st.sampled_from(("a@c.d", "b.ab@c.d", "é@c.d")), max_size=1)


@st.composite
def _contacts(draw: st.DrawFn) -> Contact:
    return Contact(
        object=ContactObject.CONTACT,
        id="",
        first_name=draw(_NAMES),
        last_name=draw(_NAMES),
        emails=tuple(ContactEmail(address, is_primary=True) for address in draw(_ADDRESSES)),
        created_at="",
        updated_at="",
    )


@given(_contacts(), _NAMES, _NAMES)
def test_entries_of_the_same_source_have_the_same_other_words(one: Contact, first_name: str, last_name: str) -> None:
    """Two entries whose words follow from the same text have the same words."""
    other = msgspec.structs.replace(one, first_name=first_name, last_name=last_name)
    entry, changed = search_entry(one), search_entry(other, one, search_entry(one))
    if entry.source_of_other_words == changed.source_of_other_words:
        assert entry.other_words == changed.other_words


def test_plain_names_do_not_matter() -> None:
    """A change of plain names that the addresses lack makes no words anew."""
    address = (ContactEmail("ada@example.com", is_primary=True),)
    ada, bob, eve = (
        search_entry(
            Contact(
                object=ContactObject.CONTACT,
                id="",
                first_name=name,
                last_name="King",
                emails=address,
                created_at="",
                updated_at="",
            )
        )
        for name in ("Ada", "Bob", "Eve")
    )
    assert bob.source_of_other_words == eve.source_of_other_words != ada.source_of_other_words
