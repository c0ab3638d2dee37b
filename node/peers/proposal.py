"""What we propose when we ask for an association: presentation contexts, sizes, roles, who we are (PS3.8, 9.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from node.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.sections import Node, Peer

MOST_CONTEXTS = 128  # odd numbers up to 255 (PS3.8, 9.3.2.2)

Offer = tuple[str, str]
"""(SOP class, transfer syntax)"""


def proposal(node: Node, peer: Peer, offers: Sequence[Offer], as_scp: str | None) -> bytes:
    """The A-ASSOCIATE-RQ for presentation contexts; `as_scp`: a SOP class that we are the SCP of (PS3.7, D.3.3.4)."""
    contexts = []
    for index, (sop_class, transfer_syntax) in enumerate(offers[:MOST_CONTEXTS]):
        context = PresentationContext()
        context.context_id = 2 * index + 1
        context.abstract_syntax = UID(sop_class)
        context.transfer_syntax = [UID(transfer_syntax)]
        contexts.append(context)
    length = MaximumLengthNotification()
    length.maximum_length_received = node.max_pdu
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    name = ImplementationVersionNameNotification()
    name.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title = node.ae_title
    primitive.called_ae_title = peer.ae_title
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = [length, class_uid, name]
    if as_scp is not None:
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = UID(as_scp)
        role.scu_role, role.scp_role = False, True
        primitive.user_information.append(role)
    return A_ASSOCIATE_RQ(primitive).encode()
